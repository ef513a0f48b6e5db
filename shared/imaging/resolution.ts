/**
 * Which resolution of a JPEG 2000 or HTJ2K frame a picture is made of, and how that is scaled. A lower one is the low-pass of the codestream's
 * own wavelet (ISO/IEC 15444-1 Annex F), taken before the grayscale pipeline and not behind it: close to the mean of the pixels that it stands
 * for, and never exactly it. So it is used only where it is at least as large as what is shown, and where nothing that is drawn
 * depends on single pixels or on all of them.
 */
import { transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import type { ImageAttributes, Window } from './image-attributes.ts';
import type { PictureRequest } from './render.ts';
import { type Picture, targetSize, type Viewport } from './resample.ts';

/** More than any frame has that is worth it: 65,535 pixels become 256. */
const MOST_LEVELS = 8;

/**
 * How many levels lower than the full resolution the frame may be decoded: 0 for most. No promise that the codestream has so many; who
 * decodes the frame takes as many as it has. The same request always gives the same number.
 */
export function reductionFor(request: Omit<PictureRequest, 'frame'>): number {
  const { transferSyntaxUid, attributes, window, viewport } = request;
  const { codec } = transferSyntaxOf(transferSyntaxUid);
  if (viewport === undefined || (codec !== 'htj2k' && codec !== 'jpeg-2000')) return 0;
  // In 16 bits a picture is for measuring. Places in the others are pixels of the frame.
  if (request.bitDepth !== undefined) return 0;
  if (request.shutter ?? request.overlays?.[0] ?? request.segments ?? request.presentation) return 0;
  const source = sourceOf(viewport, attributes);
  if (!isPart(source, attributes) || !isLinear(attributes, window)) return 0;
  const target = targetSize(source, viewport);
  let reduction = 0;
  while (
    reduction < MOST_LEVELS &&
    source.width / 2 ** (reduction + 1) >= target.width &&
    source.height / 2 ** (reduction + 1) >= target.height
  ) {
    reduction += 1;
  }
  return reduction;
}

type Source = NonNullable<Viewport['source']>;

const sourceOf = ({ source }: Viewport, { rows, columns }: Pick<ImageAttributes, 'rows' | 'columns'>): Source =>
  source ?? { x: 0, y: 0, width: columns, height: rows };

/** What is none is an error that the full resolution gives; and mirrored ones are rare. */
function isPart({ x, y, width, height }: Source, { rows, columns }: ImageAttributes): boolean {
  const isWhole = [x, y, width, height].every(Number.isInteger);
  return isWhole && x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= columns && y + height <= rows;
}

/** Whether what lies between two stored values is drawn as what lies between them. */
function isLinear(attributes: ImageAttributes, requested: Window | undefined): boolean {
  const { photometricInterpretation, samplesPerPixel, bitsStored, modality, windows, voiTables } = attributes;
  const isIndexed = photometricInterpretation === 'PALETTE COLOR' || attributes.supplemental !== undefined;
  if (isIndexed || attributes.presentationTable !== undefined || bitsStored < 8) return false;
  if (attributes.supplemental ?? attributes.presentationTable) return false;
  // The decoders give no lower resolutions of several components of more than 8 bits.
  if (samplesPerPixel > 1) return attributes.bitsAllocated === 8;
  const window = requested ?? windows[0];
  // Without any, the window is that of the frame's least and greatest value.
  if (modality.kind !== 'linear' || (window === undefined && voiTables.length === 0)) return false;
  return isPaddingBlack(attributes, modality, window);
}

/** Whether padding is as black by the window as it is drawn: elsewhere, between it and the image, there would be a seam of neither. */
function isPaddingBlack(
  { padding, inverse, signed, bitsStored }: ImageAttributes,
  { slope, intercept }: { readonly slope: number; readonly intercept: number },
  window: Window | undefined,
): boolean {
  if (padding === undefined) return true;
  const isBlackBelow = inverse !== slope > 0;
  const least = signed ? -(2 ** (bitsStored - 1)) : 0;
  const most = signed ? 2 ** (bitsStored - 1) - 1 : 2 ** bitsStored - 1;
  if (isBlackBelow ? padding.low <= least && padding.high <= least : padding.low >= most) return true;
  if (window === undefined || window.function === 'SIGMOID') return false;
  const ends = [padding.low, padding.high].map((value) => value * slope + intercept);
  const { center, width } = window;
  return inverse ? Math.min(...ends) > center + width / 2 : Math.max(...ends) < center - width / 2 - 1;
}

/**
 * The viewport on a picture that is `reduction` levels lower than the frame it is of. Its pixels lie where every 2^reduction-th of
 * the frame's lies, not in the middle of those that they stand for: drawn without minding that, the picture would be off by up to half
 * a pixel. @param viewport one of which `reductionFor` was not 0
 */
export function fitReduced(
  picture: Picture,
  frame: Pick<ImageAttributes, 'rows' | 'columns'>,
  reduction: number,
  viewport: Viewport,
): Picture {
  const source = sourceOf(viewport, frame);
  const { width, height } = targetSize(source, viewport);
  const step = 2 ** reduction;
  const at = (position: number): number => (position - 0.5) / step + 0.5;
  const across = meansOf(picture.width, at(source.x), source.width / step, width);
  const down = meansOf(picture.height, at(source.y), source.height / step, height);
  const { channels } = picture;
  const pixels = new Uint8Array(width * height * channels);
  const line = new Float64Array(picture.width * channels);
  for (let row = 0; row < height; row++) {
    mixRows(picture, down, row, line);
    mixColumns(line, channels, across, pixels.subarray(row * width * channels, (row + 1) * width * channels));
  }
  return { width, height, channels, pixels };
}

/** Which positions make one target position, `taps` from `first` on, and how much of each. */
interface Means {
  readonly first: Int32Array;
  readonly taps: number;
  readonly weights: Float64Array;
}

/** Means over equal parts of what begins at `start`; beyond its ends the source is as at its ends. @param extent not less than `to` */
function meansOf(from: number, start: number, extent: number, to: number): Means {
  const ratio = extent / to;
  const taps = Math.min(from, Math.ceil(ratio) + 1);
  const first = new Int32Array(to);
  const weights = new Float64Array(to * taps);
  for (let target = 0; target < to; target++) {
    const begin = start + target * ratio;
    const end = begin + ratio;
    const origin = Math.max(0, Math.min(Math.floor(begin), from - taps));
    first[target] = origin;
    for (let position = Math.floor(begin); position < end; position++) {
      const part = Math.min(position + 1, end) - Math.max(position, begin);
      weights[target * taps + Math.max(0, Math.min(position, from - 1)) - origin]! += part / ratio;
    }
  }
  return { first, taps, weights };
}

function mixRows({ pixels }: Picture, { first, taps, weights }: Means, row: number, line: Float64Array): void {
  const start = first[row]! * line.length;
  const [one, two] = [weights[row * taps]!, taps > 1 ? weights[row * taps + 1]! : 0];
  const next = taps > 1 ? start + line.length : start;
  for (let i = 0; i < line.length; i++) line[i] = one * pixels[start + i]! + two * pixels[next + i]!;
  for (let tap = 2; tap < taps; tap++) {
    const weight = weights[row * taps + tap]!;
    if (weight === 0) continue;
    const from = start + tap * line.length;
    for (let i = 0; i < line.length; i++) line[i] = line[i]! + weight * pixels[from + i]!;
  }
}

function mixColumns(line: Float64Array, channels: 1 | 3, means: Means, out: Uint8Array): void {
  if (channels === 1 && means.taps === 2) mixPairs(line, means, out);
  else if (channels === 1 && means.taps === 3) mixTriples(line, means, out);
  else mixAny(line, channels, means, out);
}

function mixAny(line: Float64Array, channels: 1 | 3, means: Means, out: Uint8Array): void {
  const { first, taps, weights } = means;
  for (let column = 0, at = 0, weight = 0; at < out.length; column++, weight += taps) {
    const start = first[column]! * channels;
    for (let channel = 0; channel < channels; channel++, at++) {
      let sum = 0.5;
      for (let tap = 0, from = start + channel; tap < taps; tap++, from += channels) {
        sum += weights[weight + tap]! * line[from]!;
      }
      out[at] = sum;
    }
  }
}

// What most pictures come to, without a loop for each pixel: twice as fast.
function mixPairs(line: Float64Array, { first, weights }: Means, out: Uint8Array): void {
  for (let i = 0, w = 0; i < out.length; i++, w += 2) {
    const from = first[i]!;
    out[i] = weights[w]! * line[from]! + weights[w + 1]! * line[from + 1]! + 0.5;
  }
}

function mixTriples(line: Float64Array, { first, weights }: Means, out: Uint8Array): void {
  for (let i = 0, w = 0; i < out.length; i++, w += 3) {
    const from = first[i]!;
    out[i] = weights[w]! * line[from]! + weights[w + 1]! * line[from + 1]! + weights[w + 2]! * line[from + 2]! + 0.5;
  }
}
