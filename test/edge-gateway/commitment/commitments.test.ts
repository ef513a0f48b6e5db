/** Storage commitments over real associations, archives on disk and restarts: what is reported of what, when, how often, and what is pinned meanwhile. */
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { commitmentPeers } from '#edge-gateway/commitment/deliveries.ts';
import type { ReferencedInstance } from '#edge-gateway/dimse/commitment-data-set.ts';
import { loadTlsIdentity } from '#edge-gateway/dimse/tls.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackChange } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import { Authority } from '#test/support/certificates.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { until } from '#test/support/system.ts';
import { CommitmentSite, EXPLICIT, IMPLICIT, MODALITY, ReportListener, type SiteOptions } from './commitment-site.ts';

const refOf = ({ sopClassUid, ref }: MadeInstance): ReferencedInstance => ({
  sopClassUid,
  sopInstanceUid: ref.sopInstanceUid,
});

const unknown: ReferencedInstance = { sopClassUid: '1.2.840.10008.5.1.4.1.1.2', sopInstanceUid: '1.2.3.404' };
const HOUR_MS = 3_600_000;

let instances: MadeInstance[];
let listener: ReportListener;
let site: CommitmentSite | undefined;

beforeEach(async () => {
  instances = [makeInstance(), makeInstance()];
  listener = await ReportListener.create();
  await listener.listen();
});
afterEach(async () => {
  await site?.[Symbol.asyncDispose]();
  site = undefined;
  await listener.goAway();
});

async function start(options: SiteOptions = {}): Promise<CommitmentSite> {
  site = await CommitmentSite.create(
    instances.map(({ file }) => file),
    { peers: listener.peers, ...options },
  );
  return site;
}

const reported = (count = 1) => until(`${count} reports`, 10_000, async () => listener.reports.length >= count);
const settled = () =>
  until('everything to be reported', 10_000, async () => {
    const { undecided, unreported } = await site!.commitments.overview();
    return undecided + unreported === 0;
  });

function changePack(i: number, change: PackChange) {
  const { archive, tenant, packs } = site!.fixture;
  return archive.index.updatePack(tenant, packs[i]!, ['open', 'sealed', 'sent', 'archived', 'rejected'], change);
}

