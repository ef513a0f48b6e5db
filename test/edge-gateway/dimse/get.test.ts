/** C-GET as SCP: what comes back, in which transfer syntax, counts, failures, cancelling, and ends in the middle of it. */
import dimse from 'dcmjs-dimse';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import type { DimseServer } from '#edge-gateway/dimse/server.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { serveArchive } from './archive-server.ts';
import { identifier, PATIENT_ROOT, type PeerOptions, QueryPeer, type Received, STUDY_ROOT } from './query-peer.ts';
import { CT_IMAGE, EXPLICIT, echoPdu, IMPLICIT, VERIFICATION } from './raw-peer.ts';

const { Client, constants, log, requests } = dimse;
log.disableAll();

const RLE = '1.2.840.10008.1.2.5';
const DEFLATED = '1.2.840.10008.1.2.1.99';
const BIG_ENDIAN = '1.2.840.10008.1.2.2';
const MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4';
const GET = CommandField.CGetRequest;

const ct = (series: string, instance: number, syntax = EXPLICIT): MadeInstance =>
  makeInstance({
    studyInstanceUid: '1.1',
    seriesInstanceUid: series,
    sopInstanceUid: `${series}.${instance}`,
    transferSyntaxUid: syntax,
    instanceNumber: instance,
    ...(syntax === RLE ? { pixels: [Uint8Array.of(1, 2, 3, 4)] } : {}),
  });
const explicit = [ct('1.1.1', 1), ct('1.1.1', 2), ct('1.1.1', 3)];
const others = [ct('1.1.2', 1, IMPLICIT), ct('1.1.2', 2, RLE), ct('1.1.2', 3, DEFLATED)];
const mr = makeInstance({ studyInstanceUid: '1.2', sopClassUid: MR_IMAGE, patientId: 'P2', modality: 'MR' });
const large = makeInstance({ studyInstanceUid: '1.3', rows: 2048, columns: 2048, frames: 3 });

let fixture: ArchiveFixture;
let server: DimseServer;
const peers: QueryPeer[] = [];
beforeAll(async () => {
  fixture = await makeArchive([...explicit, ...others, mr, large].map(({ file }) => file));
  server = await serveArchive(fixture);
});
afterAll(async () => {
  await server?.close();
  await fixture?.close();
});
afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

const receiver = (sopClassUid: string) => ({ sopClassUid, scu: false, scp: true });
const contextsFor = (...syntaxes: string[]) => [
  { abstractSyntax: `${STUDY_ROOT}3`, transferSyntaxes: [EXPLICIT] },
  ...syntaxes.map((syntax) => ({ abstractSyntax: CT_IMAGE, transferSyntaxes: [syntax] })),
];

async function open(options: Partial<PeerOptions> = {}): Promise<QueryPeer> {
  const peer = new QueryPeer(server.port, { contexts: contextsFor(EXPLICIT), roles: [receiver(CT_IMAGE)], ...options });
  peers.push(peer);
  return peer.open();
}

async function get(keys: DicomJson, options: Partial<PeerOptions> = {}, status = 0) {
  const peer = await open(options);
  peer.request(GET, keys);
  const stored: Received[] = [];
  const responses = await peer.responses((store) => {
    stored.push(store);
    return status;
  });
  const last = responses.at(-1) as Received;
  return { peer, stored, responses, last, failed: peer.json(last)['00080058']?.Value };
}

const series1 = identifier('SERIES', { '0020000D': ['UI', '1.1'], '0020000E': ['UI', '1.1.1'] });
const series2 = identifier('SERIES', { '0020000D': ['UI', '1.1'], '0020000E': ['UI', '1.1.2'] });

