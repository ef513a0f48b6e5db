/**
 * A finished picture as bytes: JPEG by libjpeg-turbo (jpeg-encoder.ts) or sharp (libvips), PNG of 8 or 16 bits and WebP by sharp, which
 * loads at first use, GIF by gif.ts; with or without an ICC profile. Colour goes out without chroma subsampling: the edges of coloured
 * overlays and flow maps are findings. So WebP, whose lossy form has no other, is lossless unless a quality is asked for.
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
import { encodeTurboJpeg } from './jpeg-encoder.ts';
import type { DeepPicture, Picture } from './resample.ts';
import { withProfileInWebp } from './webp.ts';

export type RenderedMediaType = 'image/jpeg' | 'image/png' | 'image/gif' | 'image/webp';

/** Which ICC profile the picture carries. */
export interface ColorProfile {
  /** The instance's own profile, which its colours are in; sRGB where there is none or it is not one of RGB. */
  readonly own?: Uint8Array;
  /** Bring the colours into this space; otherwise they stay as they are. */
  readonly space?: ColorSpace;
}

export const DEFAULT_JPEG_QUALITY = 90;
const LOSSLESS_QUALITY = 100;
// Huffman tables of each picture's own cost 40 % of the encoder's time and save 8 % of the bytes: the usual ones will do.
/** Level 1 with no filtering costs half of sharp's default time for a few percent of size. */
const PNG_COMPRESSION_LEVEL = 1;
/** The largest side by media type: what the format has room for. ISO/IEC 10918-1 B.2.2; 16 bits in GIF, 14 in WebP. */
const MAX_SIDES: Readonly<Record<RenderedMediaType, number>> = {
  'image/jpeg': 65_500,
  'image/png': Number.POSITIVE_INFINITY,
  'image/gif': 65_535,
  'image/webp': 16_383,
};

/**
 * @param quality of a JPEG (90 when not given) or a WebP, 1 to 100; a WebP of 100 or without one is lossless; ignored for others
 * @param profile of any but GIF, which has none. A gray picture that carries one becomes RGB
 * @throws ArchiveError `bad-request` for another quality, `cannot-render` for a picture that the format cannot hold
 */
export async function encodePicture(
  picture: Picture,
  mediaType: RenderedMediaType,
  quality?: number,
  profile?: ColorProfile,
): Promise<Uint8Array<ArrayBuffer>> {
  if (quality !== undefined && (!Number.isInteger(quality) || quality < 1 || quality > 100)) {
    throw new ArchiveError('bad-request', 'The quality of a picture is a whole number from 1 to 100');
  }
  checkSides(picture, mediaType);
  if (mediaType === 'image/gif') return encodeGif(picture);
  if (profile !== undefined) return encodeWithProfile(picture, mediaType, quality, profile);
  if (mediaType === 'image/jpeg') return encodeJpeg(picture, quality ?? DEFAULT_JPEG_QUALITY);
  const image = await imageOf(picture);
  if (mediaType === 'image/png') return ownBytes(image.png({ compressionLevel: PNG_COMPRESSION_LEVEL }));
  const isLossless = quality === undefined || quality === LOSSLESS_QUALITY;
  // Without loss, the quality is how hard it tries: a tenth of the bytes more, a tenth of the time.
  return ownBytes(image.webp(isLossless ? { lossless: true, quality: 1, effort: 0 } : { quality, effort: 0 }));
}

/** Gray of 16 bits, as PNG. */
export async function encodeDeepPng({ width, height, pixels }: DeepPicture): Promise<Uint8Array<ArrayBuffer>> {
  const sharp = await loadSharp();
  const image = sharp(pixels, { raw: { width, height, channels: 1 }, limitInputPixels: false });
  return ownBytes(image.toColourspace('grey16').png({ compressionLevel: PNG_COMPRESSION_LEVEL }));
}

async function encodeJpeg(picture: Picture, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoded = await encodeTurboJpeg(picture, quality);
  if (encoded !== undefined) return encoded;
  const image = await imageOf(picture);
  return ownBytes(image.jpeg({ quality, chromaSubsampling: '4:4:4', optimiseCoding: false }));
}

/** Copied: the memory of libvips cannot be transferred between threads. */
async function ownBytes(image: { toBuffer(): Promise<Buffer> }): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await image.toBuffer());
}

function checkSides({ width, height }: { width: number; height: number }, mediaType: RenderedMediaType): void {
  const most = MAX_SIDES[mediaType];
  if (Math.max(width, height) <= most) return;
  const name = mediaType.slice('image/'.length).toUpperCase();
  throw new ArchiveError('cannot-render', `A ${name} has ${most} pixels to a side at most; ask for a viewport or PNG`);
}

const embedders = {
  'image/jpeg': withProfileInJpeg,
  'image/png': withProfileInPng,
  'image/webp': withProfileInWebp,
} as const;

async function encodeWithProfile(
  picture: Picture,
  mediaType: Exclude<RenderedMediaType, 'image/gif'>,
  quality: number | undefined,
  { own, space }: ColorProfile,
): Promise<Uint8Array<ArrayBuffer>> {
  const colored: Picture = {
    ...picture,
    channels: 3,
    pixels: picture.channels === 3 ? new Uint8Array(picture.pixels) : threeTimes(picture.pixels),
  };
  const usable = own !== undefined && picture.channels === 3 && isRgbProfile(own) ? own : undefined;
  const embed = embedders[mediaType];
  if (space === undefined) {
    return embed(await encodePicture(colored, mediaType, quality), usable ?? iccProfileOf('srgb'), picture);
  }
  const inSrgb = usable === undefined ? colored : await toSrgb(colored, usable);
  fromSrgb(inSrgb.pixels, space);
  return embed(await encodePicture(inSrgb, mediaType, quality), iccProfileOf(space), picture);
}

function threeTimes(gray: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(gray.length * 3);
  for (let i = 0, to = 0; i < gray.length; i++, to += 3) rgb[to] = rgb[to + 1] = rgb[to + 2] = gray[i]!;
  return rgb;
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