describe('the result of a storage commitment', () => {
  it('is event 1 with all references when all are archived, by a new association from our AE title', async () => {
    const { ask } = bound(await start());
    const answer = await ask(instances.map(refOf));
    expect(answer.status).toBe(0);
    await reported();
    expect(listener.reports).toEqual([
      {
        eventTypeId: 1,
        callingAeTitle: 'ARCHIPEL',
        transactionUid: '1.2.3.4',
        committed: instances.map(refOf),
        failed: [],
      },
    ]);
  });

  it.each([IMPLICIT, EXPLICIT])('comes of a request in %s', async (transferSyntaxUid) => {
    const { ask } = bound(await start());
    expect((await ask([refOf(instances[0]!)], { transferSyntaxUid })).status).toBe(0);
    await reported();
    expect(listener.reports[0]?.committed).toEqual([refOf(instances[0]!)]);
  });

  it('is event 2 with what is unknown (0112H) or of another class (0119H), and what is safe all the same', async () => {
    const { ask } = bound(await start());
    const other = { ...refOf(instances[1]!), sopClassUid: '1.2.840.10008.5.1.4.1.1.4' };
    const odd = { ...unknown, sopInstanceUid: '*,"?' };
    await ask([refOf(instances[0]!), unknown, other, odd]);
    await reported();
    expect(listener.reports[0]).toMatchObject({
      eventTypeId: 2,
      committed: [refOf(instances[0]!)],
      failed: [
        { ...unknown, failureReason: 0x0112 },
        { ...other, failureReason: 0x0119 },
        { ...odd, failureReason: 0x0112 },
      ],
    });
  });

  it('waits for what is on its way to the cloud', async () => {
    const { ask } = bound(await start());
    await changePack(1, { state: 'sent' });
    await ask(instances.map(refOf));
    await until('the pack to be pinned alone', 5_000, async () => !(await isPinned(0)) && (await isPinned(1)));
    expect(listener.reports).toEqual([]);
    await changePack(1, { state: 'archived' });
    await reported();
    expect(listener.reports[0]).toMatchObject({ eventTypeId: 1, committed: instances.map(refOf) });
    expect(await isPinned(1)).toBe(false);
  });

  it('says 0110H of what the cloud rejected', async () => {
    const { ask } = bound(await start());
    await changePack(1, { state: 'sent' });
    await ask(instances.map(refOf));
    await until('the pack to be waited for', 5_000, () => isPinned(1));
    await changePack(1, { state: 'rejected' });
    await reported();
    expect(listener.reports[0]?.failed).toEqual([{ ...refOf(instances[1]!), failureReason: 0x0110 }]);
    await ask([refOf(instances[1]!)], { transactionUid: '1.2.3.5' });
    await reported(2);
    expect(listener.reports[1]?.failed).toEqual([{ ...refOf(instances[1]!), failureReason: 0x0110 }]);
  });

  it('says 0213H of what has not reached the cloud in the time for it', async () => {
    let nowMs = Date.now();
    const { ask } = bound(await start({ retryHours: 2, nowMs: () => nowMs }));
    await changePack(1, { state: 'sealed' });
    await ask(instances.map(refOf));
    await until('the pack to be waited for', 5_000, () => isPinned(1));
    nowMs += 2 * HOUR_MS + 1;
    await reported();
    expect(listener.reports[0]).toMatchObject({
      eventTypeId: 2,
      committed: [refOf(instances[0]!)],
      failed: [{ ...refOf(instances[1]!), failureReason: 0x0213 }],
    });
    expect(await isPinned(1)).toBe(false);
  });

  it('wants every study safe that has the instance', async () => {
    const twin = makeInstance({ sopInstanceUid: instances[0]!.ref.sopInstanceUid });
    instances = [instances[0]!, twin];
    const { ask } = bound(await start());
    await changePack(1, { state: 'sent' });
    await ask([refOf(twin)]);
    await until('the second pack to be waited for', 5_000, async () => !(await isPinned(0)) && (await isPinned(1)));
    await changePack(1, { state: 'archived' });
    await reported();
    expect(listener.reports[0]?.eventTypeId).toBe(1);
  });

  it('takes no instance for unknown that was acknowledged before and is not indexed yet', async () => {
    let late: (() => Promise<void>) | undefined;
    const { ask } = bound(await start({ whenIndexed: async () => late?.() }));
    const last = makeInstance();
    late = async () => {
      late = undefined;
      await site!.fixture.add([last.file]);
    };
    await ask([refOf(last)]);
    await reported();
    expect(listener.reports[0]?.eventTypeId).toBe(1);
  });
});

describe('the edge mode', () => {
  it('commits what lies undamaged on this disk, wherever its pack is on its way', async () => {
    const { ask } = bound(await start({ mode: 'edge' }));
    await changePack(0, { state: 'sealed' });
    await changePack(1, { state: 'sent' });
    await ask(instances.map(refOf));
    await reported();
    expect(listener.reports[0]).toMatchObject({ eventTypeId: 1, committed: instances.map(refOf) });
  });

  it('says 0110H of an instance of which one bit has changed, and of that one only', async () => {
    const { ask } = bound(await start({ mode: 'edge' }));
    const { archive, tenant } = site!.fixture;
    const record = await archive.index.getInstance(tenant, instances[1]!.ref);
    const path = (archive.packs as DiskPackStore).pathOf(packKey(tenant, record!));
    const bytes = await readFile(path);
    bytes[record!.offsetBytes + record!.lengthBytes - 1]! ^= 1;
    writeFileSync(path, bytes);
    await ask(instances.map(refOf));
    await reported();
    expect(listener.reports[0]).toMatchObject({
      committed: [refOf(instances[0]!)],
      failed: [{ ...refOf(instances[1]!), failureReason: 0x0110 }],
    });
  });

  it('commits what was evicted, since the cloud has it, and says 0110H of what is lost', async () => {
    const { ask } = bound(await start({ mode: 'edge' }));
    const { archive, tenant, packs } = site!.fixture;
    for (const pack of packs) await archive.packs.delete(packKey(tenant, pack));
    await changePack(0, { evictedAtMs: Date.now() });
    await changePack(1, { state: 'sealed' });
    await ask(instances.map(refOf));
    await reported();
    expect(listener.reports[0]).toMatchObject({
      committed: [refOf(instances[0]!)],
      failed: [{ ...refOf(instances[1]!), failureReason: 0x0110 }],
    });
  });
});

