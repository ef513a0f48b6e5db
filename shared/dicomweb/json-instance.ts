/**
 * An instance that came as metadata, in DICOM JSON or XML, with bulk data, as the bytes of its data set in explicit VR little endian. Pixel Data come
 * uncompressed, or frame by frame as images, which become its fragments (PS3.5 §A.4) as they are; they are not copied.
 */
import { fromDicomJson } from '../dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { nativeFrameBits } from '../dicom/frame-ranges.ts';
import { Tag, tagKey } from '../dicom/tags.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError } from '../errors.ts';
import { readJpegHeader } from '../imaging/jpeg-codestream.ts';

/** One value, or one frame of it. */
export interface BulkPart {
  /** Its media type, without parameters. */
  readonly type: string;
  readonly transferSyntaxUid: string | undefined;
  readonly bytes: Uint8Array;
}

/** The parts of a BulkDataURI in order; none when it did not come. */
export type BulkParts = (uri: string) => readonly BulkPart[];

const PIXEL_DATA = tagKey(Tag.PixelData);
const DATA_SET_TRAILING_PADDING = 'FFFCFFFC';

function firstIn(json: DicomJson, tag: number): unknown {
  const values: unknown = json[tagKey(tag)]?.Value;
  return Array.isArray(values) ? values[0] : undefined;
}

/** The first value of an attribute, where it is some text. */
export function uidIn(json: DicomJson, tag: number): string | undefined {
  const first = firstIn(json, tag);
  return typeof first === 'string' && first !== '' ? first : undefined;
}

/** (0028,0008); 1 where it says nothing. */
function numberOfFrames(json: DicomJson): number {
  const count = Number(firstIn(json, Tag.NumberOfFrames) ?? 1);
  return Number.isInteger(count) && count > 0 ? count : 1;
}

/** Of uncompressed Pixel Data nothing may be missing: what is stored would say that it has frames which it has not. */
function checkNative(json: DicomJson, partBytes: readonly number[]): void {
  const number = (tag: number): number => Number(firstIn(json, tag) ?? 0) || 0;
  const frameBits = nativeFrameBits(number, uidIn(json, Tag.PhotometricInterpretation) ?? '');
  if (partBytes.length > 1 && frameBits % 8 !== 0) {
    throw new ArchiveError('bad-request', 'Frames that do not end with a byte must come as one part of bulk data.');
  }
  const frames = partBytes.length > 1 ? 1 : numberOfFrames(json);
  const neededBytes = Math.ceil((frameBits * frames) / 8);
  // Several are put together: one that is longer would move those behind it.
  const wrong = partBytes.find(
    (bytes) => bytes < neededBytes || (partBytes.length > 1 && frameBits > 0 && bytes > neededBytes),
  );
  if (wrong === undefined) return;
  throw new ArchiveError(
    'bad-request',
    `${frames === 1 ? 'A frame has' : `${frames} frames have`} ${neededBytes} bytes by Rows, Columns and Bits Allocated, and ${wrong} came.`,
    { frames, neededBytes },
  );
}

export interface EncodedInstance {
  readonly transferSyntaxUid: string;
  /** Of the data set, in order. */
  readonly pieces: readonly Uint8Array[];
}

