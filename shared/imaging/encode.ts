/**
 * A finished picture as JPEG or PNG bytes, by sharp (libvips), which loads at first use, or as GIF (gif.ts), with or without
 * an ICC profile. Colour goes out without chroma subsampling: the edges of coloured overlays and flow maps are findings.
 */
import { ArchiveError } from '../errors.ts';
import { encodeGif } from './gif.ts';
import {
  type ColorSpace,
  fromSrgb,
  iccProfileOf,
  isRgbProfile,
  withProfileInJpeg,
  withProfileInPng,
} from './icc-profile.ts';
import type { Picture } from './resample.ts';

export type RenderedMediaType = 'image/jpeg' | 'image/png' | 'image/gif';

/** Which ICC profile the picture carries. */
export interface ColorProfile {
  /** The instance's own profile, which its colours are in; sRGB where there is none or it is not one of RGB. */
  readonly own?: Uint8Array;
  /** Bring the colours into this space; otherwise they stay as they are. */
  readonly space?: ColorSpace;
}

export const DEFAULT_JPEG_QUALITY = 90;
// Huffman tables of each picture's own cost 40 % of the encoder's time and save 8 % of the bytes: the usual ones will do.
/** Level 1 with no filtering costs half of sharp's default time for a few percent of size. */
const PNG_COMPRESSION_LEVEL = 1;
/** The largest side of a baseline JPEG (ISO/IEC 10918-1 B.2.2). */
const MAX_JPEG_SIDE = 65500;
/** GIF has 16 bits for a side. */
const MAX_GIF_SIDE = 65535;

/**
 * @param quality of a JPEG, 1 to 100; ignored for others
 * @param profile of a JPEG or PNG; GIF has none. A gray picture that carries one becomes RGB
 * @throws ArchiveError `bad-request` for another quality, `cannot-render` for a picture that the format cannot hold
 */
export async function encodePicture(
  picture: Picture,
  mediaType: RenderedMediaType,
  quality: number = DEFAULT_JPEG_QUALITY,
  profile?: ColorProfile,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw new ArchiveError('bad-request', 'The quality of a JPEG is a whole number from 1 to 100');
  }
  checkSides(picture, mediaType);
  if (mediaType === 'image/gif') return encodeGif(picture);
  if (profile !== undefined) return encodeWithProfile(picture, mediaType, quality, profile);
  const image = await imageOf(picture);
  const encoded =
    mediaType === 'image/jpeg'
      ? image.jpeg({ quality, chromaSubsampling: '4:4:4', optimiseCoding: false })
      : image.png({ compressionLevel: PNG_COMPRESSION_LEVEL });
  // Copied: the memory of libvips cannot be transferred between threads.
  return new Uint8Array(await encoded.toBuffer());
}

function checkSides({ width, height }: { width: number; height: number }, mediaType: RenderedMediaType): void {
  const most = { 'image/jpeg': MAX_JPEG_SIDE, 'image/gif': MAX_GIF_SIDE, 'image/png': Number.POSITIVE_INFINITY }[
    mediaType
  ];
  if (Math.max(width, height) <= most) return;
  const name = mediaType.slice('image/'.length).toUpperCase();
  throw new ArchiveError('cannot-render', `A ${name} has ${most} pixels to a side at most; ask for a viewport or PNG`);
}

async function encodeWithProfile(
  picture: Picture,
  mediaType: 'image/jpeg' | 'image/png',
  quality: number,
  { own, space }: ColorProfile,
): Promise<Uint8Array<ArrayBuffer>> {
  const colored: Picture =
    picture.channels === 3
      ? { ...picture, pixels: Uint8Array.from(picture.pixels) }
      : { ...picture, channels: 3, pixels: Uint8Array.from({ length: picture.pixels.length * 3 }, (_, i) => picture.pixels[(i / 3) | 0]!) }; // biome-ignore format: one thought
  const usable = own !== undefined && picture.channels === 3 && isRgbProfile(own) ? own : undefined;
  const embed = mediaType === 'image/jpeg' ? withProfileInJpeg : withProfileInPng;
  if (space === undefined) {
    return embed(await encodePicture(colored, mediaType, quality), usable ?? iccProfileOf('srgb'));
  }
  const inSrgb = usable === undefined ? colored : await toSrgb(colored, usable);
  fromSrgb(inSrgb.pixels, space);
  return embed(await encodePicture(inSrgb, mediaType, quality), iccProfileOf(space));
}

/** By libvips, which reads the profile of a file: so it becomes one. A profile that it cannot use is passed over. */
async function toSrgb(picture: Picture, profile: Uint8Array): Promise<Picture> {
  const sharp = await loadSharp();
  const plain = await (await imageOf(picture)).png({ compressionLevel: 0 }).toBuffer();
  const { data } = await sharp(withProfileInPng(plain, profile), { limitInputPixels: false })
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { ...picture, pixels: new Uint8Array(data) };
}

async function imageOf({ width, height, channels, pixels }: Picture) {
  const sharp = await loadSharp();
  const image = sharp(pixels, { raw: { width, height, channels }, limitInputPixels: false });
  return image.toColourspace(channels === 1 ? 'b-w' : 'srgb');
}

/**
 * Renderers run in threads of their own, and no picture is made twice: threads of libvips for one picture, and what it would keep of the
 * last ones, only cost.
 */
async function loadSharp() {
  const { default: sharp } = await import('sharp');
  sharp.concurrency(1);
  sharp.cache(false);
  return sharp;
}
