/** C-FIND as SCP: levels, keys, character sets, extended negotiation, refusals. Many answers are find-many.test.ts. */
import dimse from 'dcmjs-dimse';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import type { DimseServer } from '#edge-gateway/dimse/server.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';
import { serveArchive } from './archive-server.ts';
import { identifier, PATIENT_ROOT, type PeerOptions, QueryPeer, type Received, STUDY_ROOT } from './query-peer.ts';
import { EXPLICIT, IMPLICIT, VERIFICATION } from './raw-peer.ts';

const { Client, log, requests } = dimse;
log.disableAll();

const BIG_ENDIAN = '1.2.840.10008.1.2.2';
const FIND = CommandField.CFindRequest;
const studyFind = [{ abstractSyntax: `${STUDY_ROOT}1`, transferSyntaxes: [EXPLICIT, IMPLICIT] }];
const patientFind = [{ abstractSyntax: `${PATIENT_ROOT}1`, transferSyntaxes: [IMPLICIT] }];

const instances: InstanceOptions[] = [
  { studyInstanceUid: '1.1', seriesInstanceUid: '1.1.1', sopInstanceUid: '1.1.1.1', patientId: 'P1', patientName: 'Müller^Jörg', characterSet: 'ISO_IR 192', modality: 'CT', studyDate: '20240101', instanceNumber: 1 },
  { studyInstanceUid: '1.1', seriesInstanceUid: '1.1.1', sopInstanceUid: '1.1.1.2', patientId: 'P1', patientName: 'Müller^Jörg', characterSet: 'ISO_IR 192', modality: 'CT', studyDate: '20240101', instanceNumber: 2 },
  { studyInstanceUid: '1.1', seriesInstanceUid: '1.1.2', sopInstanceUid: '1.1.2.1', patientId: 'P1', patientName: 'Müller^Jörg', characterSet: 'ISO_IR 192', modality: 'SR', studyDate: '20240101' },
  { studyInstanceUid: '1.2', seriesInstanceUid: '1.2.1', sopInstanceUid: '1.2.1.1', patientId: 'P1', patientName: 'Müller^Jörg', characterSet: 'ISO_IR 192', modality: 'MR', studyDate: '20240301' },
  { studyInstanceUid: '1.3', seriesInstanceUid: '1.3.1', sopInstanceUid: '1.3.1.1', patientId: 'P2', patientName: 'Yamada^Tarou=山田^太郎=やまだ^たろう', characterSet: 'ISO_IR 192', modality: 'US', studyDate: '20240201', accessionNumber: 'A2' },
]; // biome-ignore format: a table reads better

let fixture: ArchiveFixture;
let server: DimseServer;
const peers: QueryPeer[] = [];

beforeAll(async () => {
  fixture = await makeArchive(instances.map((options) => makeInstance(options).file));
  server = await serveArchive(fixture);
});
afterAll(async () => {
  await server?.close();
  await fixture?.close();
});
afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

async function open(options: Partial<PeerOptions> = {}): Promise<QueryPeer> {
  const peer = new QueryPeer(server.port, { contexts: studyFind, ...options });
  peers.push(peer);
  return peer.open();
}

/** Asks and answers what was found, and the last status. */
async function find(
  keys: DicomJson,
  options: Partial<PeerOptions> & { characterSets?: string[] } = {},
): Promise<{ found: DicomJson[]; pending: number[]; last: Received; raw: Received[] }> {
  const peer = await open(options);
  peer.request(FIND, keys, options.characterSets === undefined ? {} : { characterSets: options.characterSets });
  const responses = await peer.responses();
  const raw = responses.slice(0, -1);
  return {
    found: raw.map((response) => peer.json(response)),
    pending: raw.map(({ command }) => command.status ?? -1),
    last: responses.at(-1) as Received,
    raw,
  };
}

const value = (json: DicomJson | undefined, tag: string): unknown => json?.[tag]?.Value?.[0];