/** Errors: those of fromDicomJson, and `unsupported-transfer-syntax`. */
export function encodeInstance(json: DicomJson, bulkOf: BulkParts): EncodedInstance {
  const declared = uidIn(json, Tag.TransferSyntaxUID);
  const key = Object.keys(json).find((tag) => tag.toUpperCase() === PIXEL_DATA);
  const pixelData = key === undefined ? undefined : json[key];
  const uri: unknown = pixelData?.BulkDataURI;
  const parts = typeof uri === 'string' ? bulkOf(uri) : [];
  const bulk = (wanted: string): Uint8Array | undefined => {
    const found = bulkOf(wanted);
    return found.length === 0 ? undefined : Buffer.concat(found.map(({ bytes }) => bytes));
  };
  const [first] = parts;
  if (key === undefined || pixelData === undefined || first === undefined) {
    if (pixelData !== undefined && declared !== undefined && transferSyntaxOf(declared).encapsulated) {
      throw new ArchiveError('bad-request', 'Compressed Pixel Data must come as bulk data, a part for each frame.');
    }
    if (typeof pixelData?.InlineBinary === 'string') {
      checkNative(json, [Buffer.byteLength(pixelData.InlineBinary, 'base64')]);
    }
    return { transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN, pieces: [fromDicomJson(json, { bulk })] };
  }
  const { [key]: _, [DATA_SET_TRAILING_PADDING]: __, ...others } = json;
  if (Object.keys(others).some((tag) => tag.toUpperCase() > PIXEL_DATA)) {
    throw new ArchiveError('bad-request', 'The metadata have attributes behind Pixel Data (7FE0,0010).');
  }
  const head = fromDicomJson(others, { bulk });
  const transferSyntaxUid = first.transferSyntaxUid ?? declared ?? defaultTransferSyntaxOf(first);
  if (!isUid(transferSyntaxUid)) {
    throw new ArchiveError('unsupported-transfer-syntax', 'The transfer-syntax of a part of bulk data is no UID.');
  }
  const values = parts.map(({ bytes }) => bytes);
  const frames = numberOfFrames(json);
  const isOnePiece =
    parts.length === 1 && (first.type.startsWith('video/') || !transferSyntaxOf(transferSyntaxUid).encapsulated);
  if (!isOnePiece && parts.length !== frames) {
    throw new ArchiveError('bad-request', `Of ${frames} frames ${parts.length} came as bulk data; send all of them.`);
  }
  if (transferSyntaxOf(transferSyntaxUid).encapsulated) {
    return { transferSyntaxUid, pieces: [head, ...encapsulated(values)] };
  }
  checkNative(
    json,
    values.map(({ length }) => length),
  );
  return { transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN, pieces: [head, ...native(values, pixelData)] };
}

/** PS3.18 §8.7.3: what a media type of one frame means without transfer-syntax. For JPEG the frame itself knows better. */
const defaults: ReadonlyMap<string, string> = new Map([
  ['image/jls', '1.2.840.10008.1.2.4.80'],
  ['image/jp2', '1.2.840.10008.1.2.4.90'],
  ['image/jpx', '1.2.840.10008.1.2.4.92'],
  ['image/jphc', '1.2.840.10008.1.2.4.201'],
  ['image/jxl', '1.2.840.10008.1.2.4.110'],
  ['image/dicom-rle', '1.2.840.10008.1.2.5'],
  ['video/mpeg', '1.2.840.10008.1.2.4.100'],
  ['video/mp4', '1.2.840.10008.1.2.4.102'],
]);
const jpegProcesses: ReadonlyMap<number, string> = new Map([
  [0xc0, '1.2.840.10008.1.2.4.50'],
  [0xc1, '1.2.840.10008.1.2.4.51'],
  [0xf7, '1.2.840.10008.1.2.4.80'],
]);
const JPEG_LOSSLESS_FIRST_ORDER = '1.2.840.10008.1.2.4.70';

function defaultTransferSyntaxOf({ type, bytes }: BulkPart): string {
  if (type !== 'image/jpeg') return defaults.get(type) ?? EXPLICIT_VR_LITTLE_ENDIAN;
  try {
    return jpegProcesses.get(readJpegHeader(bytes).process) ?? JPEG_LOSSLESS_FIRST_ORDER;
  } catch {
    return JPEG_LOSSLESS_FIRST_ORDER;
  }
}

function native(values: readonly Uint8Array[], { vr }: JsonElement): Uint8Array[] {
  const lengthBytes = values.reduce((sum, value) => sum + value.length, 0);
  const padding = lengthBytes % 2;
  return [pixelDataHeader(vr === 'OB' ? 'OB' : 'OW', lengthBytes + padding), ...values, new Uint8Array(padding)];
}

/** An empty Basic Offset Table, and each frame a fragment. */
function encapsulated(frames: readonly Uint8Array[]): Uint8Array[] {
  const fragments = frames.flatMap((frame) => {
    const padding = frame.length % 2;
    return [itemHeader(0xe000, frame.length + padding), frame, new Uint8Array(padding)];
  });
  return [pixelDataHeader('OB', 0xffffffff), itemHeader(0xe000, 0), ...fragments, itemHeader(0xe0dd, 0)];
}

function pixelDataHeader(vr: 'OB' | 'OW', lengthBytes: number): Uint8Array {
  const header = Buffer.from([0xe0, 0x7f, 0x10, 0x00, vr.charCodeAt(0), vr.charCodeAt(1), 0, 0, 0, 0, 0, 0]);
  header.writeUInt32LE(lengthBytes, 8);
  return header;
}

/** (FFFE,E000) Item or (FFFE,E0DD) Sequence Delimitation Item. */
function itemHeader(element: number, lengthBytes: number): Uint8Array {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(0xfffe, 0);
  header.writeUInt16LE(element, 2);
  header.writeUInt32LE(lengthBytes, 4);
  return header;
}
