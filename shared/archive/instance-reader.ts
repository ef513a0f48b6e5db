/**
 * Finds out which SOP Instance some bytes are, while they arrive, and keeps what the index wants of them. Lenient: where
 * the data set cannot be read to its end, what stands before that place counts (unless it is deflated), so that a sloppy
 * object is stored; one that cannot be identified is refused. The same for the gateway, its recovery and the cloud.
 */
import { createHash } from 'node:crypto';
import type { DataSet } from '../dicom/data-set.ts';
import { toDicomJson } from '../dicom/dicom-json.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { type Header, type HeaderOptions, HeaderReader } from '../dicom/part10.ts';
import { Tag } from '../dicom/tags.ts';
import { newUid } from '../dicom/uid.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { type InstanceRef, indexedAttributes } from './records.ts';

export interface Identity extends InstanceRef {
  /** Of the data set; undefined when it does not say. */
  readonly sopClassUid: string | undefined;
}

/** What somebody said beforehand that the bytes are. */
export interface Announced {
  readonly sopClassUid: string | undefined;
  readonly sopInstanceUid: string | undefined;
  readonly studyInstanceUid?: string;
}

/**
 * Of one indexed attribute and of all of them together, as encoded. A name in a sequence is a hundred times its bytes as an
 * object, and an index must never be handed a record that it cannot take: what is longer is archived, and not searched for.
 */
const MAX_INDEXED_BYTES = 16 * 1024;
const MAX_INDEXED_TOTAL_BYTES = 32 * 1024;
/** Values of VR PN in a data set: as JSON each is an object, so that a header of the longest kind would fill the memory. */
const MAX_PERSON_NAMES = 100_000;

/**
 * Bytes of the data set that get a second look when it cannot be read to its end: attributes that identify come early. Exactly
 * so many, however they came: what the gateway takes by them, recovery and the cloud must find in them again.
 */
const SECOND_LOOK_BYTES = 1024 * 1024;
/** Up to the value of the File Meta Information Group Length (PS3.10 §7.1), and what that may be. */
const GROUP_LENGTH_END_BYTES = 144;
const MAX_FILE_META_BYTES = 64 * 1024;
const MAX_SEEN_BYTES = SECOND_LOOK_BYTES + GROUP_LENGTH_END_BYTES + MAX_FILE_META_BYTES;

export class InstanceReader {
  readonly #options: HeaderOptions;
  readonly #reader: HeaderReader;
  #seen: Uint8Array[] = [];
  #seenBytes = 0;
  #header: Header | undefined;
  #failure: ArchiveError | undefined;
  #done = false;

  constructor(options: HeaderOptions = {}) {
    this.#options = options;
    this.#reader = new HeaderReader(options);
  }

  /** Takes the next bytes and keeps views on them. True: further bytes are not needed. Throws nothing but bugs. */
  push(bytes: Uint8Array): boolean {
    if (this.#done) return true;
    if (this.#seenBytes < MAX_SEEN_BYTES) {
      this.#seen.push(bytes);
      this.#seenBytes += bytes.length;
    }
    this.#try(() => this.#reader.push(bytes));
    return this.#done;
  }

  /** No more bytes will come. */
  end(): void {
    if (this.#done) return;
    this.#try(() => {
      this.#reader.end();
      return true;
    });
  }

  /** As far as it could be read; undefined before `push` answered true or `end` was called, and when `failure` says why. */
  get header(): Header | undefined {
    return this.#header;
  }

  /** What it keeps in memory of the bytes that came, roughly. */
  get heldBytes(): number {
    return this.#reader.heldBytes;
  }

  /** `bad-dicom` or `limit-exceeded`: nothing can be said about these bytes. */
  get failure(): ArchiveError | undefined {
    return this.#failure;
  }

  #try(step: () => boolean): void {
    try {
      if (!step()) return;
      const { header } = this.#reader;
      checkPersonNames(header.dataSet);
      this.#header = header;
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      this.#header = isArchiveError(error, 'bad-dicom') ? this.#secondLook(error) : undefined;
      if (this.#header === undefined) this.#failure = error;
    }
    this.#done = true;
    this.#seen = [];
  }

  /** Reads what stands before the place where the reader failed, as if the data set ended there. */
  #secondLook(error: ArchiveError): Header | undefined {
    const { offsetBytes } = error.details;
    if (typeof offsetBytes !== 'number') return undefined;
    try {
      const { transferSyntaxUid } = this.#options;
      const reader = new HeaderReader(transferSyntaxUid === undefined ? {} : { transferSyntaxUid });
      const seen = Buffer.concat(this.#seen);
      const startBytes = transferSyntaxUid === undefined ? fileMetaEndOf(seen) : 0;
      if (!reader.push(seen.subarray(0, Math.min(offsetBytes, startBytes + SECOND_LOOK_BYTES)))) reader.end();
      const { header } = reader;
      const tolerated = [...header.tolerated, `The data set cannot be read beyond byte ${offsetBytes}`];
      return { ...header, tolerated, isCut: true };
    } catch (second) {
      if (isArchiveError(second)) return undefined;
      throw second;
    }
  }
}

/** Where the data set of a Part 10 file begins, by its group length; 0 where it has none. */
function fileMetaEndOf(file: Buffer): number {
  if (file.length < GROUP_LENGTH_END_BYTES || file.toString('latin1', 128, 132) !== 'DICM') return 0;
  const groupBytes = file.readUInt32LE(GROUP_LENGTH_END_BYTES - 4);
  return groupBytes > MAX_FILE_META_BYTES ? 0 : GROUP_LENGTH_END_BYTES + groupBytes;
}

