/**
 * Reads one entry of a pack, a Part 10 file as Archipel writes it (PS3.10 §7.1), as a stream: who it is, the SHA-256 of its
 * data set, its header. Used wherever packs are read back: by recovery at the gateway, by ingest in the cloud.
 */
import { createHash } from 'node:crypto';
import type { Header } from '../dicom/part10.ts';
import { ArchiveError } from '../errors.ts';
import { InstanceReader, identityOf, indexedAttributesOf } from './instance-reader.ts';
import { keyPartOf } from './keys.ts';
import type { PackEntry } from './pack.ts';
import type { InstanceRecord } from './records.ts';

export interface InspectedEntry {
  readonly record: InstanceRecord;
  readonly header: Header;
}

/** Preamble, prefix and (0002,0000), which says how long the rest of File Meta is. */
const GROUP_LENGTH_END_BYTES = 144;
const PREFIX_AND_GROUP_LENGTH = Buffer.from('4449434d02000000554c0400', 'hex');
const MAX_FILE_META_BYTES = 64 * 1024;

export class EntryInspector {
  /** Not told where the entry ends, as the gateway's was not: of lengths that lie, both must think the same. */
  readonly #reader = new InstanceReader();
  readonly #hash = createHash('sha256');
  #start: Uint8Array = Buffer.alloc(0);
  #offsetBytes = 0;
  #dataSetOffsetBytes: number | undefined;

  /** Takes the next bytes of the entry and keeps views on them while it reads the header. Error: `bad-dicom`. */
  push(bytes: Uint8Array): void {
    this.#reader.push(bytes);
    if (this.#dataSetOffsetBytes === undefined) this.#findDataSet(bytes);
    const from = Math.max(0, (this.#dataSetOffsetBytes ?? Number.POSITIVE_INFINITY) - this.#offsetBytes);
    if (from < bytes.length) this.#hash.update(bytes.subarray(from));
    this.#offsetBytes += bytes.length;
  }

  /**
   * The entry is complete. Errors: `bad-dicom`, `limit-exceeded`, `identity-mismatch` when its name or File Meta speak of another instance.
   */
  end(tenant: string, packId: string, entry: PackEntry): InspectedEntry {
    this.#reader.end();
    const { header, failure } = this.#reader;
    if (header === undefined) throw failure ?? notOurs();
    if (this.#dataSetOffsetBytes === undefined || header.dataSetOffsetBytes !== this.#dataSetOffsetBytes)
      throw notOurs();
    const identity = identityOf(header);
    if (entry.name !== entryNameOf(identity.sopInstanceUid))
      throw new ArchiveError('identity-mismatch', 'An entry of the pack holds another instance than its name says.', {
        sopInstanceUid: identity.sopInstanceUid,
      });
    return {
      header,
      record: {
        tenant,
        studyInstanceUid: identity.studyInstanceUid,
        seriesInstanceUid: identity.seriesInstanceUid,
        sopInstanceUid: identity.sopInstanceUid,
        sopClassUid: identity.sopClassUid ?? header.fileMeta?.ascii(0x00020002) ?? '',
        transferSyntaxUid: header.fileMeta?.ascii(0x00020010) ?? header.transferSyntax.uid,
        digest: this.#hash.digest('hex'),
        packId,
        offsetBytes: entry.offsetBytes,
        lengthBytes: entry.lengthBytes,
        dataSetOffsetBytes: this.#dataSetOffsetBytes,
        state: 'current',
        attributes: indexedAttributesOf(header),
      },
    };
  }

  #findDataSet(bytes: Uint8Array): void {
    const missing = GROUP_LENGTH_END_BYTES - this.#start.length;
    this.#start = Buffer.concat([this.#start, bytes.subarray(0, missing)]);
    if (this.#start.length < GROUP_LENGTH_END_BYTES) return;
    const start = Buffer.from(this.#start.buffer, this.#start.byteOffset, GROUP_LENGTH_END_BYTES);
    const groupBytes = start.readUInt32LE(GROUP_LENGTH_END_BYTES - 4);
    if (!start.subarray(128, 140).equals(PREFIX_AND_GROUP_LENGTH) || groupBytes > MAX_FILE_META_BYTES) throw notOurs();
    this.#dataSetOffsetBytes = GROUP_LENGTH_END_BYTES + groupBytes;
  }
}

/** The name of an instance's entry in its pack. */
export function entryNameOf(sopInstanceUid: string): string {
  return `${keyPartOf(sopInstanceUid)}.dcm`;
}

function notOurs(): ArchiveError {
  return new ArchiveError('bad-dicom', 'An entry of the pack is not a DICOM file as Archipel writes it.');
}
