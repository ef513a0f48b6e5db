/**
 * A finished picture as JPEG or PNG bytes, by sharp (libvips), which loads at first use. Colour goes out without chroma
 * subsampling: the edges of coloured overlays and flow maps are findings.
 */
import { ArchiveError } from '../errors.ts';
import type { Picture } from './resample.ts';

export type RenderedMediaType = 'image/jpeg' | 'image/png';

export const DEFAULT_JPEG_QUALITY = 90;
/** Level 1 with no filtering costs half of sharp's default time for a few percent of size. */
const PNG_COMPRESSION_LEVEL = 1;
/** The largest side of a baseline JPEG (ISO/IEC 10918-1 B.2.2). */
const MAX_JPEG_SIDE = 65500;

/**
 * @param quality of a JPEG, 1 to 100; ignored for PNG
 * @throws ArchiveError `bad-request` for another quality, `cannot-render` for a picture that JPEG cannot hold
 */
export async function encodePicture(
  picture: Picture,
  mediaType: RenderedMediaType,
  quality: number = DEFAULT_JPEG_QUALITY,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw new ArchiveError('bad-request', 'The quality of a JPEG is a whole number from 1 to 100');
  }
  const { width, height, channels, pixels } = picture;
  if (mediaType === 'image/jpeg' && Math.max(width, height) > MAX_JPEG_SIDE) {
    throw new ArchiveError(
      'cannot-render',
      `A JPEG has ${MAX_JPEG_SIDE} pixels to a side at most; ask for a viewport or PNG`,
    );
  }
  const { default: sharp } = await import('sharp');
  const image = sharp(pixels, { raw: { width, height, channels }, limitInputPixels: false });
  const encoded =
    mediaType === 'image/jpeg'
      ? image.toColourspace(channels === 1 ? 'b-w' : 'srgb').jpeg({ quality, chromaSubsampling: '4:4:4' })
      : image.toColourspace(channels === 1 ? 'b-w' : 'srgb').png({ compressionLevel: PNG_COMPRESSION_LEVEL });
  // Copied: the memory of libvips cannot be transferred between threads.
  return new Uint8Array(await encoded.toBuffer());
}
