/**
 * A deflated data set (PS3.5 §A.5) inflated as it is read, in flat memory. What must be at hand whole, deflated-data-set.ts inflates
 * within bounds.
 */
import { pipeline, Readable } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { ArchiveError } from '../errors.ts';

/** Errors: `bad-dicom` for what cannot be inflated, those of `source`. */
export async function* inflated(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const inflate = createInflateRaw({ chunkSize: 256 * 1024 });
  // An error of either reaches whoever reads.
  pipeline(Readable.from(source), inflate, () => {});
  try {
    for await (const piece of inflate) yield piece as Uint8Array;
  } catch (error) {
    if (error instanceof ArchiveError) throw error;
    throw new ArchiveError('bad-dicom', 'the deflated data set cannot be inflated', {}, error);
  } finally {
    inflate.destroy();
  }
}