describe('what is found', () => {
  it('at the level of studies is what was asked for, the unique key and how to retrieve it, and nothing else', async () => {
    const { found, pending, last } = await find(
      identifier('STUDY', {
        '00100020': ['LO', 'P1'],
        '00100010': ['PN'],
        '00080061': ['CS'],
        '00201206': ['IS'],
        '00201208': ['IS'],
        '00080090': ['PN'],
      }),
      { characterSets: ['ISO_IR 100'] },
    );
    expect(last.command).toMatchObject({ status: 0, commandField: 0x8020, messageIdBeingRespondedTo: 1 });
    expect(pending).toEqual([0xff00, 0xff00]);
    expect(found).toEqual([
      {
        '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
        '00080052': { vr: 'CS', Value: ['STUDY'] },
        '00080054': { vr: 'AE', Value: ['ARCHIPEL'] },
        '00080056': { vr: 'CS', Value: ['ONLINE'] },
        '00080061': { vr: 'CS', Value: ['MR'] },
        '00080090': { vr: 'PN' },
        '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Müller^Jörg' }] },
        '00100020': { vr: 'LO', Value: ['P1'] },
        '0020000D': { vr: 'UI', Value: ['1.2'] },
        '00201206': { vr: 'IS', Value: [1] },
        '00201208': { vr: 'IS', Value: [1] },
      },
      expect.objectContaining({
        '00080061': { vr: 'CS', Value: ['CT', 'SR'] },
        '0020000D': { vr: 'UI', Value: ['1.1'] },
        '00201206': { vr: 'IS', Value: [2] },
        '00201208': { vr: 'IS', Value: [3] },
      }),
    ]);
  });

  it.each<[string, DicomJson, string, unknown[]]>([
    ['series of a study', identifier('SERIES', { '0020000D': ['UI', '1.1'], '00080060': ['CS'] }), '0020000E', ['1.1.1', '1.1.2']],
    ['series by their own key alone', identifier('SERIES', { '00080060': ['CS', 'SR'] }), '0020000E', ['1.1.2']],
    ['instances of a series', identifier('IMAGE', { '0020000D': ['UI', '1.1'], '0020000E': ['UI', '1.1.1'] }), '00080018', ['1.1.1.1', '1.1.1.2']],
    ['instances by a list of UIDs', identifier('IMAGE', { '00080018': ['UI', '1.1.1.2', '1.3.1.1', '9.9'] }), '00080018', ['1.1.1.2', '1.3.1.1']],
    ['an instance by its number', identifier('IMAGE', { '0020000E': ['UI', '1.1.1'], '00200013': ['IS', 2] }), '00080018', ['1.1.1.2']],
    ['studies by a list of UIDs', identifier('STUDY', { '0020000D': ['UI', '1.1', '1.3'] }), '0020000D', ['1.3', '1.1']],
    ['studies of a range of dates', identifier('STUDY', { '00080020': ['DA', '20240115-20240215'] }), '0020000D', ['1.3']],
    ['studies with any of the modalities', identifier('STUDY', { '00080061': ['CS', 'SR', 'US'] }), '0020000D', ['1.3', '1.1']],
    ['studies by the Modality of their series', identifier('STUDY', { '00080060': ['CS', 'MR'] }), '0020000D', ['1.2']],
    ['names by wild cards, case and accents apart', identifier('STUDY', { '00100010': ['PN', { Alphabetic: 'mull*' }] }), '0020000D', ['1.2', '1.1']],
    ['names in any component group', identifier('STUDY', { '00100010': ['PN', { Alphabetic: '山田*' }] }), '0020000D', ['1.3']],
    ['everything, where nothing is asked', identifier('STUDY', {}), '0020000D', ['1.2', '1.3', '1.1']],
    ['nothing', identifier('STUDY', { '00080050': ['SH', 'NOSUCH'] }), '0020000D', []],
  ])('%s', async (_, keys, tag, expected) => {
    const { found, last } = await find(keys);
    expect(last.command.status).toBe(0);
    expect(found.map((match) => value(match, tag))).toEqual(expected);
  }); // biome-ignore format: a table reads better

  it('at the level of patients is each patient once, counted when that is asked for', async () => {
    const { found, pending } = await find(
      identifier('PATIENT', { '00100010': ['PN'], '00201200': ['IS'], '00201202': ['IS'], '00201204': ['IS'] }),
      { contexts: patientFind },
    );
    expect(pending).toEqual([0xff00, 0xff00]);
    expect(found.map((match) => [value(match, '00100020'), value(match, '00201200'), value(match, '00201202'), value(match, '00201204')])).toEqual([
      ['P1', 2, 3, 4],
      ['P2', 1, 1, 1],
    ]);
  }); // biome-ignore format: a row to a patient

  it('of Patient Root names its patient at every level', async () => {
    const { found } = await find(identifier('IMAGE', { '00080018': ['UI', '1.3.1.1'] }), { contexts: patientFind });
    expect(['00100020', '0020000D', '0020000E', '00080018'].map((tag) => value(found[0], tag))).toEqual([
      'P2',
      '1.3',
      '1.3.1',
      '1.3.1.1',
    ]);
  });

  it.each([EXPLICIT, IMPLICIT, BIG_ENDIAN])('comes in the transfer syntax of the context: %s', async (syntax) => {
    const { found } = await find(identifier('STUDY', { '0020000D': ['UI', '1.3'], '00100010': ['PN'] }), {
      contexts: [{ abstractSyntax: `${STUDY_ROOT}1`, transferSyntaxes: [syntax] }],
    });
    expect(found[0]?.['00100010']?.Value).toEqual([
      { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' },
    ]);
  });
});

