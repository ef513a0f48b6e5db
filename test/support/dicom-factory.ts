/**
 * Valid Part 10 files for tests, written by hand and byte by byte (PS3.5 §7, PS3.10 §7), so that no test of a reader or
 * writer of ours depends on another one of ours. Everything has a default; every value can be set.
 */
import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import type { InstanceRef } from '#shared/archive/records.ts';

/** Text is encoded as UTF-8, numbers as the VR says, an array of element lists is a sequence of items. */
export type MadeValue = string | Uint8Array | readonly number[] | readonly bigint[] | readonly MadeElement[][];

export interface MadeElement {
  readonly tag: number;
  readonly vr: string;
  readonly value: MadeValue;
  /** Sequences: written with undefined lengths (default) or with defined ones. */
  readonly definedLength?: boolean;
}

export interface InstanceOptions {
  readonly studyInstanceUid?: string;
  readonly seriesInstanceUid?: string;
  readonly sopInstanceUid?: string;
  readonly sopClassUid?: string;
  readonly transferSyntaxUid?: string;
  readonly characterSet?: string;
  readonly patientName?: string;
  readonly patientId?: string;
  readonly modality?: string;
  readonly studyDate?: string;
  readonly studyTime?: string;
  readonly accessionNumber?: string;
  readonly studyDescription?: string;
  readonly seriesDescription?: string;
  readonly seriesNumber?: number;
  readonly instanceNumber?: number;
  readonly rows?: number;
  readonly columns?: number;
  readonly frames?: number;
  readonly samplesPerPixel?: number;
  readonly photometricInterpretation?: string;
  readonly bitsAllocated?: number;
  readonly bitsStored?: number;
  readonly pixelRepresentation?: number;
  /** Native pixel data, or the frames of encapsulated pixel data (one fragment each), or 'none'. Default: a ramp. */
  readonly pixels?: Uint8Array | readonly Uint8Array[] | 'none';
  /** Basic Offset Table of encapsulated pixel data: filled (default) or empty. */
  readonly offsetTable?: 'filled' | 'empty';
  /** Elements to add, or to put in place of the default ones of the same tag. */
  readonly extra?: readonly MadeElement[];
  /** Tags to leave out. */
  readonly without?: readonly number[];
  readonly sourceAeTitle?: string;
}

export interface MadeInstance {
  /** The complete Part 10 file. */
  readonly file: Uint8Array;
  /** What follows File Meta: what C-STORE sends. */
  readonly dataSet: Uint8Array;
  readonly dataSetOffsetBytes: number;
  /** SHA-256 of `dataSet`, lower-case hex. */
  readonly digest: string;
  readonly ref: InstanceRef;
  readonly sopClassUid: string;
  readonly transferSyntaxUid: string;
}

export const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';

let counter = 0;

/** A UID that this process has not made before. */
export function freshUid(): string {
  counter += 1;
  return `1.2.826.0.1.3680043.10.1462.${process.pid}.${counter}`;
}

export interface Encoding {
  readonly explicitVr: boolean;
  readonly littleEndian: boolean;
}

const longVrs = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV']);
const numberWidths: Readonly<Record<string, number>> = {
  US: 2,
  SS: 2,
  OW: 2,
  UL: 4,
  SL: 4,
  FL: 4,
  FD: 8,
  UV: 8,
  SV: 8,
  OB: 1,
  OF: 4,
  OD: 8,
  OL: 4,
  OV: 8,
  UN: 1,
  AT: 4,
};

export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function uint(value: number, width: 2 | 4, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(width);
  const view = new DataView(bytes.buffer);
  if (width === 2) view.setUint16(0, value, littleEndian);
  else view.setUint32(0, value, littleEndian);
  return bytes;
}

function tagBytes(tag: number, littleEndian: boolean): Uint8Array {
  return joinBytes([uint(tag >>> 16, 2, littleEndian), uint(tag & 0xffff, 2, littleEndian)]);
}

/** (FFFE,xxxx) with a length. */
export function itemHeader(tag: number, lengthBytes: number, littleEndian = true): Uint8Array {
  return joinBytes([tagBytes(tag, littleEndian), uint(lengthBytes, 4, littleEndian)]);
}

