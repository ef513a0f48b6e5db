/**
 * Deflated data sets (PS3.5 §A.5): inflating with a limit, whole or only as far as somebody wants to read. A few bytes can
 * stand for gigabytes, so nothing here inflates without a bound that follows from the length of the input.
 */
import { promisify } from 'node:util';
import { constants, inflate, inflateRaw, inflateRawSync, inflateSync } from 'node:zlib';
import { ArchiveError } from '../errors.ts';

const MEBIBYTE = 1024 * 1024;
const asyncInflateRaw = promisify(inflateRaw);
const asyncInflate = promisify(inflate);

/** 100 times the input and 16 MiB, but never more than 512 MiB. */
export function inflateLimitBytes(inputBytes: number): number {
  return Math.min(512 * MEBIBYTE, 100 * inputBytes + 16 * MEBIBYTE);
}

/** RFC 1950: a zlib header around the raw deflate stream, which the standard does not want and some senders write. */
function isZlibWrapped(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 2 && (bytes[0]! & 0x0f) === 8 && bytes[0]! >>> 4 <= 7 && ((bytes[0]! << 8) | bytes[1]!) % 31 === 0
  );
}

function translate(error: unknown, limitBytes: number): ArchiveError {
  if ((error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE') {
    return new ArchiveError('limit-exceeded', `The deflated data set inflates to more than ${limitBytes} bytes`, {
      limitBytes,
    });
  }
  return new ArchiveError('bad-dicom', 'The deflated data set cannot be inflated: its bytes are damaged', {}, error);
}

/**
 * Inflates a whole data set, from its first deflated byte to the last one that is there; what a cut stream still yields is
 * given. Errors: `limit-exceeded`, `bad-dicom`.
 */
export async function inflateDataSet(deflated: Uint8Array): Promise<Uint8Array> {
  const maxOutputLength = inflateLimitBytes(deflated.length);
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength };
  try {
    return await asyncInflateRaw(deflated, options);
  } catch (error) {
    if (!isZlibWrapped(deflated)) throw translate(error, maxOutputLength);
  }
  try {
    return await asyncInflate(deflated, options);
  } catch (error) {
    throw translate(error, maxOutputLength);
  }
}

export interface InflatedStart {
  readonly bytes: Uint8Array;
  /** The deflated stream ended within the input. */
  readonly ended: boolean;
  readonly zlibWrapped: boolean;
}

/**
 * Inflates what the first bytes of a deflated data set stand for. Blocks; callers give few bytes, and more only when those
 * did not suffice. At most 128 MiB come out, twice what a header may have. Errors: `limit-exceeded`, `bad-dicom`.
 */
export function inflateStart(deflated: Uint8Array): InflatedStart {
  const maxOutputLength = Math.min(inflateLimitBytes(deflated.length), 128 * MEBIBYTE);
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength, info: true };
  const run = (inflateNow: (bytes: Uint8Array, options: object) => unknown, zlibWrapped: boolean): InflatedStart => {
    const { buffer, engine } = inflateNow(deflated, options) as {
      buffer: Uint8Array;
      engine: { bytesWritten: number };
    };
    return { bytes: buffer, ended: engine.bytesWritten < deflated.length, zlibWrapped };
  };
  try {
    return run(inflateRawSync, false);
  } catch (error) {
    if (!isZlibWrapped(deflated)) throw translate(error, maxOutputLength);
  }
  try {
    return run(inflateSync, true);
  } catch (error) {
    throw translate(error, maxOutputLength);
  }
}
