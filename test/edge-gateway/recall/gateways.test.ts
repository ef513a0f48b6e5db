/**
 * Whole gateways and a whole cloud: what one gateway sent and evicted, or another one sent, comes back byte for byte by C-FIND, C-MOVE,
 * C-GET and DICOMweb; with the cloud gone, what is here goes on, and what is not fails with a word.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import { createDimseServer, type DimseServer } from '#edge-gateway/dimse/server.ts';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { type LocalCloud, startLocalCloud } from '#infra/local/cloud.ts';
import { packKey } from '#shared/archive/keys.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from '#test/edge-gateway/dimse/memory-receiver.ts';
import { identifier, QueryPeer, STUDY_ROOT } from '#test/edge-gateway/dimse/query-peer.ts';
import { CT_IMAGE_STORAGE, freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { send } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';

const tenant = 'default';
const EXPLICIT = '1.2.840.10008.1.2.1';

function makeStudy(patientId: string): MadeInstance[] {
  const study = { studyInstanceUid: freshUid(), patientId };
  return [freshUid(), freshUid()].flatMap((seriesInstanceUid) =>
    [1, 2, 3].map((instanceNumber) =>
      makeInstance({ ...study, seriesInstanceUid, instanceNumber, rows: 32, columns: 32 }),
    ),
  );
}
const ours = makeStudy('OURS');
const theirs = makeStudy('THEIRS');
const doomed = makeStudy('DOOMED');
const studyOf = ([first]: readonly MadeInstance[]): string => first!.ref.studyInstanceUid;
const bytesOf = (instances: readonly MadeInstance[]): Buffer[] =>
  instances.map(({ dataSet }) => Buffer.from(dataSet)).sort(Buffer.compare);

let folder: string;
let cloud: LocalCloud;
let here: Gateway;
let there: Gateway;
let start: (name: string) => Promise<Gateway>;
let destination: DimseServer;
let received: MemoryReceiver;
let dicomweb: DicomwebClient;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-gateways-'));
  cloud = await startLocalCloud({
    folder: join(folder, 'cloud'),
    host: '127.0.0.1',
    port: 0,
    tenant,
    viewer: () => ({ kind: 'missing', reason: 'there is none in this test.' }),
    log: silentLogger,
  });
  received = new MemoryReceiver();
  destination = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'DEST',
    receiver: received,
    log: silentLogger,
    limits: { lingerMs: 100, closeDeadlineMs: 200 },
  });
  start = (name) =>
    startGateway(
      readEdgeSettings({
        ARCHIPEL_EDGE_DATA: join(folder, name),
        ARCHIPEL_EDGE_DICOM_PORT: '0',
        ARCHIPEL_EDGE_HTTP_PORT: '0',
        ARCHIPEL_EDGE_CLOUD_URL: cloud.url,
        ARCHIPEL_EDGE_DISK_RESERVE_MB: '16',
        ARCHIPEL_EDGE_REMOTE_AES: `DEST=127.0.0.1:${destination.port}`,
      }),
      silentLogger,
    );
  [here, there] = await Promise.all([start('here'), start('there')]);
  await send(here.dicomPort, ours);
  await send(here.dicomPort, doomed);
  await send(there.dicomPort, theirs);
  dicomweb = new DicomwebClient(`http://127.0.0.1:${here.httpPort}/dicomweb`);
  const archived = async (gateway: Gateway): Promise<number> =>
    (await gateway.archive.index.packTotals(tenant)).archived.instances;
  await until(
    'everything to be archived',
    40_000,
    async () => (await archived(here)) === 12 && (await archived(there)) === 6,
  );
});
afterAll(async () => {
  await here?.close();
  await there?.close();
  await destination?.close();
  await cloud?.close();
  await rm(folder, { recursive: true, force: true });
});

/** As eviction does it. */
async function evict(instances: readonly MadeInstance[]): Promise<void> {
  const { index, packs } = here.archive;
  for (const pack of await index.listPacks(tenant, { studyInstanceUid: studyOf(instances) })) {
    await index.updatePack(tenant, pack, ['archived'], { evictedAtMs: Date.now() });
    await packs.delete(packKey(tenant, pack));
  }
}