function numbers(vr: string, values: readonly (number | bigint)[], littleEndian: boolean): Uint8Array {
  const width = numberWidths[vr];
  if (width === undefined) throw new Error(`${vr} takes no numbers`);
  const bytes = new Uint8Array(width * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) {
    const at = i * width;
    if (vr === 'AT') bytes.set(tagBytes(Number(value), littleEndian), at);
    else if (vr === 'FL' || vr === 'OF') view.setFloat32(at, Number(value), littleEndian);
    else if (vr === 'FD' || vr === 'OD') view.setFloat64(at, Number(value), littleEndian);
    else if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), littleEndian);
    else if (width === 4) view.setUint32(at, Number(value) >>> 0, littleEndian);
    else if (width === 2) view.setUint16(at, Number(value) & 0xffff, littleEndian);
    else bytes[at] = Number(value);
  }
  return bytes;
}

function isItems(value: MadeValue, vr: string): value is readonly MadeElement[][] {
  return vr === 'SQ' && Array.isArray(value);
}

function encodeValue(element: MadeElement, encoding: Encoding): Uint8Array {
  const { vr, value } = element;
  if (isItems(value, vr)) {
    const items = value.map((elements) => {
      const content = encodeElements(elements, encoding);
      return element.definedLength === true
        ? joinBytes([itemHeader(0xfffee000, content.length, encoding.littleEndian), content])
        : joinBytes([
            itemHeader(0xfffee000, 0xffffffff, encoding.littleEndian),
            content,
            itemHeader(0xfffee00d, 0, encoding.littleEndian),
          ]);
    });
    if (element.definedLength !== true) items.push(itemHeader(0xfffee0dd, 0, encoding.littleEndian));
    return joinBytes(items);
  }
  let bytes: Uint8Array;
  if (typeof value === 'string') bytes = new TextEncoder().encode(value);
  else if (value instanceof Uint8Array) bytes = value;
  else bytes = numbers(vr, value as readonly number[], encoding.littleEndian);
  if (bytes.length % 2 === 0) return bytes;
  const padding = typeof value === 'string' && vr !== 'UI' ? 0x20 : 0;
  return joinBytes([bytes, Uint8Array.of(padding)]);
}

/** One data element, its value padded to an even length. */
export function encodeElement(element: MadeElement, encoding: Encoding): Uint8Array {
  const value = encodeValue(element, encoding);
  const undefinedLength = element.vr === 'SQ' && element.definedLength !== true;
  return joinBytes([
    elementHeader(element.tag, element.vr, undefinedLength ? 0xffffffff : value.length, encoding),
    value,
  ]);
}

/** Tag, VR where explicit, length. */
export function elementHeader(tag: number, vr: string, lengthBytes: number, encoding: Encoding): Uint8Array {
  const { littleEndian } = encoding;
  const start = tagBytes(tag, littleEndian);
  if (!encoding.explicitVr) return joinBytes([start, uint(lengthBytes, 4, littleEndian)]);
  const letters = new TextEncoder().encode(vr);
  if (longVrs.has(vr)) return joinBytes([start, letters, new Uint8Array(2), uint(lengthBytes, 4, littleEndian)]);
  return joinBytes([start, letters, uint(lengthBytes, 2, littleEndian)]);
}

export function encodeElements(elements: readonly MadeElement[], encoding: Encoding): Uint8Array {
  return joinBytes(elements.map((element) => encodeElement(element, encoding)));
}

const native = new Set(['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99', '1.2.840.10008.1.2.2']);

export function encodingOf(transferSyntaxUid: string): Encoding {
  return {
    explicitVr: transferSyntaxUid !== '1.2.840.10008.1.2',
    littleEndian: transferSyntaxUid !== '1.2.840.10008.1.2.2',
  };
}

