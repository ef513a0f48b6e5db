/**
 * Preamble, prefix and File Meta Information (PS3.10 §7.1): where they are, what they say, and writing them. Files come
 * without any one of the three; what is there is used.
 */
import { ArchiveError } from '../errors.ts';
import { tagAt } from './byte-window.ts';
import type { DataSet } from './data-set.ts';
import type { ElementReader } from './element-reader.ts';
import { Tag } from './tags.ts';
import type { Tolerance } from './tolerance.ts';
import { transferSyntaxOf } from './transfer-syntax.ts';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from './uid.ts';
import { NO_VR, vrNumber } from './vr.ts';

const PREAMBLE_BYTES = 128;
/** Bytes that `findFileMeta` wants to see; fewer only when the data end. */
export const BYTES_TO_FIND_FILE_META = PREAMBLE_BYTES + 12;

function isPrefix(bytes: Uint8Array, at: number, filled: number): boolean {
  return (
    at + 4 <= filled && bytes[at] === 0x44 && bytes[at + 1] === 0x49 && bytes[at + 2] === 0x43 && bytes[at + 3] === 0x4d
  );
}

function isGroup2(bytes: Uint8Array, at: number, filled: number): boolean {
  return at + 8 <= filled && tagAt(bytes, at, true) >>> 16 === 2 && bytes[at + 3] === 0 && bytes[at + 2]! <= 0x18;
}

/**
 * Where the first element after preamble and prefix is, and whether it is one of File Meta. `bytes` begin with the file.
 */
export function findFileMeta(
  bytes: Uint8Array,
  filled: number,
  tolerance: Tolerance,
): { offsetBytes: number; hasFileMeta: boolean; hasPrefix: boolean } {
  const found = (offsetBytes: number, hasPrefix: boolean) => ({
    offsetBytes,
    hasFileMeta: isGroup2(bytes, offsetBytes, filled),
    hasPrefix,
  });
  if (isPrefix(bytes, PREAMBLE_BYTES, filled)) return found(PREAMBLE_BYTES + 4, true);
  if (isPrefix(bytes, 0, filled)) {
    tolerance.note('no-preamble');
    return found(4, true);
  }
  if (isGroup2(bytes, 0, filled)) {
    tolerance.note('no-preamble');
    tolerance.note('no-prefix');
    return found(0, false);
  }
  if (
    isGroup2(bytes, PREAMBLE_BYTES, filled) &&
    vrNumber(bytes[PREAMBLE_BYTES + 4]!, bytes[PREAMBLE_BYTES + 5]!) !== NO_VR
  ) {
    tolerance.note('no-prefix');
    return found(PREAMBLE_BYTES, false);
  }
  return found(0, false);
}

/** Reads group 0002, always little endian. Undefined: more bytes are needed first. Call it again with the same `fileMeta` then. */
export function readFileMeta(reader: ElementReader, fileMeta: DataSet, tolerance: Tolerance): boolean {
  const { window } = reader;
  const start = window.position;
  const at = start - window.base;
  let explicitVr = true;
  if (
    fileMeta.highestTag < 0 &&
    at + 8 <= window.filled &&
    vrNumber(window.bytes[at + 4]!, window.bytes[at + 5]!) === NO_VR
  ) {
    tolerance.note('implicit-file-meta');
    explicitVr = false;
  }
  let declared: number | undefined;
  return reader.read(fileMeta, explicitVr, (tag, offsetBytes) => {
    if (tag >>> 16 !== 2) return true;
    // Deflated bytes may look like anything, group 0002 too: there the group length must be believed.
    if (fileMeta.highestTag < Tag.TransferSyntaxUID) return false;
    declared ??= declaredEnd(fileMeta) ?? -1;
    if (declared !== offsetBytes) return false;
    return transferSyntaxOf(fileMeta.ascii(Tag.TransferSyntaxUID) ?? '').deflated;
  });
}

function declaredEnd(fileMeta: DataSet): number | undefined {
  const element = fileMeta.get(Tag.FileMetaInformationGroupLength);
  const lengthBytes = fileMeta.number(Tag.FileMetaInformationGroupLength);
  return element === undefined || lengthBytes === undefined
    ? undefined
    : element.offsetBytes + element.lengthBytes + lengthBytes;
}

/** Notes what is wrong with the group length, `endBytes` being where File Meta really ends. */
export function checkGroupLength(fileMeta: DataSet, endBytes: number, tolerance: Tolerance): void {
  const declared = declaredEnd(fileMeta);
  if (declared === undefined) tolerance.note('no-group-length');
  else if (declared !== endBytes) tolerance.note('wrong-group-length');
}

export interface FileMeta {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  /** (0002,0016); at most 16 characters of it are written. */
  readonly sourceAeTitle?: string | undefined;
}

/**
 * 128 zeros, DICM and File Meta Information, to be followed by the bytes of the data set (PS3.10 §7.1). Errors:
 * `bad-request` for a value longer than 1024 characters.
 */
export function encodeFileMeta(meta: FileMeta): Uint8Array {
  const elements: [tag: number, vr: string, value: string][] = [
    [Tag.MediaStorageSOPClassUID, 'UI', meta.sopClassUid],
    [Tag.MediaStorageSOPInstanceUID, 'UI', meta.sopInstanceUid],
    [Tag.TransferSyntaxUID, 'UI', meta.transferSyntaxUid],
    [Tag.ImplementationClassUID, 'UI', IMPLEMENTATION_CLASS_UID],
    [Tag.ImplementationVersionName, 'SH', IMPLEMENTATION_VERSION_NAME],
  ];
  const sourceAeTitle = meta.sourceAeTitle?.trim().slice(0, 16);
  if (sourceAeTitle) elements.push([Tag.SourceApplicationEntityTitle, 'AE', sourceAeTitle]);
  const version = [2, 0, 1, 0, 0x4f, 0x42, 0, 0, 2, 0, 0, 0, 0, 1];
  let groupBytes = version.length;
  for (const [tag, , value] of elements) {
    if (value.length > 1024) {
      throw new ArchiveError('bad-request', 'A value for the File Meta Information is too long', {
        tag,
        length: value.length,
      });
    }
    groupBytes += 8 + value.length + (value.length & 1);
  }
  const bytes = new Uint8Array(PREAMBLE_BYTES + 4 + 12 + groupBytes);
  bytes.set([0x44, 0x49, 0x43, 0x4d, 2, 0, 0, 0, 0x55, 0x4c, 4, 0], PREAMBLE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(PREAMBLE_BYTES + 12, groupBytes, true);
  bytes.set(version, PREAMBLE_BYTES + 16);
  let at = PREAMBLE_BYTES + 16 + version.length;
  for (const [tag, vr, value] of elements) {
    const lengthBytes = value.length + (value.length & 1);
    view.setUint16(at, tag >>> 16, true);
    view.setUint16(at + 2, tag & 0xffff, true);
    view.setUint8(at + 4, vr.charCodeAt(0));
    view.setUint8(at + 5, vr.charCodeAt(1));
    view.setUint16(at + 6, lengthBytes, true);
    if (vr !== 'UI' && lengthBytes > value.length) bytes[at + 8 + value.length] = 0x20;
    for (let i = 0; i < value.length; i++) bytes[at + 8 + i] = value.charCodeAt(i);
    at += 8 + lengthBytes;
  }
  return bytes;
}