describe('a list of commitments that is damaged', () => {
  it('takes no request, and lets nobody believe that a pack is not needed', async () => {
    const { ask } = bound(await start());
    await site!.stop();
    writeFileSync(join(site!.folder, 'commitments.sqlite'), 'this is no database');
    await site!.start();
    expect((await ask([refOf(instances[0]!)])).status).toBe(0x0213);
    await expect(isPinned(0)).rejects.toMatchObject({ code: 'damaged' });
    await expect(site!.commitments.overview()).rejects.toMatchObject({ code: 'damaged' });
  });
});

describe('closing', () => {
  it('waits for no index that does not get on', async () => {
    const { ask } = bound(await start({ whenIndexed: () => new Promise(() => {}) }));
    await ask([refOf(instances[0]!)]);
    await pause(100);
    await site!.stop();
    await site!.start();
  });

  it('takes nothing for damaged because it was broken off while it was read', async () => {
    instances = Array.from({ length: 16 }, () => makeInstance({ rows: 512, columns: 512 }));
    const { ask } = bound(await start({ mode: 'edge' }));
    await ask(instances.map(refOf));
    for (let i = 0; i < 3; i++) {
      await pause(12);
      await site!.stop();
      await site!.start();
    }
    await reported();
    expect(listener.reports[0]).toMatchObject({ eventTypeId: 1, failed: [] });
  });
});

describe('a Transaction UID', () => {
  it('that comes again with the same references is the same commitment, reported once', async () => {
    const { ask } = bound(await start());
    await changePack(0, { state: 'sent' });
    expect((await ask([refOf(instances[0]!)])).status).toBe(0);
    expect((await ask([refOf(instances[0]!)])).status).toBe(0);
    await changePack(0, { state: 'archived' });
    await reported();
    await settled();
    expect(listener.reports).toHaveLength(1);
  });

  it('in use for other references is refused', async () => {
    const { ask } = bound(await start());
    await changePack(0, { state: 'sent' });
    await ask([refOf(instances[0]!)]);
    const answer = await ask([refOf(instances[1]!)]);
    expect(answer).toMatchObject({ status: 0x0115, offendingElements: [0x00081195] });
  });

  it('that was reported is looked into anew: its report may have been lost', async () => {
    const { ask } = bound(await start());
    await ask([refOf(instances[0]!)]);
    await reported();
    await settled();
    await ask([refOf(instances[0]!)]);
    await reported(2);
    expect(listener.reports[1]).toEqual(listener.reports[0]);
  });
});

