/**
 * Routing from a sealed pack to the destination's disk: rules, order, one association, destinations that are away, refuse or
 * hang, crashes between sealing and queueing, and what is pinned. Real queues, real sockets, real destinations.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';
import type { RemoteAe } from '#edge-gateway/dimse/delivery.ts';
import type { DimseEvent } from '#edge-gateway/dimse/events.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { createRouter, type Router } from '#edge-gateway/routing/router.ts';
import type { RouteRule } from '#edge-gateway/settings.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver, type MemoryReceiverOptions, stored } from '#test/edge-gateway/dimse/memory-receiver.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { freePorts, until } from '#test/support/system.ts';

const DAY_MS = 24 * 60 * 60_000;
const made = (series: string, instance: number, modality: string) =>
  makeInstance({
    studyInstanceUid: '1.1',
    seriesInstanceUid: series,
    sopInstanceUid: `${series}.${instance}`,
    instanceNumber: instance,
    modality,
  });
/** Out of the order of their UIDs. */
const ct = [made('1.1.1', 3, 'CT'), made('1.1.1', 1, 'CT'), made('1.1.1', 2, 'CT')];
const mr = [made('1.1.2', 1, 'MR')];
const uidsOf = (instances: readonly { readonly ref: { readonly sopInstanceUid: string } }[]) =>
  instances.map(({ ref }) => ref.sopInstanceUid);

let fixture: ArchiveFixture;
let packs: readonly PackRecord[];
const decompressor = createDecompressor();
beforeAll(async () => {
  fixture = await makeArchive([...ct, ...mr].map(({ file }) => file));
  packs = await Promise.all(
    fixture.packs.map(async (ref) => (await fixture.archive.index.getPack(fixture.tenant, ref)) as PackRecord),
  );
});
afterAll(async () => {
  await fixture?.close();
  await decompressor.close();
});

let folder: string;
let nowMs: number;
const running: { close(): unknown }[] = [];
const remoteAes = new Map<string, RemoteAe>();
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-routes-'));
  nowMs = (packs[1]?.sealedAtMs ?? 0) + 5_000;
});
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
  remoteAes.clear();
  await rm(folder, { recursive: true, force: true });
});

const pack = (i: number, sourceAeTitles: readonly string[] = ['CT1']): PackRecord => ({
  ...(packs[i] as PackRecord),
  sourceAeTitles,
});

async function destination(aeTitle: string, options: MemoryReceiverOptions = {}, port = 0) {
  const receiver = new MemoryReceiver(options);
  const events: DimseEvent[] = [];
  const server = await createDimseServer({
    host: '127.0.0.1',
    port,
    aeTitle,
    receiver,
    log: silentLogger,
    onEvent: (event) => events.push(event),
    limits: { lingerMs: 100, closeDeadlineMs: 200 },
  });
  running.push(server);
  remoteAes.set(aeTitle, { host: '127.0.0.1', port: server.port });
  const uids = () =>
    receiver.received.filter(({ end }) => end === 'committed').map(({ incoming }) => incoming.sopInstanceUid);
  const associations = () => events.filter(({ kind }) => kind === 'association-accepted').length;
  return { receiver, server, uids, associations };
}

async function route(rules: readonly RouteRule[]): Promise<Router> {
  const router = await createRouter({
    folder,
    rules,
    remoteAes,
    packs: fixture.archive.packs,
    index: fixture.index,
    tenant: fixture.tenant,
    aeTitle: 'ARCHIPEL',
    decompressor,
    nowMs: () => nowMs,
    random: Math.random,
    retryCapMs: 50,
    log: silentLogger,
  });
  running.push(router);
  return router;
}

const idle = (router: Router): Promise<void> =>
  until('nothing to wait for a destination', 10_000, async () => router.report().every(({ waiting }) => waiting === 0));
const have = (what: () => boolean): Promise<void> => until('it to happen', 10_000, async () => what());

describe('a sealed pack', () => {
  it('goes to every destination of a rule, in order of arrival, and to each once', async () => {
    const a = await destination('A');
    const b = await destination('B');
    const router = await route([
      { to: 'A' },
      { to: 'B', modalities: ['CT', 'PT'] },
      { to: 'B', callingAeTitles: ['CT1'] },
    ]);
    router.sealed(pack(0));
    router.sealed(pack(1, ['MR1']));
    await have(() => a.uids().length === 4);
    await idle(router);
    expect(a.uids().sort()).toEqual([...uidsOf(ct), ...uidsOf(mr)].sort());
    expect(b.uids()).toEqual(uidsOf(ct));
    expect(a.receiver.received.map(({ incoming }) => incoming.sourceAeTitle)).toContain('ARCHIPEL');
    expect(router.report()).toEqual([
      expect.objectContaining({ aeTitle: 'A', waiting: 0, refused: 0, lastError: undefined, lastSuccessAtMs: nowMs }),
      expect.objectContaining({ aeTitle: 'B', waiting: 0, refused: 0, lastError: undefined, lastSuccessAtMs: nowMs }),
    ]);
  });

  it('does not go back to where it came from', async () => {
    const a = await destination('A');
    const b = await destination('B');
    const router = await route([{ to: 'A' }, { to: 'B' }]);
    router.sealed(pack(0, ['A']));
    await have(() => b.uids().length === 3);
    await idle(router);
    expect(a.associations()).toBe(0);
  });

  it('waits for a destination that is away, with others, and goes over one association with them', async () => {
    const [port = 0] = await freePorts(1);
    remoteAes.set('A', { host: '127.0.0.1', port });
    const router = await route([{ to: 'A' }]);
    router.sealed(pack(0));
    router.sealed(pack(1));
    await have(() => router.report()[0]?.lastError !== undefined);
    expect(router.report()[0]).toMatchObject({ waiting: 2, waitingSinceMs: nowMs, lastSuccessAtMs: undefined });
    expect(router.report()[0]?.lastError).toMatch(/could not be reached/);
    const a = await destination('A', {}, port);
    await idle(router);
    expect(a.uids()).toHaveLength(4);
    expect(a.associations()).toBe(1);
    expect(router.report()[0]).toMatchObject({ lastError: undefined, lastSuccessAtMs: nowMs });
  });

  it('is not held up by a destination that hangs', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    running.push(silent);
    remoteAes.set('SILENT', { host: '127.0.0.1', port: (silent.address() as { port: number }).port });
    const a = await destination('A');
    const router = await route([{ to: 'SILENT' }, { to: 'A' }]);
    router.sealed(pack(0));
    await have(() => a.uids().length === 3);
    expect(router.report().map(({ aeTitle, waiting }) => [aeTitle, waiting])).toContainEqual(['SILENT', 1]);
  });
});

