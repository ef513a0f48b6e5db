/**
 * The container of WebP (RFC 9649): a colour profile put into a still picture, and an animation put together from still ones. The codec
 * itself is libwebp's, by sharp (encode.ts). An animation states its length in its first bytes, so all of it is held: it is bounded.
 */
import { ArchiveError } from '../errors.ts';

const RIFF_HEADER_BYTES = 12;
const HAS_PROFILE = 0x20;
const HAS_ANIMATION = 0x02;
/** The whole picture replaces what was there: no blending with it. */
const DO_NOT_BLEND = 0x02;
/** 24 bits for how long a picture stays. */
const MAX_DELAY_MS = 0xffffff;

interface Chunk {
  readonly name: string;
  readonly body: Uint8Array;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Of a still picture as libwebp writes it, without an alpha channel. */
export function withProfileInWebp(webp: Uint8Array, profile: Uint8Array, size: Size): Uint8Array<ArrayBuffer> {
  return riff([extended(HAS_PROFILE, size), { name: 'ICCP', body: profile }, bitstreamOf(webp)]);
}

/**
 * One animation that runs for ever out of still pictures of one size, in order, with the first one's colour profile.
 * @param delayMs how long each stays
 * @throws ArchiveError `limit-exceeded` when it comes to more than `maximumBytes`
 */
export async function animatedWebp(
  pictures: AsyncIterable<Uint8Array>,
  delayMs: number,
  maximumBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const frames: Chunk[] = [];
  let size: Size | undefined;
  let profile: Chunk | undefined;
  let heldBytes = 0;
  for await (const picture of pictures) {
    const bitstream = bitstreamOf(picture);
    if (size === undefined) {
      size = sizeOf(bitstream);
      profile = chunkOf(picture, ['ICCP']);
    }
    heldBytes += bitstream.body.length;
    if (heldBytes > maximumBytes) {
      throw new ArchiveError(
        'limit-exceeded',
        `An animated WebP has ${maximumBytes} bytes at most here; ask for fewer frames, a smaller viewport, a lower quality, or image/gif.`,
      );
    }
    frames.push({ name: 'ANMF', body: frameBody(bitstream, size, delayMs) });
  }
  if (size === undefined) throw new ArchiveError('cannot-render', 'An animation of no pictures is none');
  const flags = profile === undefined ? HAS_ANIMATION : HAS_ANIMATION | HAS_PROFILE;
  // A background nobody sees, and 0 for ever.
  const animation = { name: 'ANIM', body: new Uint8Array(6) };
  return riff([extended(flags, size), ...(profile === undefined ? [] : [profile]), animation, ...frames]);
}

function bitstreamOf(webp: Uint8Array): Chunk {
  const found = chunkOf(webp, ['VP8 ', 'VP8L']);
  if (found === undefined) throw new Error('a WebP without a bitstream');
  return found;
}

/** The first of these names. */
function chunkOf(webp: Uint8Array, names: readonly string[]): Chunk | undefined {
  const view = Buffer.from(webp.buffer, webp.byteOffset, webp.byteLength);
  for (let at = RIFF_HEADER_BYTES; at + 8 <= view.length; ) {
    const name = view.toString('latin1', at, at + 4);
    const lengthBytes = view.readUInt32LE(at + 4);
    if (names.includes(name)) return { name, body: webp.subarray(at + 8, at + 8 + lengthBytes) };
    at += 8 + lengthBytes + (lengthBytes & 1);
  }
  return undefined;
}

/** From the bitstream's own header: 14 bits each, behind a start code (VP8) or a signature (VP8L, less one). */
function sizeOf({ name, body }: Chunk): Size {
  const view = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (name === 'VP8 ') return { width: view.readUInt16LE(6) & 0x3fff, height: view.readUInt16LE(8) & 0x3fff };
  const bits = view.readUInt32LE(1);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

function extended(flags: number, { width, height }: Size): Chunk {
  const body = Buffer.alloc(10);
  body[0] = flags;
  body.writeUIntLE(width - 1, 4, 3);
  body.writeUIntLE(height - 1, 7, 3);
  return { name: 'VP8X', body };
}

function frameBody(bitstream: Chunk, { width, height }: Size, delayMs: number): Uint8Array {
  const head = Buffer.alloc(16);
  head.writeUIntLE(width - 1, 6, 3);
  head.writeUIntLE(height - 1, 9, 3);
  head.writeUIntLE(Math.max(1, Math.min(MAX_DELAY_MS, Math.round(delayMs))), 12, 3);
  head[15] = DO_NOT_BLEND;
  return Buffer.concat([head, chunkBytes(bitstream)]);
}

/** Padded to an even length, which its own length does not count. */
function chunkBytes({ name, body }: Chunk): Buffer {
  const head = Buffer.alloc(8);
  head.write(name, 'latin1');
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body, Buffer.alloc(body.length & 1)]);
}

function riff(chunks: readonly Chunk[]): Uint8Array<ArrayBuffer> {
  const body = Buffer.concat(chunks.map(chunkBytes));
  const head = Buffer.alloc(RIFF_HEADER_BYTES);
  head.write('RIFF', 'latin1');
  head.writeUInt32LE(body.length + 4, 4);
  head.write('WEBP', 8, 'latin1');
  return new Uint8Array(Buffer.concat([head, body]));
}
