/**
 * The registry of decoders: one frame's bytes in a transfer syntax become stored values. Every codestream's own header
 * is compared with the data set before it is decoded, and whatever fails is `cannot-render` with a reason. Decoders
 * load at first use. What the values mean for the eye is lut.ts and color.ts.
 */
import { inflateRawSync } from 'node:zlib';
import { type TransferSyntax, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { isArchiveError } from '../errors.ts';
import {
  cannotRender,
  checkCodestream,
  checkFrameSize,
  codestreamValues,
  type DecodedFrame,
  meaningOf,
} from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';
import { checkTileParts, type J2kHeader, readJ2kHeader, reduced, reductionOf, unwrapJp2 } from './j2k-codestream.ts';
import { isYcbcr, type JpegHeader, readJpegHeader } from './jpeg-codestream.ts';
import { decodeJpegDct } from './jpeg-dct.ts';
import { checkScans } from './jpeg-huffman.ts';
import { decodeJpegLossless } from './jpeg-lossless.ts';
import { readJpegXlHeader } from './jpeg-xl-codestream.ts';
import { decodeNativeFrame, interleave, nativeFrameBytes } from './native-frame.ts';
import { decodeRle } from './rle.ts';
import { decodeWithWasm } from './wasm-codecs.ts';

export interface FrameLayout {
  /** Of a native one-bit frame's first pixel within its first byte, as frame-ranges.ts gives it. */
  readonly bitOffset?: number;
  /**
   * Of JPEG 2000: by how many levels lower than the full resolution it may come, each halving both sides, rounding up. It comes as
   * low as the codestream allows; then the frame may end behind the last tile-part that this takes. Default 0.
   */
  readonly reduction?: number;
  /** Values are looked at only, while the frame stays as it is: those of a native frame may be a view of it. */
  readonly asView?: boolean;
}

type Decoder = (
  frame: Uint8Array,
  attributes: ImageAttributes,
  syntax: TransferSyntax,
  layout: FrameLayout,
) => DecodedFrame | Promise<DecodedFrame>;

const decoders: Partial<Record<TransferSyntax['codec'], Decoder>> = {
  native: (frame, attributes, { littleEndian }, { bitOffset = 0, asView = false }) =>
    decodeNativeFrame(frame, attributes, { littleEndian, bitOffset, asView }),
  'deflate-frame': decodeDeflatedFrame,
  rle: decodeRleFrame,
  jpeg: decodeJpegFrame,
  'jpeg-lossless': decodeJpegFrame,
  'jpeg-ls': decodeJpegLsFrame,
  'jpeg-xl': decodeJpegXlFrame,
  'jpeg-2000': (frame, attributes, _syntax, layout) => decodeJ2kFrame(frame, attributes, 'openjpeg', layout),
  htj2k: (frame, attributes, _syntax, layout) => decodeJ2kFrame(frame, attributes, 'openjph', layout),
};

/** Whether a frame of this transfer syntax can be decoded at all: video and syntaxes nobody knows cannot. */
export function canDecode(transferSyntaxUid: string): boolean {
  return decoders[transferSyntaxOf(transferSyntaxUid).codec] !== undefined;
}

/**
 * Whether a frame's compression has changed values: by its own header, where the transfer syntax allows both (PS3.5 §A.4).
 * False also where only its encoder knows, as of reversible JPEG 2000 that was cut short.
 * @throws ArchiveError `cannot-render` when that header is damaged
 */
export function isLossyFrame(frame: Uint8Array, transferSyntaxUid: string): boolean {
  const { codec, lossy } = transferSyntaxOf(transferSyntaxUid);
  if (!lossy) return false;
  if (codec === 'jpeg-2000' || codec === 'htj2k') return readJ2kHeader(unwrapJp2(frame)).lossy;
  return codec === 'jpeg-ls' ? readJpegHeader(frame).lossy : true;
}

/**
 * Upper estimate of what decoding and drawing one frame takes: wavelets in 32-bit words twice, values, picture, scaling.
 * @param reduction by how many levels lower than the full resolution it is decoded
 */
export function memoryNeededBytes(attributes: ImageAttributes, transferSyntaxUid: string, reduction = 0): number {
  const { rows, columns, samplesPerPixel, bitsAllocated } = attributes;
  const samples = reduced(rows, reduction) * reduced(columns, reduction) * samplesPerPixel;
  const codecBytes = transferSyntaxOf(transferSyntaxUid).encapsulated ? 12 : 0;
  return samples * (codecBytes + 2 * Math.ceil(bitsAllocated / 8) + 2);
}

/**
 * By how many levels lower than the full resolution `decodeFrame` gives the frame where `wanted` may be spared.
 * @throws ArchiveError `cannot-render` as decoding it would
 */
export function decodedReduction(
  frame: Uint8Array,
  transferSyntaxUid: string,
  attributes: ImageAttributes,
  wanted: number,
): number {
  const { codec } = transferSyntaxOf(transferSyntaxUid);
  if (wanted === 0 || (codec !== 'jpeg-2000' && codec !== 'htj2k')) return 0;
  const codestream = unwrapJp2(frame);
  return reductionOf(codestream, readJ2kHeader(codestream), attributes, wanted);
}

/**
 * @param frame the bytes of one frame, its fragments joined; never changed
 * @throws ArchiveError `cannot-render`, whatever the bytes hold
 */
export async function decodeFrame(
  frame: Uint8Array,
  transferSyntaxUid: string,
  attributes: ImageAttributes,
  layout: FrameLayout = {},
): Promise<DecodedFrame> {
  const syntax = transferSyntaxOf(transferSyntaxUid);
  const decoder = decoders[syntax.codec];
  if (decoder === undefined) {
    throw cannotRender(`Frames in ${syntax.name} cannot be rendered; ask for them as they are`, {
      transferSyntaxUid,
    });
  }
  checkFrameSize(attributes.rows, attributes.columns);
  if (syntax.encapsulated && attributes.pixelKind !== 'integer') {
    throw cannotRender('Float pixels are native only (PS3.5 A.4), but this frame is compressed', { transferSyntaxUid });
  }
  try {
    return await decoder(frame, attributes, syntax, layout);
  } catch (error) {
    if (isArchiveError(error)) throw error;
    // Typed arrays that cannot be allocated are the one failure that only hostile or huge frames bring about.
    if (error instanceof RangeError) throw cannotRender('The frame needs more memory than there is', {}, error);
    throw error;
  }
}

function decodeDeflatedFrame(frame: Uint8Array, attributes: ImageAttributes): DecodedFrame {
  let native: Uint8Array;
  try {
    // A full-chroma frame under a 4:2:2 label is half as long again; one byte pads it to even length.
    native = inflateRawSync(frame, { maxOutputLength: nativeFrameBytes(attributes) * 1.5 + 2 });
  } catch (error) {
    throw cannotRender('The deflated frame cannot be inflated to the size that its attributes give', {}, error);
  }
  return decodeNativeFrame(native, attributes, { littleEndian: true, isOwn: true });
}

function decodeRleFrame(frame: Uint8Array, attributes: ImageAttributes): DecodedFrame {
  const { rows, columns, samplesPerPixel, bitsAllocated } = attributes;
  const oneBit = bitsAllocated === 1;
  const cellCount = oneBit ? Math.ceil((rows * columns) / 8) : rows * columns * samplesPerPixel;
  const cells = decodeRle(frame, cellCount, samplesPerPixel, oneBit ? 1 : bitsAllocated / 8);
  return decodeNativeFrame(cells, attributes, { littleEndian: true, interleaved: true, isOwn: true });
}

async function decodeJpegFrame(frame: Uint8Array, attributes: ImageAttributes): Promise<DecodedFrame> {
  const header = readJpegHeader(frame);
  checkCodestream(header, attributes);
  checkScans(frame, header.firstScanOffset);
  const { rows, columns, bitsStored, signed } = attributes;
  const ycbcr = header.components.length === 3 && isYcbcr(header, attributes);
  const color = ycbcr ? 'YBR_FULL' : 'RGB';
  const meaning = header.components.length === 3 ? color : meaningOf(attributes);
  if (header.process === 0xc3) {
    const samples = decodeJpegLossless(frame, header);
    return { rows, columns, meaning, bitsStored, signed, values: codestreamValues(samples, header, attributes) };
  }
  if (header.process > 0xc2) {
    throw cannotRender('JPEG with hierarchical or arithmetic coding cannot be rendered', { process: header.process });
  }
  if (header.precision !== 8) {
    const samples = decodeJpegDct(frame, header);
    return { rows, columns, meaning, bitsStored, signed, values: codestreamValues(samples, header, attributes) };
  }
  try {
    const { samples } = await decodeWithWasm('libjpeg-turbo', withColourTold(frame, header, ycbcr), header);
    const values = codestreamValues(samples, header, attributes);
    return { rows, columns, meaning: header.components.length === 3 ? 'RGB' : meaning, bitsStored, signed, values };
  } catch (error) {
    if (!isArchiveError(error)) throw error;
    // libjpeg's mere warnings (stray bytes between segments) arrive as failures; this decoder passes over those, and
    // fails itself where data is missing.
    const samples = decodeJpegDct(frame, header);
    return { rows, columns, meaning, bitsStored, signed, values: codestreamValues(samples, header, attributes) };
  }
}

/** The same codestream with one Adobe segment in place of all application segments: libjpeg then does as it is told. */
function withColourTold(frame: Uint8Array, header: JpegHeader, ycbcr: boolean): Uint8Array {
  const kept = header.segments.filter(({ marker }) => marker < 0xe0 || marker > 0xef);
  const adobe = Uint8Array.of(0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, ycbcr ? 1 : 0);
  const parts = [
    Uint8Array.of(0xff, 0xd8),
    ...(header.components.length === 3 ? [adobe] : []),
    ...kept.map(({ start, end }) => frame.subarray(start, end)),
    frame.subarray(header.firstScanOffset),
  ];
  return Buffer.concat(parts);
}

async function decodeJpegLsFrame(frame: Uint8Array, attributes: ImageAttributes): Promise<DecodedFrame> {
  const header = readJpegHeader(frame);
  if (header.process !== 0xf7) return decodeJpegFrame(frame, attributes);
  checkCodestream(header, attributes);
  const { samples, interleaveMode } = await decodeWithWasm('charls', withEndOfImage(frame), header);
  const { rows, columns, bitsStored, signed } = attributes;
  const interleaved =
    header.samplesPerPixel > 1 && interleaveMode === 0 ? interleave(samples, header.samplesPerPixel) : samples;
  const values = codestreamValues(interleaved, header, attributes);
  return { rows, columns, meaning: meaningOf(attributes), bitsStored, signed, values };
}

/** CharLS can search for a minute for the next 1 bit of a stream that ends too soon; a marker behind it stops the search. */
function withEndOfImage(frame: Uint8Array): Uint8Array {
  const ended = new Uint8Array(frame.length + 2);
  ended.set(frame);
  ended.set([0xff, 0xd9], frame.length);
  return ended;
}

/**
 * What the codestream calls RGB and gray is that, from whatever it made of it inside. Its samples have no sign, and where a data set says otherwise, or that
 * lossless samples are luminance and chrominance, it is not known what the encoder meant.
 */
async function decodeJpegXlFrame(
  frame: Uint8Array,
  attributes: ImageAttributes,
  { lossy }: TransferSyntax,
): Promise<DecodedFrame> {
  const { rows, columns, bitsStored, signed, photometricInterpretation } = attributes;
  const header = readJpegXlHeader(frame);
  checkCodestream(header, attributes);
  if (header.precision > 16) throw cannotRender(`JPEG XL with ${header.precision} bits cannot be rendered`);
  if (signed) throw cannotRender('JPEG XL has no signed samples, but Pixel Representation is 1');
  if (!lossy && /^YBR_(FULL|PARTIAL)/.test(photometricInterpretation)) {
    throw cannotRender(`Lossless JPEG XL gives RGB, but Photometric Interpretation is ${photometricInterpretation}`);
  }
  const { samples } = await decodeWithWasm('libjxl', frame, header);
  const values = codestreamValues(samples, header, attributes);
  return {
    rows,
    columns,
    meaning: header.samplesPerPixel === 3 ? 'RGB' : meaningOf(attributes),
    bitsStored,
    signed,
    values,
  };
}

async function decodeJ2kFrame(
  frame: Uint8Array,
  attributes: ImageAttributes,
  codec: 'openjpeg' | 'openjph',
  { reduction: wanted = 0 }: FrameLayout,
): Promise<DecodedFrame> {
  const codestream = unwrapJp2(frame);
  const header = readJ2kHeader(codestream);
  checkCodestream(header, attributes);
  checkTileParts(codestream, header.firstTileOffset);
  const { samplesPerPixel, bitsStored, signed } = attributes;
  if (header.precision > 16) throw cannotRender(`JPEG 2000 with ${header.precision} bits cannot be rendered`);
  const reduction = reductionOf(codestream, header, attributes, wanted);
  // OpenJPH's package mixes up several components of more than 8 bits, and says nothing. OpenJPEG reads HTJ2K too.
  const decoder =
    header.samplesPerPixel > 1 && (header.precision > 8 || header.sampling !== '444') ? 'openjpeg' : codec;
  const biased = header.signed && header.precision <= 8;
  const { samples } = await decodeWithWasm(
    decoder,
    biased ? unsignedTwin(codestream, header.depthOffsets) : codestream,
    header,
    reduction,
  );
  const limit = 2 ** header.precision - 1;
  if (biased) {
    const middle = 2 ** (header.precision - 1);
    for (let i = 0; i < samples.length; i++) samples[i] = Math.min(samples[i]!, limit) - middle;
  } else if (reduction > 0) {
    clampOvershoot(samples, header);
  } else if (!header.signed && header.lossy) {
    for (let i = 0; i < samples.length; i++) if (samples[i]! > limit) samples[i] = limit;
  }
  const rgb = samplesPerPixel === 3 && (header.colorTransform || header.sampling !== '444');
  const values = codestreamValues(samples, header, attributes);
  const size = { rows: reduced(header.rows, reduction), columns: reduced(header.columns, reduction), reduction };
  return { ...size, meaning: rgb ? 'RGB' : meaningOf(attributes), bitsStored, signed, values };
}

/** Brings samples of a lower resolution within their bits: the low-pass filter overshoots at edges. */
function clampOvershoot(samples: Uint8Array | Uint16Array, { precision, signed }: J2kHeader): void {
  const range = 2 ** precision;
  if (samples instanceof Uint8Array) clampBytes(samples, range - 1);
  else if (signed) clampSigned(new Int16Array(samples.buffer, samples.byteOffset, samples.length), range / 2);
  else clampUnsigned(samples, range - 1);
}

function clampBytes(bytes: Uint8Array, highest: number): void {
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! > highest) bytes[i] = highest;
}

function clampUnsigned(words: Uint16Array, highest: number): void {
  for (let i = 0; i < words.length; i++) if (words[i]! > highest) words[i] = highest;
}

function clampSigned(words: Int16Array, limit: number): void {
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word < -limit) words[i] = -limit;
    else if (word >= limit) words[i] = limit - 1;
  }
}

/**
 * Both decoders cut signed samples of up to 8 bits off at 0. Declared unsigned, the same codestream decodes to the same
 * values plus half the range (ISO/IEC 15444-1 Annex G: the DC level shift), which is taken off again.
 */
function unsignedTwin(codestream: Uint8Array, depthOffsets: readonly number[]): Uint8Array {
  const twin = new Uint8Array(codestream);
  for (const at of depthOffsets) twin[at] = twin[at]! & 0x7f;
  return twin;
}
