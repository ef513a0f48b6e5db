/**
 * The two places that take instances by STOW-RS, with one face for tests: a gateway, which stores one by one on its disk, and the
 * cloud, which archives those of a request together. What is true of storing is true in both.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createPackManifests } from '#edge-gateway/cache/manifests.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import {
  type BatchReceiverOptions,
  type ClosableBatchReceiver,
  createBatchReceiver,
} from '#functions/store/receiver.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { BatchReceiver, InstanceReceiver } from '#shared/archive/outcome.ts';
import type { Archive, ArchiveIndex, PackStore } from '#shared/archive/ports.ts';
import type { InstanceRef } from '#shared/archive/records.ts';
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { createLogger, silentLogger } from '#shared/log.ts';
import { type LogLine, Receiving, TENANT } from '../../edge-gateway/cache/receiving.ts';

export interface StoringPlace extends AsyncDisposable {
  readonly archive: Archive;
  readonly receiver: InstanceReceiver | BatchReceiver;
  readonly log: LogLine[];
  /** Over the place, search and retrieval included. */
  service(options?: Partial<DicomwebOptions>): Service;
  /** Whether something is still under way, or left behind, of instances that did not become stored ones. */
  isIdle(): boolean;
  /** Resolves when nothing is under way. */
  settled(): Promise<void>;
}

type Start = () => Promise<StoringPlace>;

export const storingPlaces: readonly { readonly place: string; readonly start: Start; readonly startFull: Start }[] = [
  { place: 'a gateway', start: () => atGateway(), startFull: () => atGateway(Number.MAX_SAFE_INTEGER) },
  { place: 'the cloud', start: () => inCloud(), startFull: () => inCloud({ spoil: fullStore }) },
];

const fullStore = ({ packs }: Archive): { packs: PackStore } => ({
  packs: {
    ...packs,
    create: () => Promise.reject(new ArchiveError('out-of-resources', 'The store is full; make room and send again.')),
  },
});

export async function dataSetAt({ archive }: StoringPlace, ref: InstanceRef): Promise<Buffer | undefined> {
  const record = await archive.index.getInstance(TENANT, ref);
  if (record === undefined) return undefined;
  return Buffer.from((await archive.packs.read(packKey(TENANT, record), record)).subarray(record.dataSetOffsetBytes));
}

async function atGateway(reserveBytes = 0): Promise<StoringPlace> {
  const at = await Receiving.start({ limits: { reserveBytes } });
  const archive = { index: at.index, packs: at.store };
  const manifests = createPackManifests({
    tenant: TENANT,
    index: at.index,
    packs: at.store,
    root: `${at.folder}/packs`,
    isBusy: () => true,
    log: silentLogger,
  });
  return {
    archive,
    receiver: at.receiver,
    log: at.log,
    service: (options) =>
      serviceOver(archive, {
        receiver: at.receiver,
        findable: () => at.receiver.indexed(),
        inspectEntry: manifests.inspectEntry,
        ...options,
      }),
    isIdle: () => at.receiver.totals().instancesArriving === 0,
    settled: () => at.receiver.flush(),
    async [Symbol.asyncDispose]() {
      await manifests.close();
      await at[Symbol.asyncDispose]();
    },
  };
}

export interface CloudOptions extends Partial<Omit<BatchReceiverOptions, 'archive'>> {
  /** In place of the real ones. */
  readonly spoil?: (archive: Archive) => { readonly index?: ArchiveIndex; readonly packs?: PackStore };
}

export interface CloudPlace extends StoringPlace {
  readonly receiver: ClosableBatchReceiver;
  readonly folder: string;
  /** What lies on scratch storage. */
  scratchFiles(): string[];
}

export async function inCloud({ spoil, ...options }: CloudOptions = {}): Promise<CloudPlace> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-store-'));
  const log: LogLine[] = [];
  const archive = {
    index: await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false }),
    packs: createDiskPackStore({ root: join(folder, 'packs') }),
  };
  const scratchFolder = join(folder, 'scratch');
  const receiver = await createBatchReceiver({
    archive: { ...archive, ...spoil?.(archive) },
    scratchFolder,
    scratchBytes: 1024 ** 3,
    nowMs: Date.now,
    log: createLogger('info', (line) => log.push(JSON.parse(line))),
    ...options,
  });
  return {
    folder,
    archive,
    receiver,
    log,
    service: (others) => serviceOver(archive, { receiver, ...others }),
    isIdle: () => receiver.batches === 0,
    async settled() {
      await new Promise<void>((resolve) => setImmediate(resolve));
    },
    scratchFiles: () => readdirSync(scratchFolder),
    async [Symbol.asyncDispose]() {
      await receiver.close();
      await archive.index.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export const serviceOver = (archive: Archive, options: Partial<DicomwebOptions>): Service =>
  createDicomwebService({
    archive,
    tenantOf: () => TENANT,
    render: renderFrame,
    transcode: transcodeFrame,
    log: silentLogger,
    ...options,
  });
