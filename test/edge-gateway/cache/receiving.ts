/**
 * A receiver over a temporary folder with a real index, a real store and a log that is kept, for the tests of the way of an
 * instance onto the disk; and what is needed to send to it and to read back what it has made.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore, type DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createReceiver, openFolderOf, type Receiver, type ReceiverOptions } from '#edge-gateway/cache/receiver.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { IncomingInstance, InstanceReceiver, Outcome } from '#shared/archive/outcome.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import { createLogger } from '#shared/log.ts';
import { freshUid, type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

export const TENANT = 'hospital';

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export class Receiving implements AsyncDisposable {
  readonly folder: string;
  readonly index: ArchiveIndex;
  readonly store: DiskPackStore;
  readonly receiver: Receiver;
  readonly sealed: PackRecord[];
  readonly log: LogLine[];
  readonly #removes: boolean;

  private constructor(
    folder: string,
    index: ArchiveIndex,
    store: DiskPackStore,
    receiver: Receiver,
    sealed: PackRecord[],
    log: LogLine[],
    removes: boolean,
  ) {
    this.folder = folder;
    this.index = index;
    this.store = store;
    this.receiver = receiver;
    this.sealed = sealed;
    this.log = log;
    this.#removes = removes;
  }

  /** @param folder kept when given; else a temporary one is made, and removed at the end */
  static async start(options: Partial<ReceiverOptions> = {}, folder?: string): Promise<Receiving> {
    const at = folder ?? mkdtempSync(join(tmpdir(), 'archipel-receiver-'));
    const sealed: PackRecord[] = [];
    const log: LogLine[] = [];
    const index = options.index ?? (await createSqliteIndex({ file: join(at, 'index.sqlite'), inWorker: false }));
    const files = options.files === undefined ? {} : { files: options.files };
    const store = createDiskPackStore({ root: join(at, 'packs'), openFolder: openFolderOf(at), ...files });
    const receiver = await createReceiver({
      folder: at,
      tenant: TENANT,
      index,
      packs: store,
      log: createLogger('info', (line) => log.push(JSON.parse(line))),
      clock: Date.now,
      onSealed: (record) => sealed.push(record),
      ...options,
      limits: { reserveBytes: 0, ...options.limits },
    });
    return new Receiving(at, index, store, receiver, sealed, log, folder === undefined);
  }

  send(made: MadeInstance, wish: Wish = {}): Promise<Outcome> {
    return send(this.receiver, made, wish);
  }

  /** Sends and expects it to be stored. */
  async stored(options: InstanceOptions = {}): Promise<MadeInstance> {
    const made = makeInstance(options);
    const outcome = await this.send(made);
    if (outcome.kind !== 'stored') throw new Error(`not stored but ${JSON.stringify(outcome)}`);
    return made;
  }

  get errors(): LogLine[] {
    return this.log.filter(({ level }) => level >= 50);
  }

  openFiles(): string[] {
    return readdirSync(openFolderOf(this.folder)).sort();
  }

  /** The data set bytes of the current instance, read through index and store. */
  async dataSet(ref: MadeInstance['ref']): Promise<Buffer | undefined> {
    const record = await this.index.getInstance(TENANT, ref);
    return record === undefined ? undefined : dataSetOf(this.store, record);
  }

  /** Stops without any ceremony: what is open stays as it is on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.receiver.close();
    await this.index.close();
    if (this.#removes) rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function dataSetOf(store: DiskPackStore, record: InstanceRecord): Promise<Buffer> {
  const file = await store.read(packKey(TENANT, record), record);
  return Buffer.from(file.subarray(record.dataSetOffsetBytes));
}

export interface Wish extends Partial<IncomingInstance> {
  readonly chunkBytes?: number;
  /** Data set bytes to send in place of the instance's. */
  readonly bytes?: Uint8Array;
}

export function announcementOf(made: MadeInstance, wish: Wish = {}): IncomingInstance {
  return {
    sopClassUid: 'sopClassUid' in wish ? wish.sopClassUid : made.sopClassUid,
    sopInstanceUid: 'sopInstanceUid' in wish ? wish.sopInstanceUid : made.ref.sopInstanceUid,
    transferSyntaxUid: wish.transferSyntaxUid ?? made.transferSyntaxUid,
    sourceAeTitle: wish.sourceAeTitle ?? 'MODALITY',
    ...(wish.priority === undefined ? {} : { priority: wish.priority }),
  };
}

export async function send(receiver: InstanceReceiver, made: MadeInstance, wish: Wish = {}): Promise<Outcome> {
  const sink = receiver.begin(announcementOf(made, wish));
  const bytes = wish.bytes ?? made.dataSet;
  const chunkBytes = wish.chunkBytes ?? 64 * 1024;
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const wait = sink.write(bytes.subarray(at, at + chunkBytes));
    if (wait !== undefined) await wait;
  }
  return sink.commit();
}

/** Another instance of the same UIDs. */
export function rival(of: MadeInstance, patientName = 'Other^Bytes'): MadeInstance {
  return makeInstance({ ...of.ref, sopClassUid: of.sopClassUid, patientName });
}

/** UIDs of one series, for instances that belong together. */
export function oneSeries(): { studyInstanceUid: string; seriesInstanceUid: string } {
  return { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
}

/** All pack files that are in their place below a folder. */
export function sealedFiles(folder: string): string[] {
  const root = join(folder, 'packs');
  try {
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.zip'))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch {
    return [];
  }
}

export const readSealed = (folder: string): Buffer[] => sealedFiles(folder).map((file) => readFileSync(file));
