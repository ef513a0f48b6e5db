/**
 * What somebody announced that he would send, held against what comes: length and SHA-256. For whoever stores an object under its checksum;
 * storing is his.
 */
import { createHash } from 'node:crypto';
import { ArchiveError } from '../errors.ts';

export interface Announcement {
  readonly lengthBytes: number;
  /** In lower-case hexadecimal. */
  readonly sha256: string;
}

/** The bytes as they come, never more than were announced; ends with `checksum-mismatch` where they are not those. */
export async function* announcedBytes(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  expected: Announcement,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash('sha256');
  let lengthBytes = 0;
  for await (const chunk of chunks) {
    lengthBytes += chunk.length;
    if (lengthBytes > expected.lengthBytes)
      throw new ArchiveError('checksum-mismatch', 'The body is longer than announced; send the announced bytes.', {
        expectedBytes: expected.lengthBytes,
      });
    hash.update(chunk);
    yield chunk;
  }
  if (lengthBytes !== expected.lengthBytes)
    throw new ArchiveError('checksum-mismatch', 'The body is shorter than announced; send all of it.', {
      expectedBytes: expected.lengthBytes,
      lengthBytes,
    });
  if (hash.digest('hex') !== expected.sha256)
    throw new ArchiveError('checksum-mismatch', 'The SHA-256 of the body is not the announced one; send it again.');
}
