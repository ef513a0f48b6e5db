/**
 * Pictures as baseline JPEG by libjpeg-turbo, called in the thread that has the pixels: a CT's picture takes a third of what it takes by way of
 * libvips. Where the native module is not to be had for a platform, and for what it does less well, encode.ts has sharp.
 */
import type { Picture } from './resample.ts';

type Turbo = typeof import('@julusian/jpeg-turbo');

/** It counts the room for the result in 32 bits; three times less than this fits, whatever the subsampling. */
const MAX_PIXELS = 256 * 1024 * 1024;

/** Of pictures up to 2 million gray pixels. */
const KEPT_ROOM_BYTES = 4 * 1024 * 1024;

let keptRoom = Buffer.alloc(0);
let loading: Promise<Turbo | undefined> | undefined;

/** A module of CommonJS whose names are put together as it runs: they are found on its default export. */
function loadTurbo(): Promise<Turbo | undefined> {
  loading ??= import('@julusian/jpeg-turbo').then(
    (module) => ('default' in module ? (module.default as Turbo) : module),
    () => undefined,
  );
  return loading;
}

/**
 * Gray, or colour without chroma subsampling.
 * @param quality from 1 to 100
 * @returns undefined where it cannot be done, or not as well: it takes its fast transform up to a quality of 95, which from about 90 on
 *   is seen in the numbers, and beyond 95 the exact one
 */
export async function encodeTurboJpeg(picture: Picture, quality: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { width, height, channels, pixels } = picture;
  if ((quality > 90 && quality < 96) || width * height > MAX_PIXELS) return undefined;
  const turbo = await loadTurbo();
  if (turbo === undefined) return undefined;
  const options = {
    width,
    height,
    quality,
    format: channels === 1 ? turbo.FORMAT_GRAY : turbo.FORMAT_RGB,
    subsampling: channels === 1 ? turbo.SAMP_GRAY : turbo.SAMP_444,
  };
  const bytes = Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  // Copied out of the room before anything else can run.
  return new Uint8Array(turbo.compressSync(bytes, roomOf(turbo.bufferSize(options)), options));
}

/** For the worst case, of which little is used: not filled with zeros, and of small pictures always the same. */
function roomOf(lengthBytes: number): Buffer {
  if (lengthBytes <= keptRoom.length) return keptRoom;
  const room = Buffer.allocUnsafeSlow(lengthBytes);
  if (lengthBytes <= KEPT_ROOM_BYTES) keptRoom = room;
  return room;
}