/** Encapsulated Pixel Data (PS3.5 §A.4), from its element's tag to its delimiter; each frame one fragment. */
export function encodeFragments(frames: readonly Uint8Array[], offsetTable: 'filled' | 'empty' = 'filled'): Uint8Array {
  const fragments = frames.map((frame) =>
    joinBytes([itemHeader(0xfffee000, frame.length + (frame.length % 2)), frame, new Uint8Array(frame.length % 2)]),
  );
  let offset = 0;
  const offsets = fragments.map((fragment) => {
    const at = offset;
    offset += fragment.length;
    return at;
  });
  const table = offsetTable === 'filled' ? numbers('UL', offsets, true) : new Uint8Array(0);
  return joinBytes([
    elementHeader(0x7fe00010, 'OB', 0xffffffff, { explicitVr: true, littleEndian: true }),
    itemHeader(0xfffee000, table.length),
    table,
    ...fragments,
    itemHeader(0xfffee0dd, 0),
  ]);
}

function ramp(options: InstanceOptions): Uint8Array {
  const bits = options.bitsAllocated ?? 16;
  const samples = (options.rows ?? 4) * (options.columns ?? 4) * (options.frames ?? 1) * (options.samplesPerPixel ?? 1);
  const bytes = new Uint8Array(Math.ceil((samples * bits) / 8));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7) & 0xff;
  return bytes;
}

/** The elements of the data set without Pixel Data, in ascending order. */
export function defaultElements(ref: InstanceRef, options: InstanceOptions): MadeElement[] {
  const bits = options.bitsAllocated ?? 16;
  const elements: MadeElement[] = [
    { tag: 0x00080008, vr: 'CS', value: 'ORIGINAL\\PRIMARY\\AXIAL' },
    { tag: 0x00080016, vr: 'UI', value: options.sopClassUid ?? CT_IMAGE_STORAGE },
    { tag: 0x00080018, vr: 'UI', value: ref.sopInstanceUid },
    { tag: 0x00080020, vr: 'DA', value: options.studyDate ?? '20240131' },
    { tag: 0x00080030, vr: 'TM', value: options.studyTime ?? '101500' },
    { tag: 0x00080050, vr: 'SH', value: options.accessionNumber ?? 'A1' },
    { tag: 0x00080060, vr: 'CS', value: options.modality ?? 'CT' },
    { tag: 0x00080070, vr: 'LO', value: 'Test' },
    { tag: 0x00080090, vr: 'PN', value: '' },
    { tag: 0x00081030, vr: 'LO', value: options.studyDescription ?? 'Study' },
    { tag: 0x0008103e, vr: 'LO', value: options.seriesDescription ?? 'Series' },
    { tag: 0x00100010, vr: 'PN', value: options.patientName ?? 'Test^Patient' },
    { tag: 0x00100020, vr: 'LO', value: options.patientId ?? 'P1' },
    { tag: 0x00100030, vr: 'DA', value: '19700101' },
    { tag: 0x00100040, vr: 'CS', value: 'O' },
    { tag: 0x0020000d, vr: 'UI', value: ref.studyInstanceUid },
    { tag: 0x0020000e, vr: 'UI', value: ref.seriesInstanceUid },
    { tag: 0x00200010, vr: 'SH', value: '1' },
    { tag: 0x00200011, vr: 'IS', value: String(options.seriesNumber ?? 1) },
    { tag: 0x00200013, vr: 'IS', value: String(options.instanceNumber ?? 1) },
  ];
  if (options.characterSet !== undefined) {
    elements.push({ tag: 0x00080005, vr: 'CS', value: options.characterSet });
  }
  if (options.pixels !== 'none') {
    const samples = options.samplesPerPixel ?? 1;
    elements.push(
      { tag: 0x00280002, vr: 'US', value: [samples] },
      {
        tag: 0x00280004,
        vr: 'CS',
        value: options.photometricInterpretation ?? (samples === 3 ? 'RGB' : 'MONOCHROME2'),
      },
      { tag: 0x00280010, vr: 'US', value: [options.rows ?? 4] },
      { tag: 0x00280011, vr: 'US', value: [options.columns ?? 4] },
      { tag: 0x00280100, vr: 'US', value: [bits] },
      { tag: 0x00280101, vr: 'US', value: [options.bitsStored ?? bits] },
      { tag: 0x00280102, vr: 'US', value: [(options.bitsStored ?? bits) - 1] },
      { tag: 0x00280103, vr: 'US', value: [options.pixelRepresentation ?? 0] },
    );
    if (samples > 1) elements.push({ tag: 0x00280006, vr: 'US', value: [0] });
    if (options.frames !== undefined) elements.push({ tag: 0x00280008, vr: 'IS', value: String(options.frames) });
  }
  const replaced = new Set([...(options.extra ?? []).map(({ tag }) => tag), ...(options.without ?? [])]);
  return [...elements.filter(({ tag }) => !replaced.has(tag)), ...(options.extra ?? [])].sort((a, b) => a.tag - b.tag);
}

