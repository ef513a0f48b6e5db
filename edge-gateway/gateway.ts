/**
 * One gateway, put together: the archive on this disk, the door for C-STORE, the uploader, the LAN's HTTP. main.ts is the
 * process around it; tests start it as it is.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Archive } from '#shared/archive/ports.ts';
import type { Logger } from '#shared/log.ts';
import { openCache } from './cache/cache.ts';
import { createDiskPackStore } from './cache/disk-pack-store.ts';
import { claimFolderFormat } from './cache/folder-format.ts';
import { lockFolder } from './cache/folder-lock.ts';
import { createPackManifests } from './cache/manifests.ts';
import { createReceiver, openFolderOf, type Receiver } from './cache/receiver.ts';
import { createSqliteIndex } from './cache/sqlite-index.ts';
import { findUnknownPacks } from './cache/unknown-packs.ts';
import { createCommitmentStore } from './commitment/commitment-store.ts';
import { startCommitments } from './commitment/commitments.ts';
import { commitmentPeers } from './commitment/deliveries.ts';
import { createDiskDigest } from './commitment/disk-digest.ts';
import { createDecompressor } from './dimse/decompressor.ts';
import type { DimseEvent } from './dimse/events.ts';
import { createPeerBook } from './dimse/peer-book.ts';
import { createDimseServer } from './dimse/server.ts';
import { loadTlsIdentity } from './dimse/tls.ts';
import { serveHttp } from './http/host.ts';
import { createLan } from './http/lan.ts';
import { createMetrics } from './metrics.ts';
import { createCloudReader } from './recall/cloud-reader.ts';
import { startDeletions } from './recall/deletions.ts';
import { createRecall } from './recall/recall.ts';
import { createRouter, type Router } from './routing/router.ts';
import type { EdgeSettings } from './settings.ts';
import { createThroughput } from './throughput.ts';
import { createCloudClient } from './upload/cloud-client.ts';
import { ServerClock } from './upload/server-clock.ts';
import { startUploader, type Uploader } from './upload/uploader.ts';

export const VERSION = '0.1.0';

export interface Gateway {
  readonly dicomPort: number;
  /** Undefined: no TLS. */
  readonly dicomTlsPort: number | undefined;
  readonly httpPort: number;
  /** What is here, without the cloud. */
  readonly archive: Archive;
  /** Lets running stores finish and seals what is open; what is not uploaded yet is taken up by the next start. */
  close(): Promise<void>;
}