describe('what comes back', () => {
  it('is each instance of the series, its data set byte by byte, and a final response with counts', async () => {
    const { stored, responses, last, peer } = await get(series1);
    expect(peer.accept?.userInformation.roles).toEqual([receiver(CT_IMAGE)]);
    expect(stored.map(({ command }) => command.affectedSopInstanceUid)).toEqual(['1.1.1.1', '1.1.1.2', '1.1.1.3']);
    for (const [i, { dataSet, command }] of stored.entries()) {
      expect(dataSet?.equals(explicit[i]?.dataSet as Uint8Array)).toBe(true);
      expect(command.affectedSopClassUid).toBe(CT_IMAGE);
    }
    expect(last.command).toMatchObject({
      status: 0,
      completedSuboperations: 3,
      failedSuboperations: 0,
      warningSuboperations: 0,
    });
    expect(last.command).not.toHaveProperty('remainingSuboperations');
    expect(last.dataSet).toBeUndefined();
    expect(responses[0]?.command).toMatchObject({
      status: 0xff00,
      remainingSuboperations: 2,
      completedSuboperations: 1,
    });
  });

  it.each<[string, DicomJson, string, number]>([
    ['a study', identifier('STUDY', { '0020000D': ['UI', '1.1'] }), STUDY_ROOT, 6],
    ['a patient', identifier('PATIENT', { '00100020': ['LO', 'P1'] }), PATIENT_ROOT, 7],
    ['instances of a list', identifier('IMAGE', { '00080018': ['UI', '1.1.1.1', '1.1.1.3'] }), STUDY_ROOT, 2],
    ['a series by its UID alone', identifier('SERIES', { '0020000E': ['UI', '1.1.1'] }), STUDY_ROOT, 3],
    ['nothing', identifier('STUDY', { '0020000D': ['UI', '9.9'] }), STUDY_ROOT, 0],
  ])('is %s', async (_, keys, root, count) => {
    const contexts = [
      { abstractSyntax: `${root}3`, transferSyntaxes: [IMPLICIT] },
      ...[EXPLICIT, RLE].map((syntax) => ({ abstractSyntax: CT_IMAGE, transferSyntaxes: [syntax] })),
    ];
    const { stored, last } = await get(keys, { contexts });
    expect(stored).toHaveLength(count);
    expect(last.command).toMatchObject({ status: 0, completedSuboperations: count });
  });

  it('comes to those who select no role at all as well', async () => {
    expect((await get(series1, { roles: [] })).stored).toHaveLength(3);
  });

  it('is large, and streamed in small PDUs', async () => {
    const { stored, last } = await get(identifier('STUDY', { '0020000D': ['UI', '1.3'] }));
    expect(last.command.status).toBe(0);
    expect(stored[0]?.dataSet?.equals(large.dataSet)).toBe(true);
  });
});

describe('the transfer syntax', () => {
  it('is the stored one where it was accepted', async () => {
    const { stored, peer } = await get(series2, { contexts: contextsFor(EXPLICIT, IMPLICIT, RLE, DEFLATED) });
    expect(stored.map(({ contextId }) => peer.accepted.get(contextId))).toEqual([IMPLICIT, RLE, DEFLATED]);
    const padded = Buffer.concat([
      others[2]?.dataSet as Uint8Array,
      Buffer.alloc((others[2]?.dataSet.length ?? 0) % 2),
    ]);
    expect(stored.map(({ dataSet }) => dataSet)).toEqual([
      Buffer.from(others[0]?.dataSet as Uint8Array),
      Buffer.from(others[1]?.dataSet as Uint8Array),
      padded,
    ]);
  });

  it.each([EXPLICIT, BIG_ENDIAN])(
    'is another uncompressed one where it has to be: %s; compressed ones fail',
    async (to) => {
      const { stored, last, failed, peer } = await get(series2, { contexts: contextsFor(to) });
      expect(stored.map(({ command }) => command.affectedSopInstanceUid)).toEqual(['1.1.2.1', '1.1.2.3']);
      for (const store of stored) {
        const header = readHeader(store.dataSet as Buffer, { transferSyntaxUid: to });
        expect(header.tolerated).toEqual([]);
        expect(peer.json(store)['00200013']?.Value).toEqual([header.dataSet.number(0x00200013)]);
        expect(header.pixelData?.lengthBytes).toBe(32);
      }
      expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 2, failedSuboperations: 1 });
      expect(failed).toEqual(['1.1.2.2']);
    },
  );
});

