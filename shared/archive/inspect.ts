/**
 * Reads a whole sealed pack back, once and in flat memory, believing nothing: ZIP structure, CRC-32, SHA-256, and that each
 * entry is the DICOM instance that its name and its key say. What comes out is all that an archive needs to serve it: the
 * manifest and the records for the index. Writing them is the pipeline's step, not this file's.
 */
import { createHash } from 'node:crypto';
import type { ByteRangeLike } from '../dicom/part10.ts';
import { ArchiveError, type ErrorCode, isArchiveError } from '../errors.ts';
import { EntryInspector, type InspectedEntry } from './entry-inspector.ts';
import { keyPartOf } from './keys.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';
import { manifestEntryOf } from './manifest-entry.ts';
import type { PackEntry } from './pack.ts';
import { PackScanner } from './pack-scan.ts';
import type { PackStore } from './ports.ts';
import type { InstanceRecord, PackRef } from './records.ts';

const final: readonly ErrorCode[] = [
  'damaged',
  'checksum-mismatch',
  'identity-mismatch',
  'bad-dicom',
  'limit-exceeded',
];

/** Whether inspecting the pack again would end so again: the bytes that lie there are not the pack that was expected, or not a pack. */
export function isFinalInspectionError(error: unknown): error is ArchiveError {
  return isArchiveError(error) && final.includes(error.code);
}

export interface ExpectedPack {
  readonly tenant: string;
  /** Study and series may be given as parts of the key, where they are not valid UIDs. */
  readonly ref: PackRef;
  readonly lengthBytes?: number;
  readonly sha256?: string;
}

export interface InspectedPack {
  readonly manifest: Manifest;
  /** In the order of the pack, all in state `current`: who really is, ingest.ts decides. */
  readonly instances: readonly InstanceRecord[];
}

/** Entries up to this length are kept while they pass, so that their frames are found without reading again. */
const HELD_ENTRY_BYTES = 8 * 1024 * 1024;
const PARALLEL_READS = 8;

/** Errors: `damaged`, `checksum-mismatch`, `identity-mismatch`, `bad-dicom`, `limit-exceeded`, and those of `store`. */
export async function inspectPack(store: PackStore, key: string, expected: ExpectedPack): Promise<InspectedPack> {
  const inspection = new Inspection(expected, store, key);
  const hash = createHash('sha256');
  let lengthBytes = 0;
  for await (const bytes of await store.stream(key)) {
    lengthBytes += bytes.length;
    hash.update(bytes);
    inspection.scanner.push(bytes);
    await inspection.caughtUp();
  }
  const sha256 = hash.digest('hex');
  // A wrong checksum says more than what it has damaged.
  if (expected.lengthBytes !== undefined && expected.lengthBytes !== lengthBytes)
    throw new ArchiveError('checksum-mismatch', 'The pack has not the length that was announced for it.', {
      expectedBytes: expected.lengthBytes,
      lengthBytes,
    });
  if (expected.sha256 !== undefined && expected.sha256 !== sha256)
    throw new ArchiveError('checksum-mismatch', 'The SHA-256 of the pack is not the one that was announced for it.');
  inspection.scanner.end();
  return inspection.result(sha256, lengthBytes);
}

class Inspection {
  readonly scanner: PackScanner;
  readonly #expected: ExpectedPack;
  readonly #store: PackStore;
  readonly #key: string;
  readonly #instances: InstanceRecord[] = [];
  readonly #entries: Promise<ManifestEntry>[] = [];
  readonly #names = new Set<string>();
  #inspector = new EntryInspector();
  #held: Uint8Array[] | undefined;
  #running = 0;
  #wake: (() => void) | undefined;

  constructor(expected: ExpectedPack, store: PackStore, key: string) {
    this.#expected = expected;
    this.#store = store;
    this.#key = key;
    this.scanner = new PackScanner({
      begin: ({ lengthBytes }) => {
        this.#inspector = new EntryInspector();
        this.#held = lengthBytes <= HELD_ENTRY_BYTES ? [] : undefined;
      },
      data: (bytes) => {
        this.#inspector.push(bytes);
        this.#held?.push(bytes);
      },
      end: (entry) => this.#endEntry(entry),
    });
  }

  /** Resolves when few enough entries are waiting for their frames: what is held stays bounded. */
  async caughtUp(): Promise<void> {
    while (this.#running >= PARALLEL_READS) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async result(sha256: string, lengthBytes: number): Promise<InspectedPack> {
    const { tenant, ref } = this.#expected;
    const entries = await Promise.all(this.#entries);
    const [first] = this.#instances;
    if (first === undefined) throw new ArchiveError('damaged', 'There is no instance in the pack.');
    const { studyInstanceUid, seriesInstanceUid } = first;
    const manifest = { tenant, studyInstanceUid, seriesInstanceUid, packId: ref.packId, sha256, lengthBytes, entries };
    return { manifest, instances: this.#instances };
  }

  #endEntry(entry: PackEntry): void {
    const { tenant, ref } = this.#expected;
    const inspected = this.#inspector.end(tenant, ref.packId, entry);
    const { record } = inspected;
    if (this.#names.has(entry.name)) throw new ArchiveError('damaged', 'The pack has two entries of one name.');
    this.#names.add(entry.name);
    if (
      keyPartOf(record.studyInstanceUid) !== keyPartOf(ref.studyInstanceUid) ||
      keyPartOf(record.seriesInstanceUid) !== keyPartOf(ref.seriesInstanceUid)
    )
      throw new ArchiveError(
        'identity-mismatch',
        'An instance in the pack is not of the study and series of its key.',
        {
          sopInstanceUid: record.sopInstanceUid,
        },
      );
    this.#instances.push(record);
    this.#running++;
    const made = this.#manifestEntry(inspected, entry, this.#held).finally(() => {
      this.#running--;
      this.#wake?.();
    });
    // Whoever awaits them all comes later; until then a failure is nobody's yet.
    made.catch(() => {});
    this.#entries.push(made);
  }

  async #manifestEntry(
    { record, header }: InspectedEntry,
    entry: PackEntry,
    held: Uint8Array[] | undefined,
  ): Promise<ManifestEntry> {
    let whole: Uint8Array | undefined;
    const read = async ({ offsetBytes, lengthBytes }: ByteRangeLike): Promise<Uint8Array> => {
      if (held !== undefined) whole ??= Buffer.concat(held);
      if (whole !== undefined) return whole.subarray(offsetBytes, offsetBytes + lengthBytes);
      const end = Math.min(offsetBytes + lengthBytes, entry.lengthBytes);
      return this.#store.read(this.#key, {
        offsetBytes: entry.offsetBytes + offsetBytes,
        lengthBytes: Math.max(0, end - offsetBytes),
      });
    };
    return manifestEntryOf(record, header, read);
  }
}