/** Preamble, prefix and File Meta Information (PS3.10 §7.1). */
export function encodeFileMetaByHand(elements: readonly MadeElement[]): Uint8Array {
  const encoding = { explicitVr: true, littleEndian: true };
  const content = encodeElements(elements, encoding);
  return joinBytes([
    new Uint8Array(128),
    new TextEncoder().encode('DICM'),
    encodeElement({ tag: 0x00020000, vr: 'UL', value: [content.length] }, encoding),
    content,
  ]);
}

/** PS3.5 §A.5: padded to even length by one NUL where need be. */
function deflated(dataSet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(deflateRawSync(dataSet));
  return bytes.length % 2 === 0 ? bytes : joinBytes([bytes, Uint8Array.of(0)]);
}

/** One instance; without options a 4x4 CT slice of 16 bits in explicit VR little endian, with UIDs of its own. */
export function makeInstance(options: InstanceOptions = {}): MadeInstance {
  const ref: InstanceRef = {
    studyInstanceUid: options.studyInstanceUid ?? freshUid(),
    seriesInstanceUid: options.seriesInstanceUid ?? freshUid(),
    sopInstanceUid: options.sopInstanceUid ?? freshUid(),
  };
  const sopClassUid = options.sopClassUid ?? CT_IMAGE_STORAGE;
  const pixels = options.pixels ?? ramp(options);
  const isNative = pixels instanceof Uint8Array;
  const transferSyntaxUid =
    options.transferSyntaxUid ?? (isNative || pixels === 'none' ? '1.2.840.10008.1.2.1' : '1.2.840.10008.1.2.5');
  const encoding = encodingOf(transferSyntaxUid);
  const elements = defaultElements(ref, options);
  const before = elements.filter(({ tag }) => tag < 0x7fe00010);
  const parts = [encodeElements(before, encoding)];
  if (pixels === 'none' || options.without?.includes(0x7fe00010)) {
    // Nothing to append: an object without pixels.
  } else if (isNative && native.has(transferSyntaxUid)) {
    const vr = (options.bitsAllocated ?? 16) > 8 || !encoding.explicitVr ? 'OW' : 'OB';
    parts.push(encodeElement({ tag: 0x7fe00010, vr, value: pixels }, encoding));
  } else {
    parts.push(encodeFragments(isNative ? [pixels] : pixels, options.offsetTable));
  }
  const after = elements.filter(({ tag }) => tag >= 0x7fe00010);
  const plain = joinBytes([...parts, encodeElements(after, encoding)]);
  const dataSet = transferSyntaxUid === '1.2.840.10008.1.2.1.99' ? deflated(plain) : plain;
  const meta: MadeElement[] = [
    { tag: 0x00020001, vr: 'OB', value: Uint8Array.of(0, 1) },
    { tag: 0x00020002, vr: 'UI', value: sopClassUid },
    { tag: 0x00020003, vr: 'UI', value: ref.sopInstanceUid },
    { tag: 0x00020010, vr: 'UI', value: transferSyntaxUid },
    { tag: 0x00020012, vr: 'UI', value: '1.2.826.0.1.3680043.10.1462' },
  ];
  if (options.sourceAeTitle !== undefined) meta.push({ tag: 0x00020016, vr: 'AE', value: options.sourceAeTitle });
  const start = encodeFileMetaByHand(meta);
  return {
    file: joinBytes([start, dataSet]),
    dataSet,
    dataSetOffsetBytes: start.length,
    digest: createHash('sha256').update(dataSet).digest('hex'),
    ref,
    sopClassUid,
    transferSyntaxUid,
  };
}
