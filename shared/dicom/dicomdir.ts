/**
 * Writing a DICOMDIR (PS3.10 §8.6, PS3.3 Annex F): directory records with the byte offsets that link them. Which records there are and
 * what files they name is decided by who asks; reading one is nobody's business here.
 */
import { encodeDataSet } from './data-set-writer.ts';
import type { DicomJson } from './dicom-json-model.ts';
import { encodeFileMeta } from './part10.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from './transfer-syntax.ts';

const MEDIA_STORAGE_DIRECTORY_STORAGE = '1.2.840.10008.1.3.10';
/** The only one that a DICOMDIR may have (PS3.10 §8.6). */
const encoding = { explicitVr: true, littleEndian: true };

export interface DirectoryRecord {
  /** (0004,1430), such as PATIENT. */
  readonly type: string;
  /** Its keys, and its reference to a file where it has one (0004,15xx). Text that is not ASCII becomes UTF-8, record by record. */
  readonly attributes: DicomJson;
  readonly lower: readonly DirectoryRecord[];
}

interface Placed {
  readonly bytes: Uint8Array;
  /** Of its item tag, from the first byte of the file. */
  offsetBytes: number;
  readonly next: Placed | undefined;
  readonly lower: Placed | undefined;
}

/** Where the value of (0004,1400) stands in a record's data set, and that of (0004,1420): they are its first and third element. */
const nextOffsetAt = 8;
const lowerOffsetAt = 30;
const itemHeaderBytes = 8;

/** The complete file. Errors: those of encodeDataSet. */
export function encodeDicomdir(
  records: readonly DirectoryRecord[],
  fileSet: { readonly sopInstanceUid: string; readonly fileSetId: string },
): Uint8Array {
  const placed: Placed[] = [];
  const first = place(records, placed);
  const start = Buffer.concat([
    encodeFileMeta({
      sopClassUid: MEDIA_STORAGE_DIRECTORY_STORAGE,
      sopInstanceUid: fileSet.sopInstanceUid,
      transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
    }),
    encodeDataSet(
      {
        '00041130': { vr: 'CS', ...(fileSet.fileSetId === '' ? {} : { Value: [fileSet.fileSetId] }) },
        '00041200': { vr: 'UL', Value: [0] },
        '00041202': { vr: 'UL', Value: [0] },
        '00041212': { vr: 'US', Value: [0] },
      },
      encoding,
    ),
  ]);
  const itemsBytes = placed.reduce((sum, { bytes }) => sum + itemHeaderBytes + bytes.length, 0);
  const sequence = Buffer.alloc(12);
  sequence.writeUInt16LE(0x0004, 0);
  sequence.writeUInt16LE(0x1220, 2);
  sequence.write('SQ', 4, 'latin1');
  sequence.writeUInt32LE(itemsBytes, 8);

  let at = start.length + sequence.length;
  for (const record of placed) {
    record.offsetBytes = at;
    at += itemHeaderBytes + record.bytes.length;
  }
  // The root's offsets are the values before (0004,1212), which is the last element of ten bytes.
  const last = lastOf(first);
  start.writeUInt32LE(first?.offsetBytes ?? 0, start.length - 10 - 12 - 4);
  start.writeUInt32LE(last?.offsetBytes ?? 0, start.length - 10 - 4);
  const items = placed.flatMap(({ bytes, next, lower }) => {
    const linked = Buffer.from(bytes);
    linked.writeUInt32LE(next?.offsetBytes ?? 0, nextOffsetAt);
    linked.writeUInt32LE(lower?.offsetBytes ?? 0, lowerOffsetAt);
    const header = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
    header.writeUInt32LE(bytes.length, 4);
    return [header, linked];
  });
  return Buffer.concat([start, sequence, ...items]);
}

/** Encodes records of one level, each before what is below it, in the order in which people read them. Answers the first. */
function place(records: readonly DirectoryRecord[], placed: Placed[]): Placed | undefined {
  // A record knows the one behind it, so that the last is made first; `placed` is in order all the same.
  const groups: Placed[][] = [];
  let next: Placed | undefined;
  for (const { type, attributes, lower: below } of records.toReversed()) {
    const own: Placed[] = [];
    const lower = place(below, own);
    const bytes = encodeDataSet(
      {
        '00041400': { vr: 'UL', Value: [0] },
        '00041410': { vr: 'US', Value: [0xffff] },
        '00041420': { vr: 'UL', Value: [0] },
        '00041430': { vr: 'CS', Value: [type] },
        ...attributes,
      },
      encoding,
    );
    next = { bytes, offsetBytes: 0, next, lower };
    groups.push([next, ...own]);
  }
  for (const group of groups.toReversed()) for (const record of group) placed.push(record);
  return next;
}

function lastOf(first: Placed | undefined): Placed | undefined {
  let last = first;
  while (last?.next !== undefined) last = last.next;
  return last;
}