describe('what a destination refuses', () => {
  it('for good is counted, and does not hold up the rest', async () => {
    const a = await destination('A', {
      outcome: (received) =>
        received.incoming.sopInstanceUid === '1.1.1.1'
          ? { kind: 'refused', code: 'bad-dicom', reason: 'no' }
          : stored(received),
    });
    const router = await route([{ to: 'A' }]);
    router.sealed(pack(0));
    await have(() => a.receiver.received.length === 3);
    await idle(router);
    expect(router.report()[0]).toMatchObject({ refused: 1, waiting: 0 });
  });

  it('for now comes again, alone, and does not hold up what comes later', async () => {
    let isFull = true;
    const a = await destination('A', {
      outcome: (received) =>
        isFull && received.incoming.sopInstanceUid === '1.1.1.1'
          ? { kind: 'refused', code: 'out-of-resources', reason: 'full' }
          : stored(received),
    });
    const router = await route([{ to: 'A' }]);
    router.sealed(pack(0));
    await have(() => a.receiver.received.length > 4);
    expect(router.report()[0]?.lastError).toMatch(/refused some instances with A700H/);
    router.sealed(pack(1));
    await have(() => a.uids().includes('1.1.2.1'));
    await expect.poll(() => router.report()[0]).toMatchObject({ waiting: 1 });
    isFull = false;
    await idle(router);
    const uids = a.receiver.received
      .map(({ incoming }) => incoming.sopInstanceUid)
      .filter((uid) => uid?.startsWith('1.1.1.'));
    expect(uids.slice(0, 4)).toEqual(['1.1.1.3', '1.1.1.1', '1.1.1.2', '1.1.1.1']);
    expect(new Set(uids.slice(3))).toEqual(new Set(['1.1.1.1']));
    expect(router.report()[0]).toMatchObject({ refused: 0, lastError: undefined });
  });

  it('for now is given up after a week', async () => {
    await destination('A', { outcome: () => ({ kind: 'refused', code: 'out-of-resources', reason: 'full' }) });
    const router = await route([{ to: 'A' }]);
    router.sealed(pack(1));
    await have(() => router.report()[0]?.lastError !== undefined);
    nowMs += 7 * DAY_MS;
    await idle(router);
    expect(router.report()[0]).toMatchObject({ refused: 1 });
  });
});

describe('pins', () => {
  it('are the packs that a destination waits for, over restarts, for a week', async () => {
    const [port = 0] = await freePorts(1);
    remoteAes.set('A', { host: '127.0.0.1', port });
    const before = await route([{ to: 'A' }]);
    before.sealed(pack(0));
    expect(before.isPinned(pack(0))).toBe(true);
    expect(before.isPinned(pack(1))).toBe(false);
    await have(() => before.report()[0]?.waiting === 1);
    await before.close();
    const after = await route([{ to: 'A' }]);
    expect(after.isPinned(pack(0))).toBe(true);
    nowMs += 7 * DAY_MS;
    expect(after.isPinned(pack(0))).toBe(false);
    expect(after.report()[0]).toMatchObject({ waiting: 1 });
    const a = await destination('A', {}, port);
    await have(() => a.uids().length === 3);
    await idle(after);
    expect(after.isPinned(pack(0))).toBe(false);
  });
});

describe('a restart', () => {
  it('finds what was sealed and not queued, and sends nothing else again', async () => {
    const a = await destination('A');
    nowMs = (packs[0]?.sealedAtMs ?? 0) - 10 * 60_000;
    // What the rules do not concern: only the time is remembered.
    await (await route([{ to: 'A' }])).close();
    nowMs = (packs[1]?.sealedAtMs ?? 0) + 1_000;
    const router = await route([{ to: 'A' }]);
    await have(() => a.uids().length === 4);
    await idle(router);
    await router.close();
    const again = await route([{ to: 'A' }]);
    expect(again.report()[0]).toMatchObject({ waiting: 0 });
    expect(a.uids()).toHaveLength(4);
  });

  it('with its first rule begins from now, and so does one after a time without rules', async () => {
    const a = await destination('A');
    await (await route([{ to: 'A' }])).close();
    await (await route([])).close();
    nowMs += DAY_MS;
    const router = await route([{ to: 'A' }]);
    expect(router.report()[0]).toMatchObject({ waiting: 0 });
    expect(a.associations()).toBe(0);
  });
});
