/**
 * Colour samples to 8-bit RGB: PALETTE COLOR, RGB, YBR_FULL, YBR_FULL_422 and the retired YBR_PARTIAL_422 (PS3.3
 * §C.7.6.3.1.2, §C.7.6.3.1.5), and the coloured pixels of gray images. Windows do not apply to colour. ICC profiles are left alone.
 */
import { cannotRender, type DecodedFrame, type PixelValues } from './decoded-frame.ts';
import type { ImageAttributes, SupplementalPalette } from './image-attributes.ts';
import type { LookupTable, Palette } from './lookup-table.ts';

type Rgb = Uint8ClampedArray<ArrayBuffer>;

/** @returns R G B bytes, three to a pixel. @throws ArchiveError `cannot-render` when palettes are missing */
export function renderColor(frame: DecodedFrame, palette: Palette | undefined): Uint8Array<ArrayBuffer> {
  const rgb = new Uint8ClampedArray(frame.rows * frame.columns * 3);
  switch (frame.meaning) {
    case 'PALETTE':
      if (palette === undefined) throw cannotRender('PALETTE COLOR needs three palettes, and there are none');
      fromPalette(frame, palette, rgb);
      break;
    case 'YBR_FULL':
      fromYbrFull(eightBits(frame), rgb);
      break;
    case 'YBR_FULL_422':
      fromYbrFull(repeatChroma(eightBits(frame)), rgb);
      break;
    case 'YBR_PARTIAL_422': {
      const samples = eightBits(frame);
      fromYbrPartial(samples.length === rgb.length ? samples : repeatChroma(samples), rgb);
      break;
    }
    default:
      rgb.set(eightBits(frame));
  }
  return new Uint8Array(rgb.buffer);
}

const ONE_SAMPLE = ['MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR'];
const THREE_SAMPLES = ['RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_PARTIAL_422', 'YBR_ICT', 'YBR_RCT', 'XYB'];

/**
 * Whether Photometric Interpretation says how the samples are to be seen: a guess could be a picture that looks right and is not.
 * @throws ArchiveError `cannot-render` for retired ones (HSV, ARGB, CMYK), unknown ones, and those of another number of samples
 */
export function checkPhotometric({ photometricInterpretation, samplesPerPixel }: ImageAttributes): void {
  const known = samplesPerPixel === 1 ? ONE_SAMPLE : THREE_SAMPLES;
  if (known.includes(photometricInterpretation)) return;
  throw cannotRender(
    `Photometric Interpretation is none of those that ${samplesPerPixel} samples per pixel are rendered of: ${known.join(', ')}`,
    { samplesPerPixel },
  );
}

/**
 * A gray image whose largest values are colours (PS3.3 §C.7.6.19): its picture in gray, and those pixels from the palette.
 * @param gray one byte to a pixel
 */
export function renderSupplemental(
  { values }: DecodedFrame,
  gray: Uint8Array,
  { palette, largestGray }: SupplementalPalette,
): Uint8Array<ArrayBuffer> {
  const rgb = new Uint8ClampedArray(gray.length * 3);
  [palette.red, palette.green, palette.blue].map(eightBitEntries).forEach(({ entries, firstMapped }, channel) => {
    const last = entries.length - 1;
    for (let i = 0, to = channel; i < values.length; i++, to += 3) {
      const value = values[i]!;
      rgb[to] = value > largestGray ? entries[Math.max(0, Math.min(last, value - firstMapped))]! : gray[i]!;
    }
  });
  return new Uint8Array(rgb.buffer);
}

/** The most significant 8 bits: 255 is full whatever Bits Stored is. */
function eightBits({ values, bitsStored }: DecodedFrame): PixelValues {
  if (bitsStored === 8 && values instanceof Uint8Array) return values;
  const scale = 255 / (2 ** bitsStored - 1);
  const bytes = new Uint8ClampedArray(values.length);
  // A signed sample of a colour is a mistake of the label: its bits are unsigned.
  const wrap = 2 ** bitsStored;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    bytes[i] = (value < 0 ? value + wrap : value) * scale;
  }
  return new Uint8Array(bytes.buffer);
}

function fromPalette({ values }: DecodedFrame, palette: Palette, rgb: Rgb): void {
  const channels = [palette.red, palette.green, palette.blue].map(eightBitEntries);
  channels.forEach(({ entries, firstMapped }, channel) => {
    const last = entries.length - 1;
    for (let i = 0, to = channel; i < values.length; i++, to += 3) {
      const index = values[i]! - firstMapped;
      rgb[to] = entries[Math.max(0, Math.min(last, index))]!;
    }
  });
}

/** 16-bit entries are written both as 8 bits doubled (0xabab) and as 8 bits shifted (0xab00): the high byte serves both. */
function eightBitEntries({ entries, bits, firstMapped }: LookupTable): { entries: Uint8Array; firstMapped: number } {
  const bytes = new Uint8Array(entries.length);
  for (let i = 0; i < entries.length; i++) {
    bytes[i] = bits >= 8 ? entries[i]! >> (bits - 8) : Math.round((entries[i]! * 255) / (2 ** bits - 1));
  }
  return { entries: bytes, firstMapped };
}

/** §C.7.6.3.1.2, the inverse of Y = 0.2990R + 0.5870G + 0.1140B and its fellows. */
function fromYbrFull(ybr: PixelValues, rgb: Rgb): void {
  for (let i = 0; i < rgb.length; i += 3) {
    const y = ybr[i]!;
    const cb = ybr[i + 1]! - 128;
    const cr = ybr[i + 2]! - 128;
    rgb[i] = y + 1.402 * cr;
    rgb[i + 1] = y - 0.344136286201 * cb - 0.714136286201 * cr;
    rgb[i + 2] = y + 1.772 * cb;
  }
}

/** Y from 16 to 235, chroma from 16 to 240. */
function fromYbrPartial(ybr: PixelValues, rgb: Rgb): void {
  for (let i = 0; i < rgb.length; i += 3) {
    const y = (255 / 219) * (ybr[i]! - 16);
    const cb = (255 / 224) * (ybr[i + 1]! - 128);
    const cr = (255 / 224) * (ybr[i + 2]! - 128);
    rgb[i] = y + 1.402 * cr;
    rgb[i + 1] = y - 0.344136286201 * cb - 0.714136286201 * cr;
    rgb[i + 2] = y + 1.772 * cb;
  }
}

/** Y Y Cb Cr to Y Cb Cr, Y Cb Cr: chroma is sited with the first of the two. */
export function repeatChroma(pairs: PixelValues): Uint8Array {
  const full = new Uint8Array((pairs.length / 2) * 3);
  for (let from = 0, to = 0; from < pairs.length; from += 4, to += 6) {
    full[to] = pairs[from]!;
    full[to + 3] = pairs[from + 1]!;
    full[to + 1] = full[to + 4] = pairs[from + 2]!;
    full[to + 2] = full[to + 5] = pairs[from + 3]!;
  }
  return full;
}