describe('what fails', () => {
  it('is listed; A702 when nothing could be stored', async () => {
    const { last, failed, stored } = await get(identifier('STUDY', { '0020000D': ['UI', '1.2'] }));
    expect(stored).toEqual([]);
    expect(last.command).toMatchObject({ status: 0xa702, completedSuboperations: 0, failedSuboperations: 1 });
    expect(last.command.errorComment).toMatch(/not proposed/);
    expect(failed).toEqual([mr.ref.sopInstanceUid]);
  });

  it('is nothing that was stored with a warning, which is told all the same', async () => {
    const { last, failed } = await get(series1, {}, 0xb000);
    expect(last.command).toMatchObject({ status: 0xb000, warningSuboperations: 3, failedSuboperations: 0 });
    expect(failed).toBeUndefined();
  });

  it('is what the requestor refuses', async () => {
    const { last, failed } = await get(series1, {}, 0xa700);
    expect(last.command).toMatchObject({ status: 0xa702, failedSuboperations: 3 });
    expect(failed).toEqual(['1.1.1.1', '1.1.1.2', '1.1.1.3']);
  });

  it('is an instance whose pack is gone; the others come', async () => {
    const lost = makeInstance({ studyInstanceUid: '1.9', seriesInstanceUid: '1.9.1', sopInstanceUid: '1.9.1.1' });
    const kept = makeInstance({ studyInstanceUid: '1.9', seriesInstanceUid: '1.9.2', sopInstanceUid: '1.9.2.1' });
    await fixture.add([lost.file]);
    const pack = fixture.packs.at(-1);
    await fixture.add([kept.file]);
    await fixture.archive.packs.delete(packKey(fixture.tenant, pack as NonNullable<typeof pack>));
    const { last, failed, stored } = await get(identifier('STUDY', { '0020000D': ['UI', '1.9'] }));
    expect(stored).toHaveLength(1);
    expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 1, failedSuboperations: 1 });
    expect(failed).toEqual(['1.9.1.1']);
  });

  it.each<[string, DicomJson, number]>([
    ['no unique key', identifier('SERIES', { '0020000D': ['UI', '1.1'] }), 0x0020000e],
    ['all patients', identifier('PATIENT', { '00100020': ['LO', '*'] }), 0x00100020],
    ['all studies', identifier('STUDY', { '0020000D': ['UI', '*'] }), 0x0020000d],
    ['no level', {}, 0x00080052],
  ])('is an identifier with %s: A900', async (_, keys, tag) => {
    const contexts = [{ abstractSyntax: `${PATIENT_ROOT}3`, transferSyntaxes: [IMPLICIT] }];
    const { last } = await get({ '00100010': { vr: 'PN' }, ...keys }, { contexts });
    expect(last.command).toMatchObject({ status: 0xa900, offendingElements: [tag] });
  });
});

describe('while it goes on', () => {
  it('can be cancelled: FE00 with what remains', async () => {
    const peer = await open();
    peer.request(GET, series1, { messageId: 9 });
    const responses = await peer.responses(() => {
      peer.cancel(9);
      return 0;
    });
    expect(responses.at(-1)?.command).toMatchObject({
      status: 0xfe00,
      completedSuboperations: 1,
      remainingSuboperations: 2,
    });
  });

  it('other requests are answered', async () => {
    const peer = await open({
      contexts: [...contextsFor(EXPLICIT), { abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }],
    });
    peer.request(GET, series1, { messageId: 9 });
    const store = await peer.next();
    expect(store.command.commandField).toBe(CommandField.CStoreRequest);
    peer.raw.send(echoPdu(77, 5));
    expect((await peer.next()).command).toMatchObject({ commandField: 0x8030, messageIdBeingRespondedTo: 77 });
  });

  it('a release before the answer to a C-STORE is a violation, and ends it', async () => {
    const peer = await open();
    peer.request(GET, series1);
    await peer.next();
    peer.raw.send(Buffer.from('05000000000400000000', 'hex'));
    expect((await peer.raw.next())[0]).toBe(7);
    await peer.raw.closed();
  });

  it('a peer that goes away in the middle of a large one costs nobody else anything', async () => {
    const peer = await open();
    peer.request(GET, identifier('STUDY', { '0020000D': ['UI', '1.3'] }));
    await peer.raw.next();
    peer.close();
    expect((await get(series1)).last.command.status).toBe(0);
  });

  it('an answer to something else ends the association', async () => {
    const peer = await open();
    peer.request(GET, series1);
    const store = await peer.next();
    peer.send(store.contextId, {
      commandField: 0x8001,
      messageIdBeingRespondedTo: 4711,
      dataSetType: 0x0101,
      status: 0,
    });
    expect((await peer.raw.next())[0]).toBe(7);
  });
});

describe('dcmjs-dimse as the requestor', () => {
  it('gets a series', async () => {
    const found: string[] = [];
    const client = new Client();
    const request = requests.CGetRequest.createSeriesGetRequest('1.1', '1.1.1');
    const statuses: number[] = [];
    request.on('response', (response: { getStatus(): number }) => statuses.push(response.getStatus()));
    client.on('cStoreRequest', (store, callback) => {
      found.push(String(store.getAffectedSopInstanceUid()));
      const response = dimse.responses.CStoreResponse.fromRequest(store);
      response.setStatus(constants.Status.Success);
      callback(response);
    });
    client.addRequest(request);
    await new Promise<void>((resolve, reject) => {
      client.on('closed', () => resolve());
      client.on('networkError', reject);
      client.send('127.0.0.1', server.port, 'DCMJS', 'ARCHIPEL');
    });
    expect(found).toEqual(['1.1.1.1', '1.1.1.2', '1.1.1.3']);
    expect(statuses.at(-1)).toBe(0);
  });
});