/**
 * Who the instance is, by its data set. Where it has no Study or Series Instance UID (palettes and other non-patient objects
 * have none, and careless senders forget them), a UID stands for it that is made of what it has. Errors: `bad-dicom` without
 * a SOP Instance UID, or when the data break off before the place of a missing UID; `identity-mismatch` when it is another than
 * announced (padding apart); `details.offendingElements` are the tags concerned.
 */
export function identityOf(header: Header, announced?: Announced): Identity {
  const { dataSet } = header;
  const missing = (tag: number, name: string): ArchiveError =>
    new ArchiveError('bad-dicom', `The data set has no ${name}; an instance without it cannot be stored.`, {
      offendingElements: [tag],
    });
  const optional = (tag: number, name: string): string | undefined => {
    const uid = dataSet.ascii(tag);
    // It may be what was cut off: that is a damaged object, not one without a study.
    const isBehind = dataSet.highestTag > tag || header.pixelData !== undefined;
    if (uid === undefined && header.isCut && !isBehind) throw missing(tag, name);
    return uid;
  };
  const sopInstanceUid = dataSet.ascii(Tag.SOPInstanceUID);
  if (sopInstanceUid === undefined) throw missing(Tag.SOPInstanceUID, 'SOP Instance UID');
  const study = optional(Tag.StudyInstanceUID, 'Study Instance UID');
  const series = optional(Tag.SeriesInstanceUID, 'Series Instance UID');
  const identity = {
    // Never one study for all that have none: they may be of different patients.
    studyInstanceUid: study ?? standInUid('study', series ?? sopInstanceUid),
    seriesInstanceUid: series ?? standInUid('series', study ?? sopInstanceUid),
    sopInstanceUid,
    sopClassUid: dataSet.ascii(Tag.SOPClassUID),
  };
  const same = (said: string | undefined, found: string | undefined, tag: number, name: string): void => {
    if (said !== undefined && found !== undefined && trimUid(said) !== '' && trimUid(said) !== found)
      throw new ArchiveError('identity-mismatch', `The data set's ${name} is not the one that was announced for it.`, {
        offendingElements: [tag],
      });
  };
  same(announced?.sopInstanceUid, identity.sopInstanceUid, Tag.SOPInstanceUID, 'SOP Instance UID');
  same(announced?.sopClassUid, identity.sopClassUid, Tag.SOPClassUID, 'SOP Class UID');
  same(announced?.studyInstanceUid, identity.studyInstanceUid, Tag.StudyInstanceUID, 'Study Instance UID');
  return identity;
}

/** What is wrong with an instance that identityOf could identify all the same: sentences for its sender, without attribute values. */
export function toleratedOf({ dataSet, tolerated }: Header): readonly string[] {
  const missing = (tag: number, name: string): string[] =>
    dataSet.ascii(tag) === undefined ? [`The data set has no ${name}; one was made that stands for it`] : [];
  return [
    ...missing(Tag.StudyInstanceUID, 'Study Instance UID'),
    ...missing(Tag.SeriesInstanceUID, 'Series Instance UID'),
    ...tolerated,
  ];
}

/** Of a missing one, by what is known below or above it: the same for everybody who reads the same bytes. */
function standInUid(missing: 'study' | 'series', of: string): string {
  const uuid = createHash('sha256').update(`${missing} of ${of}`).digest().subarray(0, 16);
  // RFC 9562 §5.8: version 8, made of what its maker chose.
  uuid[6] = 0x80 | (uuid[6]! & 0x0f);
  uuid[8] = 0x80 | (uuid[8]! & 0x3f);
  return newUid(uuid.toString('hex'));
}

/** Without the padding that the standard (PS3.5 §9.1: one NUL) or the field (spaces) puts behind a UID. */
export function trimUid(uid: string): string {
  let end = uid.length;
  while (end > 0 && (uid[end - 1] === '\0' || uid[end - 1] === ' ')) end--;
  return uid.slice(0, end).trimStart();
}

const indexedTags: ReadonlySet<number> = new Set(indexedAttributes.map(({ tag }) => tag));

/** The indexed attributes of all levels, as far as the data set has them and they are not overlong: `attributes` of an InstanceRecord. */
export function indexedAttributesOf({ dataSet }: Header): DicomJson {
  const only = new Set<number>();
  let totalBytes = 0;
  for (const { tag, lengthBytes } of dataSet.ascending()) {
    if (!indexedTags.has(tag) || lengthBytes > MAX_INDEXED_BYTES) continue;
    if (totalBytes + lengthBytes > MAX_INDEXED_TOTAL_BYTES) continue;
    totalBytes += lengthBytes;
    only.add(tag);
  }
  return toDicomJson(dataSet, { only });
}

const BACKSLASH = 0x5c;

/** Error `limit-exceeded`. */
function checkPersonNames(dataSet: DataSet): void {
  let left = MAX_PERSON_NAMES;
  const count = (inner: DataSet): void => {
    for (const { vr, value, items } of inner.ascending()) {
      if (items !== undefined) for (const item of items) count(item);
      if (vr !== 'PN' || value === undefined) continue;
      for (let at = 0; at >= 0; at = value.indexOf(BACKSLASH, at) + 1 || -1) left--;
      if (left < 0)
        throw new ArchiveError('limit-exceeded', `The data set has more than ${MAX_PERSON_NAMES} names of persons`, {
          limit: MAX_PERSON_NAMES,
        });
    }
  };
  count(dataSet);
}