async function ask(commandField: number, sopClass: string, instances: readonly MadeInstance[]) {
  const peer = new QueryPeer(here.dicomPort, {
    contexts: [
      { abstractSyntax: `${STUDY_ROOT}${sopClass}`, transferSyntaxes: [EXPLICIT] },
      { abstractSyntax: CT_IMAGE_STORAGE, transferSyntaxes: [EXPLICIT] },
    ],
    roles: [{ sopClassUid: CT_IMAGE_STORAGE, scu: true, scp: true }],
  });
  await peer.open();
  try {
    const keys = identifier('STUDY', { '0020000D': ['UI', studyOf(instances)], '00201208': ['IS'] });
    peer.request(commandField, keys, { ...(sopClass === '2' ? { moveDestination: 'DEST' } : {}) });
    const stored: Buffer[] = [];
    const responses = await peer.responses((store) => {
      stored.push(store.dataSet as Buffer);
      return 0;
    });
    return { answers: responses.slice(0, -1).map((one) => peer.json(one)), last: responses.at(-1)!.command, stored };
  } finally {
    peer.close();
  }
}
const find = (instances: readonly MadeInstance[]) => ask(CommandField.CFindRequest, '1', instances);
const move = (instances: readonly MadeInstance[]) => ask(CommandField.CMoveRequest, '2', instances);
const get = (instances: readonly MadeInstance[]) => ask(CommandField.CGetRequest, '3', instances);
/** A busy machine may take the line for dead now and then: the next time it is not. */
async function untilDone(what: string, answers: () => Promise<{ last: { status?: number } }>): Promise<void> {
  await until(what, 30_000, async () => (await answers()).last.status === 0);
}
const availability = async (instances: readonly MadeInstance[]): Promise<unknown[]> =>
  (await find(instances)).answers.map((answer) => answer['00080056']?.Value?.[0]);

describe('a gateway with a cloud behind it', () => {
  it('finds what another gateway has sent, and moves it where it is wanted', async () => {
    await until('it to be found', 30_000, async () => (await find(theirs)).answers.length === 1);
    const { answers } = await find(theirs);
    expect(answers).toMatchObject([{ '00080056': { Value: ['NEARLINE'] }, '00201208': { Value: [6] } }]);
    await untilDone('it to be moved', () => {
      received.received.length = 0;
      return move(theirs);
    });
    expect(received.received.map(({ bytes }) => bytes).sort(Buffer.compare)).toEqual(bytesOf(theirs));
    expect(await availability(theirs)).toEqual(['ONLINE']);
  });

  it('gives back what it has evicted, by C-GET and on the web', async () => {
    expect(await availability(ours)).toEqual(['ONLINE']);
    await evict(ours);
    expect(await availability(ours)).toEqual(['NEARLINE']);
    let stored: Buffer[] = [];
    await untilDone('it to be had', async () => {
      const got = await get(ours);
      ({ stored } = got);
      return got;
    });
    expect(stored.sort(Buffer.compare)).toEqual(bytesOf(ours));
    await evict(ours);
    await until('the web to have it', 30_000, async () => {
      const response = await fetch(`${dicomweb.baseUrl}/studies/${studyOf(ours)}`);
      await response.body?.cancel();
      return response.ok;
    });
    for (const instance of ours) expect(await dicomweb.dataSet(instance.ref)).toEqual(Buffer.from(instance.dataSet));
    expect(await availability(ours)).toEqual(['ONLINE']);
  });

  it('shows and moves nothing of what the cloud has deleted, and says so', async () => {
    const path = `/studies/${studyOf(doomed)}`;
    expect((await find(doomed)).answers).toHaveLength(1);
    expect((await fetch(`${cloud.url}/dicomweb${path}`, { method: 'DELETE' })).status).toBe(204);
    expect((await fetch(`${cloud.url}/dicomweb${path}`)).status).toBe(410);
    // It asks at its start, and every half minute.
    await here.close();
    here = await start('here');
    dicomweb = new DicomwebClient(`http://127.0.0.1:${here.httpPort}/dicomweb`);
    await until('it to be heard of', 30_000, async () => (await fetch(`${dicomweb.baseUrl}${path}`)).status === 410);
    expect((await find(doomed)).answers).toEqual([]);
    received.received.length = 0;
    await move(doomed);
    expect(received.received).toEqual([]);
    expect(await availability(ours)).toEqual(['ONLINE']);
  });

  it('goes on with what is here when the cloud is gone, and fails the rest with a word', async () => {
    await evict(theirs);
    await cloud.close();
    expect(await availability(ours)).toEqual(['ONLINE']);
    received.received.length = 0;
    expect((await move(ours)).last).toMatchObject({ status: 0, completedSuboperations: 6 });
    expect(received.received.map(({ bytes }) => bytes).sort(Buffer.compare)).toEqual(bytesOf(ours));

    const { last } = await move(theirs);
    expect(last).toMatchObject({ status: 0xa702, failedSuboperations: 6 });
    expect(last.errorComment).toMatch(/cannot be had now/);
    const unknown = await move(makeStudy('NOBODY'));
    expect(unknown.last).toMatchObject({
      status: 0xa701,
      errorComment: expect.stringMatching(/^The cloud archive could not be asked/),
    });
    const response = await fetch(`${dicomweb.baseUrl}/studies/${studyOf(theirs)}`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '30']);
  });
});