describe('character sets', () => {
  const sets = async (characterSets: string[], study: string) => {
    const { raw, found } = await find(identifier('STUDY', { '0020000D': ['UI', study], '00100010': ['PN'] }), {
      characterSets,
    });
    const header = readHeader(raw[0]?.dataSet as Buffer, { transferSyntaxUid: EXPLICIT });
    return { said: header.dataSet.ascii(0x00080005), name: found[0]?.['00100010']?.Value?.[0] };
  };
  it.each([
    [['ISO_IR 100'], '1.1', 'ISO_IR 100'],
    [['ISO_IR 100'], '1.3', 'ISO_IR 192'],
    [['', 'ISO 2022 IR 87'], '1.3', '\\ISO 2022 IR 87'],
    [['GB18030'], '1.1', 'GB18030'],
    [['ISO_IR 192'], '1.3', 'ISO_IR 192'],
  ])('%j asked, %s: %s', async (asked, study, said) => {
    const answer = await sets(asked, study);
    expect(answer.said).toBe(said);
    expect(answer.name).toEqual(
      study === '1.1'
        ? { Alphabetic: 'Müller^Jörg' }
        : { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' },
    );
  });

  it('of the keys are those that the identifier names', async () => {
    const { found } = await find(identifier('STUDY', { '00100010': ['PN', { Alphabetic: 'MÜLLER*' }] }), {
      characterSets: ['ISO_IR 100'],
    });
    expect(found).toHaveLength(2);
  });
});

describe('what is not as it should be', () => {
  it('is a key that is not supported: FF01, and it does not come back', async () => {
    const { found, pending } = await find(
      identifier('STUDY', { '0020000D': ['UI', '1.1'], '00101040': ['LO'], '00100020': ['LO'] }),
    );
    expect(pending).toEqual([0xff01]);
    expect(found[0]).not.toHaveProperty('00101040');
  });

  it.each<[string, DicomJson, number, number[] | undefined]>([
    ['no level', { '0020000D': { vr: 'UI' } }, 0xa900, [0x00080052]],
    ['a level that there is not', identifier('FRAME', {}), 0xa900, [0x00080052]],
    ['patients in Study Root', identifier('PATIENT', {}), 0xa900, [0x00080052]],
    ['a date that is none', identifier('STUDY', { '00080020': ['DA', 'yesterday'] }), 0xa900, [0x00080020]],
  ])('%s', async (_, keys, status, offendingElements) => {
    const { last } = await find(keys);
    expect(last.command.status).toBe(status);
    expect(last.command.offendingElements).toEqual(offendingElements);
    expect(last.command.errorComment).toMatch(/\w/);
  });

  it('is an identifier that is no data set: C000 with a sentence, and the association goes on', async () => {
    const peer = await open();
    peer.send(1, { commandField: FIND, messageId: 7, dataSetType: 1 }, Buffer.alloc(40, 0xff));
    const [refused] = await peer.responses();
    expect(refused?.command).toMatchObject({ status: 0xc000, messageIdBeingRespondedTo: 7 });
    expect(refused?.command.errorComment).toMatch(/identifier/);
    peer.request(FIND, identifier('STUDY', { '0020000D': ['UI', '1.1'] }), { messageId: 8 });
    expect((await peer.responses()).map(({ command }) => command.status)).toEqual([0xff00, 0]);
  });

  it('is a request without an identifier: A900', async () => {
    const peer = await open();
    peer.send(1, { commandField: FIND, messageId: 1, dataSetType: 0x0101 });
    expect((await peer.responses())[0]?.command.status).toBe(0xa900);
  });

  it('is a context of another service: C-FIND is refused on it', async () => {
    const peer = await open({ contexts: [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }] });
    peer.request(FIND, identifier('STUDY', {}));
    expect((await peer.responses())[0]?.command.status).toBe(0x0122);
  });
});

