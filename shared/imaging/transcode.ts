/**
 * One frame from any transfer syntax with a decoder into another one (PS3.5 §8.1, §8.2, Annex A): native cells, or compressed by one of
 * the encoders. Which pixels a compression may hold is said here, in sentences; what the data set must say of them
 * afterwards comes with the frame. Pure; doing it off the main thread is render-pool.ts.
 */
import { promisify } from 'node:util';
import { deflateRaw } from 'node:zlib';
import { type TransferSyntax, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { decodeFrame, isLossyFrame, memoryNeededBytes } from './codecs.ts';
import { renderColor, repeatChroma } from './color.ts';
import type { DecodedFrame } from './decoded-frame.ts';
import { encodePicture } from './encode.ts';
import type { ImageAttributes } from './image-attributes.ts';
import { joinComponents, LARGEST_JOINED_SIDE } from './j2k-components.ts';
import { encodeJpegLossless } from './jpeg-lossless-encoder.ts';
import { cellsOf, nativeCells, nativeFrame } from './native-cells.ts';
import { encodeRle } from './rle.ts';
import { encodeWithWasm, type Samples, type WasmEncoder } from './wasm-encoders.ts';

export interface TranscodeRequest {
  /** The bytes of one frame, its fragments joined; native ones in little endian, from a byte of their own on. */
  readonly frame: Uint8Array;
  readonly fromTransferSyntaxUid: string;
  readonly toTransferSyntaxUid: string;
  readonly attributes: ImageAttributes;
  /** Of the first pixel within the first byte of a native answer: one-bit frames follow each other without padding. Default 0. */
  readonly bitOffset?: number;
}

export interface TranscodedFrame {
  /** Native: not padded to even length, High Bit is Bits Stored - 1, signed values have their sign in the bits above. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What the samples are now; several have Planar Configuration 0. */
  readonly photometricInterpretation: string;
  /** Whether values differ from the original, by the compression before or by this one. */
  readonly isLossy: boolean;
}

type Encode = (decoded: DecodedFrame, attributes: ImageAttributes) => Promise<Encoded> | Encoded;

interface Encoded {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly photometricInterpretation: string;
}

interface Target {
  readonly encode: Encode;
  readonly bitsAllocated: readonly number[];
  /** Of a pixel with several samples. */
  readonly colorBitsAllocated: readonly number[];
  readonly isLossy: boolean;
}

const eightAndSixteen = [8, 16];
const encodeJpegLs: Encode = (decoded, attributes) => encodeLossless('charls', decoded, attributes, decoded.meaning);
const encodeHtj2k: Encode = (decoded, attributes) => {
  if (isWideColor(attributes)) return encodeComponents('openjph', decoded, attributes);
  const isRgb = decoded.meaning === 'RGB';
  return encodeLossless('openjph', decoded, attributes, isRgb ? 'YBR_RCT' : decoded.meaning, isRgb);
};
const lossless = (encode: Encode, colorBitsAllocated: readonly number[]): Target => ({
  encode,
  bitsAllocated: eightAndSixteen,
  colorBitsAllocated,
  isLossy: false,
});
const jpeg2000 = lossless(encodeJpeg2000, eightAndSixteen);
const htj2k = lossless(encodeHtj2k, eightAndSixteen);
const deflated = { ...lossless(encodeDeflated, [8, 16, 32]), bitsAllocated: [1, 8, 16, 32] };

/** What is encoded here; both JPEG 2000 syntaxes, and all of HTJ2K, get the same codestream. */
const targets: ReadonlyMap<string, Target> = new Map<string, Target>([
  ['1.2.840.10008.1.2.4.50', { encode: encodeJpeg, bitsAllocated: [8], colorBitsAllocated: [8], isLossy: true }],
  ['1.2.840.10008.1.2.4.70', lossless(encodeSelectionValue1, eightAndSixteen)],
  ['1.2.840.10008.1.2.4.80', lossless(encodeJpegLs, eightAndSixteen)],
  ['1.2.840.10008.1.2.4.90', jpeg2000],
  ['1.2.840.10008.1.2.4.91', jpeg2000],
  ['1.2.840.10008.1.2.4.201', htj2k],
  ['1.2.840.10008.1.2.4.202', htj2k],
  ['1.2.840.10008.1.2.4.203', htj2k],
  ['1.2.840.10008.1.2.4.110', lossless(encodeJpegXl, eightAndSixteen)],
  ['1.2.840.10008.1.2.8.1', deflated],
  ['1.2.840.10008.1.2.5', { ...lossless(encodeRleFrame, [8, 16, 32]), bitsAllocated: [8, 16, 32] }],
]);

/** The transfer syntaxes that frames can be compressed in. */
export const encodableTransferSyntaxes: readonly string[] = [...targets.keys()];

/** Codestreams of the first are codestreams of the others, too. */
const alsoValidAs: Readonly<Record<string, readonly string[]>> = {
  '1.2.840.10008.1.2.4.90': ['1.2.840.10008.1.2.4.91'],
  '1.2.840.10008.1.2.4.201': ['1.2.840.10008.1.2.4.203'],
  '1.2.840.10008.1.2.4.202': ['1.2.840.10008.1.2.4.201', '1.2.840.10008.1.2.4.203'],
};

/** Whether pixels of so many bits can be compressed so; undefined bits: whether any can. More than the bits may still forbid it. */
export function canEncode(transferSyntaxUid: string, bitsAllocated?: number): boolean {
  const target = targets.get(transferSyntaxUid);
  return target !== undefined && (bitsAllocated === undefined || target.bitsAllocated.includes(bitsAllocated));
}

/** Upper estimate of what transcoding one frame takes: what decoding takes, and the encoder's words twice. */
export function transcodingNeedsBytes({
  attributes,
  fromTransferSyntaxUid,
  toTransferSyntaxUid,
}: TranscodeRequest): number {
  const { rows, columns, samplesPerPixel } = attributes;
  const encoderBytes = transferSyntaxOf(toTransferSyntaxUid).encapsulated ? 12 : 0;
  return memoryNeededBytes(attributes, fromTransferSyntaxUid) + rows * columns * samplesPerPixel * encoderBytes;
}

/**
 * @throws ArchiveError `cannot-render` for what cannot be decoded, whatever the bytes hold; `not-acceptable` where the target cannot
 * hold these pixels, or nobody here writes it
 */
export async function transcodeFrame(request: TranscodeRequest): Promise<TranscodedFrame> {
  const { frame, fromTransferSyntaxUid, toTransferSyntaxUid, attributes, bitOffset = 0 } = request;
  const to = transferSyntaxOf(toTransferSyntaxUid);
  if (!to.encapsulated && to.codec === 'native') {
    return nativeFrame({ frame, transferSyntaxUid: fromTransferSyntaxUid, attributes, bitOffset });
  }
  const target = targetFor(to, attributes);
  const wasLossy = isLossyFrame(frame, fromTransferSyntaxUid);
  if (alsoValidAs[fromTransferSyntaxUid]?.includes(toTransferSyntaxUid)) {
    const { photometricInterpretation } = attributes;
    return { bytes: new Uint8Array(frame), photometricInterpretation, isLossy: wasLossy };
  }
  const decoded = withFullChroma(await decodeFrame(frame, fromTransferSyntaxUid, attributes), attributes);
  const encoded = await target.encode(decoded, attributes);
  return { ...encoded, isLossy: wasLossy || target.isLossy };
}

function targetFor(to: TransferSyntax, attributes: ImageAttributes): Target {
  const { samplesPerPixel, bitsAllocated, pixelKind } = attributes;
  const target = targets.get(to.uid);
  if (target === undefined) throw notAcceptable(`nothing is compressed in ${to.name} here`);
  if (pixelKind !== 'integer') throw notAcceptable('floating point numbers are not compressed');
  const allowed = samplesPerPixel > 1 ? target.colorBitsAllocated : target.bitsAllocated;
  if (!allowed.includes(bitsAllocated)) {
    const kind = samplesPerPixel > 1 ? 'colour' : 'pixels';
    throw notAcceptable(`${to.name} is not made of ${kind} of ${bitsAllocated} bits`, { bitsAllocated });
  }
  return target;
}

/** Repeating chroma loses nothing; the retired YBR_PARTIAL_422 has no full form. */
function withFullChroma(decoded: DecodedFrame, { bitsAllocated }: ImageAttributes): DecodedFrame {
  if (decoded.meaning === 'YBR_PARTIAL_422') throw notAcceptable('YBR_PARTIAL_422 is only given as it is stored');
  if (decoded.meaning !== 'YBR_FULL_422') return decoded;
  if (bitsAllocated !== 8) throw notAcceptable('YBR_FULL_422 has 8 bits to a sample', { bitsAllocated });
  return { ...decoded, meaning: 'YBR_FULL', values: repeatChroma(decoded.values) };
}

/** With chroma in full resolution: the edges of coloured overlays and flow maps are findings. */
async function encodeJpeg(decoded: DecodedFrame, attributes: ImageAttributes): Promise<Encoded> {
  if (attributes.signed) throw notAcceptable('signed pixels are not compressed with loss');
  if (attributes.bitsStored !== 8) throw notAcceptable('JPEG Baseline has 8 bits stored in each sample');
  if (decoded.meaning === 'PALETTE') throw notAcceptable('indices of a palette are not compressed with loss');
  const { rows: height, columns: width, photometricInterpretation } = attributes;
  if (decoded.meaning === 'GRAY') {
    const picture = { width, height, channels: 1, pixels: decoded.values as Uint8Array } as const;
    return { bytes: await encodePicture(picture, 'image/jpeg'), photometricInterpretation };
  }
  const picture = { width, height, channels: 3, pixels: renderColor(decoded, undefined) } as const;
  return { bytes: await encodePicture(picture, 'image/jpeg'), photometricInterpretation: 'YBR_FULL' };
}

/** OpenJPEG's package makes YBR_RCT of every three samples, which only RGB may become (PS3.5 §8.2.4). */
async function encodeJpeg2000(decoded: DecodedFrame, attributes: ImageAttributes): Promise<Encoded> {
  const isRgb = decoded.meaning === 'RGB';
  if (isWideColor(attributes) || (attributes.samplesPerPixel > 1 && !isRgb)) {
    return encodeComponents('openjpeg', decoded, attributes);
  }
  return encodeLossless('openjpeg', decoded, attributes, isRgb ? 'YBR_RCT' : decoded.meaning);
}

const isWideColor = ({ samplesPerPixel, bitsAllocated }: ImageAttributes): boolean =>
  samplesPerPixel > 1 && bitsAllocated > 8;

/** Each component by itself, without a colour transform: the encoders' packages take colour of 8 bits only, and OpenJPEG's transforms it. */
async function encodeComponents(
  codec: 'openjpeg' | 'openjph',
  decoded: DecodedFrame,
  attributes: ImageAttributes,
): Promise<Encoded> {
  const { rows, columns, samplesPerPixel, signed } = attributes;
  if (signed) throw notAcceptable('signed colour is not compressed as JPEG 2000');
  if (Math.max(rows, columns) > LARGEST_JOINED_SIDE) {
    throw notAcceptable(`colour of 16 bits is compressed as JPEG 2000 up to ${LARGEST_JOINED_SIDE} pixels to a side`);
  }
  const precision = precisionOf(attributes);
  const codestreams: Uint8Array[] = [];
  for (let sample = 0; sample < samplesPerPixel; sample++) {
    const values = precision > 8 ? new Uint16Array(rows * columns) : new Uint8Array(rows * columns);
    for (let i = 0, from = sample; i < values.length; i++, from += samplesPerPixel) values[i] = decoded.values[from]!;
    codestreams.push(await encodeWithWasm(codec, { rows, columns, samplesPerPixel: 1, precision, values }));
  }
  return { bytes: joinComponents(codestreams), photometricInterpretation: namedAs(decoded.meaning, attributes) };
}

function encodeSelectionValue1(decoded: DecodedFrame, attributes: ImageAttributes): Encoded {
  const precision = precisionOf(attributes);
  const values = unsignedSamples(decoded.values, precision, false);
  const isRgb = decoded.meaning === 'RGB';
  return {
    bytes: encodeJpegLossless({ ...sizeOf(attributes), precision, values, isRgb }),
    photometricInterpretation: namedAs(decoded.meaning, attributes),
  };
}

/** Its samples have no sign, and three of them are RGB. */
async function encodeJpegXl(decoded: DecodedFrame, attributes: ImageAttributes): Promise<Encoded> {
  if (attributes.signed) throw notAcceptable('signed pixels are not compressed as JPEG XL');
  if (decoded.meaning === 'YBR_FULL') {
    throw notAcceptable('YBR_FULL is not compressed as JPEG XL; HTJ2K, JPEG-LS and RLE hold it');
  }
  return encodeLossless('libjxl', decoded, attributes, decoded.meaning);
}

/** Native cells as one deflated stream (PS3.5 §A.4, Deflated Image Frame Compression); one-bit pixels are packed, each frame from a byte of its own on. */
async function encodeDeflated(decoded: DecodedFrame, attributes: ImageAttributes): Promise<Encoded> {
  const bytes = new Uint8Array(await promisify(deflateRaw)(nativeCells(decoded, attributes, 0)));
  return { bytes, photometricInterpretation: namedAs(decoded.meaning, attributes) };
}

function encodeRleFrame(decoded: DecodedFrame, attributes: ImageAttributes): Encoded {
  const { columns, samplesPerPixel, bitsAllocated } = attributes;
  const cells = cellsOf(decoded.values, bitsAllocated / 8);
  return {
    bytes: encodeRle(cells, columns, samplesPerPixel, bitsAllocated / 8),
    photometricInterpretation: namedAs(decoded.meaning, attributes),
  };
}

/** With the lossless encoders that take unsigned samples. @param meaning of the samples in the codestream */
async function encodeLossless(
  codec: WasmEncoder,
  decoded: DecodedFrame,
  attributes: ImageAttributes,
  meaning: string,
  colorTransform = false,
): Promise<Encoded> {
  const precision = precisionOf(attributes);
  // JPEG 2000 takes half the range from unsigned samples before all else: raised by that, signed ones are encoded as they are.
  const isRaised = attributes.signed && codec !== 'charls';
  const values = unsignedSamples(decoded.values, precision, isRaised);
  const bytes = await encodeWithWasm(codec, { ...sizeOf(attributes), precision, values, colorTransform });
  if (isRaised) declareSigned(bytes, attributes.samplesPerPixel);
  return { bytes, photometricInterpretation: namedAs(meaning, attributes) };
}

/** Decoders give words for 9 bits and more, and cells of 16 bits want words. JPEG-LS begins at 2. */
const precisionOf = ({ bitsAllocated, bitsStored }: ImageAttributes): number =>
  Math.max(bitsStored, bitsAllocated > 8 ? 9 : 2);

const sizeOf = ({ rows, columns, samplesPerPixel }: ImageAttributes): Pick<Samples, 'rows' | 'columns' | 'samplesPerPixel'> => ({ rows, columns, samplesPerPixel }); // biome-ignore format: one thought

function unsignedSamples(
  values: DecodedFrame['values'],
  precision: number,
  isRaised: boolean,
): Uint8Array | Uint16Array {
  const samples = precision > 8 ? new Uint16Array(values.length) : new Uint8Array(values.length);
  const raise = isRaised ? 2 ** (precision - 1) : 0;
  const mask = 2 ** precision - 1;
  for (let i = 0; i < values.length; i++) samples[i] = (values[i]! + raise) & mask;
  return samples;
}

/** Ssiz of each component (ISO/IEC 15444-1 A.5.1): SOC, SIZ, its length, its capabilities, eight sizes and the number of components go before. */
function declareSigned(codestream: Uint8Array, components: number): void {
  const first = 2 + 2 + 2 + 2 + 32 + 2;
  for (let i = 0; i < components; i++) codestream[first + 3 * i] = codestream[first + 3 * i]! | 0x80;
}

function namedAs(meaning: string, { photometricInterpretation }: ImageAttributes): string {
  if (meaning === 'GRAY') return photometricInterpretation;
  return meaning === 'PALETTE' ? 'PALETTE COLOR' : meaning;
}

function notAcceptable(why: string, details: Readonly<Record<string, unknown>> = {}): ArchiveError {
  return new ArchiveError('not-acceptable', `The pixels cannot be had so: ${why}. Ask for transfer-syntax=*.`, details);
}