/** Rejects with a sentence when the folder is in use or a port is taken. Recovery of what a crash left is done when it resolves. */
export async function startGateway(
  settings: EdgeSettings,
  log: Logger,
  crashPoint?: (name: string) => void,
): Promise<Gateway> {
  const startedAtMs = Date.now();
  const { dataFolder, tenant, host } = settings;
  mkdirSync(dataFolder, { recursive: true });
  const lock = lockFolder(dataFolder);
  claimFolderFormat(dataFolder, VERSION);
  const index = await createSqliteIndex({ file: join(dataFolder, 'index.sqlite'), inWorker: true });
  const root = join(dataFolder, 'packs');
  const packs = createDiskPackStore({ root, openFolder: openFolderOf(dataFolder) });
  const cache = await openCache({
    folder: dataFolder,
    tenant,
    index,
    packs,
    settings: settings.cache,
    nowMs: Date.now,
    log: log.child({ part: 'cache' }),
    ...(crashPoint === undefined ? {} : { crashPoint }),
  });
  // For who reads: what is not here comes from the cloud.
  const recall = createRecall({
    index,
    packs,
    reads: cache.packs,
    turns: cache.turns,
    cloud: createCloudReader(settings.cloudUrl),
    hasRoom: cache.makeRoom,
    nowMs: Date.now,
    log: log.child({ part: 'recall' }),
  });

  let uploader: Uploader | undefined;
  let receiver: Receiver | undefined;
  let router: Router | undefined;
  const isBusy = (): boolean => receiver === undefined || receiver.totals().instancesArriving > 0;
  const manifests = createPackManifests({
    tenant,
    index,
    packs,
    root,
    isBusy,
    log: log.child({ part: 'manifests' }),
  });
  receiver = await createReceiver({
    folder: dataFolder,
    tenant,
    index,
    packs,
    log,
    clock: Date.now,
    room: cache.room,
    priorities: settings.upload.priorities,
    isLost: recall.isLost,
    onSealed: (pack) => {
      uploader?.wake(pack);
      manifests.sealed(pack);
      router?.sealed(pack);
    },
    ...(crashPoint === undefined ? {} : { crashPoint }),
  });
  const clock = new ServerClock({ nowMs: Date.now, log: log.child({ part: 'uploader' }) });
  const cloud = createCloudClient({ cloudUrl: settings.cloudUrl, clock });
  uploader = startUploader({
    tenant,
    archive: { index, packs: cache.uploads },
    cloud,
    clock,
    log: log.child({ part: 'uploader' }),
    nowMs: Date.now,
    random: Math.random,
    settings: settings.upload,
    suspect: cache.suspect,
    hideDeleted: recall.hideDeleted,
  });
  const peerBook = createPeerBook(Date.now);
  const metrics = createMetrics();
  const throughput = createThroughput({
    counters: () => ({
      receivedBytes: receiver.totals().stored.bytes,
      uploadedBytes: uploader.report().bytesSent,
    }),
  });
  const tlsIdentity =
    settings.dicomTls === undefined
      ? undefined
      : loadTlsIdentity({ ...settings.dicomTls, log: log.child({ part: 'tls' }) });
  const decompressor = createDecompressor();
  const onEvent = (event: DimseEvent): void => {
    peerBook.note(event);
    metrics.note(event);
  };
  const commitments = startCommitments({
    store: createCommitmentStore({ file: join(dataFolder, 'commitments.sqlite'), inWorker: true }),
    disk: createDiskDigest({ pathOf: packs.pathOf, openFolder: openFolderOf(dataFolder) }),
    tenant,
    index,
    ...settings.commitment,
    aeTitle: settings.aeTitle,
    peerOf: commitmentPeers(settings.remoteAes, tlsIdentity),
    whenIndexed: receiver.indexed,
    isLost: recall.isLost,
    nowMs: Date.now,
    random: Math.random,
    log: log.child({ part: 'commitments' }),
    onEvent,
  });
  // What recovery has sealed before there was a router, it finds itself.
  router = await createRouter({
    folder: join(dataFolder, 'routes'),
    rules: settings.routes,
    remoteAes: settings.remoteAes,
    tlsIdentity,
    aeTitle: settings.aeTitle,
    tenant,
    index,
    packs: recall.archive.packs,
    decompressor,
    nowMs: Date.now,
    random: Math.random,
    log: log.child({ part: 'routing' }),
  });
  await cache.start({
    receiver,
    pins: [commitments.isPinned, router.isPinned],
    wantManifest: manifests.want,
    isBusy,
    mend: recall,
  });
  const unknownPacks = findUnknownPacks({
    tenant,
    index,
    packs,
    root,
    isBusy,
    found: uploader.wake,
    log: log.child({ part: 'cache' }),
  });
  const deletions = startDeletions({ hear: () => recall.hearDeletions(tenant), log: log.child({ part: 'recall' }) });
  const dimse = await createDimseServer({
    host,
    port: settings.dicomPort,
    aeTitle: settings.aeTitle,
    receiver,
    hasRoom: () => cache.room.takesAssociations(),
    peers: settings,
    ...(tlsIdentity && settings.dicomTls && { tls: { ...settings.dicomTls, identity: tlsIdentity } }),
    limits: {
      maxAssociations: settings.maxAssociations,
      maxAssociationsPerAddress: settings.maxAssociationsPerAddress,
    },
    queryRetrieve: {
      archive: recall.archive,
      tenant,
      decompressor,
      remoteAes: settings.remoteAes,
      maxFindResults: settings.maxFindResults,
      ...(tlsIdentity && { tlsIdentity }),
    },
    storageCommitment: { intake: commitments },
    log: log.child({ part: 'dimse' }),
    onEvent,
  });
  const lan = createLan({
    settings,
    archive: recall.archive,
    receiver,
    inspectEntry: manifests.inspectEntry,
    log: log.child({ part: 'lan' }),
    status: {
      index,
      tenant,
      dataFolder,
      reserveBytes: settings.cache.reserveBytes,
      aeTitle: settings.aeTitle,
      dicomPort: dimse.port,
      dicomTlsPort: dimse.tlsPort,
      cloudUrl: settings.cloudUrl,
      version: VERSION,
      startedAtMs,
      nowMs: Date.now,
      upload: uploader.report,
      receiver: receiver.totals,
      throughput,
      connections: () => dimse.connectionCount,
      peers: peerBook.list,
      routes: router.report,
      commitments: commitments.overview,
      cache: cache.report,
      recall: recall.report,
    },
    metrics,
  });
  const web = await serveHttp({ host, port: settings.httpPort, service: lan.service, log });
  log.info(
    {
      aeTitle: settings.aeTitle,
      dicomPort: dimse.port,
      ...(dimse.tlsPort !== undefined && { dicomTlsPort: dimse.tlsPort }),
      httpPort: web.port,
      startMs: Date.now() - startedAtMs,
    },
    'gateway is up',
  );
  return {
    dicomPort: dimse.port,
    dicomTlsPort: dimse.tlsPort,
    httpPort: web.port,
    archive: { index, packs: cache.packs },
    async close() {
      await dimse.close();
      await commitments.close();
      tlsIdentity?.close();
      await web.close();
      await lan.close();
      await recall.close();
      await deletions.close();
      await unknownPacks.close();
      throughput.close();
      metrics.close();
      await manifests.close();
      await uploader.close();
      cloud.close();
      await cache.close();
      await receiver.close();
      await router.close();
      await decompressor.close();
      await index.close();
      lock.release();
    },
  };
}