describe('extended negotiation', () => {
  it('agrees to relational queries and combined date-time matching, and to no more', async () => {
    const sopClassUid = `${STUDY_ROOT}1`;
    const peer = await open({ extendedNegotiation: [{ sopClassUid, information: Uint8Array.of(1, 1, 1, 1) }] });
    const [agreed] = peer.accept?.userInformation.extendedNegotiation ?? [];
    expect(agreed).toEqual({ sopClassUid, information: Uint8Array.of(1, 1, 0, 0) });
  });

  it.each([
    [1, ['1.2', '1.3', '1.1']],
    [0, []],
  ])('makes ranges of date and time one range: %i', async (combined, expected) => {
    const keys = identifier('STUDY', { '00080020': ['DA', '20240101-20240301'], '00080030': ['TM', '100000-080000'] });
    const extendedNegotiation = [{ sopClassUid: `${STUDY_ROOT}1`, information: Uint8Array.of(1, combined) }];
    const { found } = await find(keys, { extendedNegotiation });
    // From the first day at ten to the last day at eight: the last study, at a quarter past ten, is too late.
    const days = expected.filter((uid) => uid !== '1.2');
    expect(found.map((match) => value(match, '0020000D'))).toEqual(days);
  });
});

describe('dcmjs-dimse as the requestor', () => {
  it('finds studies', async () => {
    const found: Record<string, unknown>[] = [];
    const client = new Client();
    const request = requests.CFindRequest.createStudyFindRequest({ PatientID: 'P1', StudyInstanceUID: '' });
    request.on('response', (response: { getDataset(): { getElements(): Record<string, unknown> } | undefined }) => {
      const dataset = response.getDataset();
      if (dataset !== undefined) found.push(dataset.getElements());
    });
    client.addRequest(request);
    await new Promise<void>((resolve, reject) => {
      client.on('closed', () => resolve());
      client.on('networkError', reject);
      client.send('127.0.0.1', server.port, 'DCMJS', 'ARCHIPEL');
    });
    expect(found.map((match) => match.StudyInstanceUID)).toEqual(['1.2', '1.1']);
  });
});