describe('the way of a report', () => {
  it('outlives a restart between request and report', async () => {
    await start();
    await changePack(0, { state: 'sent' });
    await site!.ask([refOf(instances[0]!)]);
    await site!.stop();
    await changePack(0, { state: 'archived' });
    await site!.start();
    await reported();
    await settled();
    expect(listener.reports).toHaveLength(1);
    expect(listener.reports[0]?.eventTypeId).toBe(1);
  });

  it('is tried again and again while the peer is away, says so, and delivers all in the end, each once', async () => {
    const { ask } = bound(await start());
    await listener.goAway();
    await ask([refOf(instances[0]!)], { transactionUid: '1.2.3.1' });
    await ask([refOf(instances[1]!)], { transactionUid: '1.2.3.2' });
    await until('a failed try', 10_000, async () => (await site!.commitments.overview()).troubles.length > 0);
    expect((await site!.commitments.overview()).troubles).toMatchObject([{ requestor: MODALITY, isGivenUp: false }]);
    await site!.stop();
    await site!.start();
    await listener.listen();
    await reported(2);
    await settled();
    expect(listener.reports.map(({ transactionUid }) => transactionUid)).toEqual(['1.2.3.1', '1.2.3.2']);
    expect((await site!.commitments.overview()).troubles).toEqual([]);
  });

  it('is sent again when the peer answers a failure, and is given up after five', async () => {
    const { ask } = bound(await start());
    listener.answers.push(0x0110, 0x0110);
    await ask([refOf(instances[0]!)]);
    await reported(3);
    await settled();
    expect(listener.reports).toHaveLength(3);
    expect((await site!.commitments.overview()).troubles).toEqual([]);
    listener.answers.push(0x0110, 0x0110, 0x0110, 0x0110, 0x0110);
    await ask([refOf(instances[0]!)], { transactionUid: '1.2.3.5' });
    await reported(8);
    await settled();
    expect(listener.reports).toHaveLength(8);
    expect((await site!.commitments.overview()).troubles).toMatchObject([
      { requestor: MODALITY, reports: 1, isGivenUp: true, lastError: 'it answered 0110H' },
    ]);
  });

  it('goes over TLS, with our certificate, where the table says so', async () => {
    using authority = await Authority.create();
    const { authorityFile } = authority;
    const load = async (commonName: string) =>
      loadTlsIdentity({ ...(await authority.issue({ commonName })), authorityFile, log: silentLogger });
    const [ours, theirs] = [await load('gateway'), await load('modality')];
    try {
      await listener.goAway();
      await listener.listen(theirs);
      const remote = { host: '127.0.0.1', port: listener.port, tls: true, certificateSubjects: ['modality'] };
      const peerOf = commitmentPeers(new Map([[MODALITY, remote]]), ours);
      const { ask } = bound(await start({ peers: new Map([[MODALITY, peerOf(MODALITY)!]]) }));
      await ask([refOf(instances[0]!)]);
      await reported();
      expect(listener.reports[0]?.eventTypeId).toBe(1);
      expect(peerOf('STRANGER')).toBeUndefined();
    } finally {
      ours.close();
      theirs.close();
    }
  });

  it('ends when the time for it is over', async () => {
    let aheadMs = 0;
    const { ask } = bound(await start({ retryHours: 1, nowMs: () => Date.now() + aheadMs }));
    await listener.goAway();
    await ask([refOf(instances[0]!)]);
    await until('a failed try', 10_000, async () => (await site!.commitments.overview()).troubles.length > 0);
    aheadMs = HOUR_MS + 1;
    await settled();
    expect((await site!.commitments.overview()).troubles).toMatchObject([{ isGivenUp: true }]);
  });
});

describe('a pack', () => {
  it('is pinned as long as it is not known which packs a commitment depends on', async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { ask } = bound(await start({ whenIndexed: () => gate }));
    expect(await isPinned(0)).toBe(false);
    await ask([refOf(instances[0]!)]);
    expect(await isPinned(0)).toBe(true);
    expect(await isPinned(1)).toBe(true);
    release();
    await reported();
    expect(await isPinned(0)).toBe(false);
  });
});

const isPinned = (i: number): Promise<boolean> => site!.commitments.isPinned(site!.fixture.packs[i]!);
const bound = (made: CommitmentSite) => ({ ask: made.ask.bind(made) });
