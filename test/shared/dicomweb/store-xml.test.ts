/**
 * Storing instances whose metadata are XML (PS3.18 §10.5.1, PS3.19 Annex A.1), over a gateway's receiver and the cloud's: what WADO-RS gives is
 * taken back, XML and JSON of the same content become the same bytes, and the answer is XML for who asks for it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { dicomXml } from '#shared/dicom/dicom-xml.ts';
import { readDicomXml } from '#shared/dicom/dicom-xml-reader.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { dataSets } from '#test/support/data-sets.ts';
import { CT_IMAGE_STORAGE, freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { TENANT } from '../../edge-gateway/cache/receiving.ts';
import { ask, bytesOf } from './ask.ts';
import { partsOf } from './read-multipart.ts';
import { answerOf, multipartOf, post, type SentPart, type StoreAnswer, urlOf } from './storing.ts';
import { dataSetAt, type StoringPlace, storingPlaces } from './storing-places.ts';

const multipartXml = 'multipart/related; type="application/dicom+xml"; boundary=b';
const xmlPart = (json: DicomJson, headers = {}): SentPart => ({
  headers: { 'Content-Type': 'application/dicom+xml', ...headers },
  body: Buffer.from(dicomXml(json)),
});
const bulkPart = (location: string, body: Uint8Array, type = 'application/octet-stream'): SentPart => ({
  headers: { 'Content-Type': type, 'Content-Location': location },
  body,
});

type Minimal = { json: DicomJson; ref: MadeInstance['ref'] };
function minimal(more: DicomJson = {}): Minimal {
  const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid(), sopInstanceUid: freshUid() };
  const uids = { '00080018': ref.sopInstanceUid, '0020000D': ref.studyInstanceUid, '0020000E': ref.seriesInstanceUid };
  const json: DicomJson = { '00080016': { vr: 'UI', Value: [CT_IMAGE_STORAGE] }, ...more };
  for (const [key, uid] of Object.entries(uids)) json[key] = { vr: 'UI', Value: [uid] };
  return { json, ref };
}
const withUid = (json: DicomJson, uid: string): DicomJson => ({ ...json, '00080018': { vr: 'UI', Value: [uid] } });

describe.each(storingPlaces)('at $place: metadata in XML', ({ start }) => {
  let at: StoringPlace;
  let service: Service;
  beforeAll(async () => {
    at = await start();
    service = at.service();
  });
  afterAll(() => at[Symbol.asyncDispose]());

  const send = (parts: readonly SentPart[], headers: Record<string, string> = {}): Promise<Response> =>
    post(service, '/studies', multipartOf(parts), { 'content-type': multipartXml, ...headers });
  const store = async (parts: readonly SentPart[]): Promise<StoreAnswer> => answerOf(await send(parts));

  it('as WADO-RS gives them are taken back with their bulk data, and mean the same', async () => {
    const made = makeInstance({
      rows: 64,
      columns: 64,
      frames: 2,
      patientName: 'Müller^Jürgen=山田^太郎',
      characterSet: 'ISO_IR 192',
      extra: [
        { tag: 0x00290010, vr: 'LO', value: 'ACME' },
        { tag: 0x00291008, vr: 'LO', value: 'private' },
        { tag: 0x00420011, vr: 'OB', value: Buffer.alloc(5000, 'a document') },
      ],
    });
    await post(service, '/studies', made.file, { 'content-type': 'application/dicom' });
    const metadataOf = async (ref: MadeInstance['ref']): Promise<DicomJson> => {
      const accept = 'multipart/related; type="application/dicom+xml"';
      const [part] = await partsOf(await ask(service, `${urlOf({ ref } as MadeInstance)}/metadata`, { accept }));
      return readDicomXml(part!.body.toString());
    };
    const json = await metadataOf(made.ref);
    const ref = { ...made.ref, sopInstanceUid: freshUid() };
    const bulk: SentPart[] = [];
    for (const { BulkDataURI } of Object.values(json)) {
      if (BulkDataURI !== undefined) bulk.push(bulkPart(BulkDataURI, await bytesOf(await ask(service, BulkDataURI))));
    }
    expect(bulk).toHaveLength(2);
    expect((await store([xmlPart(withUid(json, ref.sopInstanceUid)), ...bulk])).status).toBe(200);
    const back = JSON.stringify(await metadataOf(ref)).replaceAll(ref.sopInstanceUid, made.ref.sopInstanceUid);
    expect(back).toBe(JSON.stringify(json));
  });

  it('become the same bytes as in JSON', async () => {
    await fc.assert(
      fc.asyncProperty(dataSets, async (more) => {
        const { json, ref } = minimal(more);
        const body = Buffer.from(JSON.stringify([json]));
        const stored = await answerOf(
          await post(service, '/studies', body, { 'content-type': 'application/dicom+json' }),
        );
        expect(stored.status).toBe(200);
        expect((await dataSetAt(at, ref))?.length).toBeGreaterThan(100);
        // The same data set is a duplicate (200); another one of that UID is a conflict (202).
        expect((await store([xmlPart(json)])).status).toBe(200);
      }),
      { numRuns: 8 },
    );
  });

  it('are a part for each instance, before, between or behind the bulk data', async () => {
    const [one, two] = [minimal({ '00091001': { vr: 'OB', BulkDataURI: 'x' } }), minimal()];
    const answer = await store([xmlPart(one.json), bulkPart('x', Buffer.from('bulk')), xmlPart(two.json)]);
    expect([answer.status, answer.stored.length]).toEqual([200, 2]);
    expect(Buffer.from((await dataSetAt(at, one.ref))!).includes('bulk')).toBe(true);
  });

  it('may come alone', async () => {
    const { json, ref } = minimal({ '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Ξ^Ω' }] } });
    const response = await post(service, '/studies', Buffer.from(dicomXml(json)), {
      'content-type': 'application/dicom+xml; charset=UTF-8',
    });
    expect((await answerOf(response)).status).toBe(200);
    expect((await dataSetAt(at, ref))!.includes('Ξ^Ω')).toBe(true);
  });

  it('may have compressed frames as bulk data', async () => {
    const { json, ref } = minimal({
      '00280008': { vr: 'IS', Value: [2] },
      '7FE00010': { vr: 'OB', BulkDataURI: 'pixels' },
    });
    const frames = [1, 2].map((n) => bulkPart(`pixels/frames/${n}`, Buffer.alloc(8, n), 'image/dicom-rle'));
    expect((await store([xmlPart(json), ...frames])).status).toBe(200);
    expect(await at.archive.index.getInstance(TENANT, ref)).toMatchObject({
      transferSyntaxUid: '1.2.840.10008.1.2.5',
    });
  });

  it('are answered in XML when asked for, in one part or bare, also where they are refused', async () => {
    const { json, ref } = minimal();
    const bare = await send([xmlPart(json)], { accept: 'application/dicom+xml' });
    expect([bare.status, bare.headers.get('content-type')]).toEqual([200, 'application/dicom+xml']);
    const module = readDicomXml(await bare.text());
    expect(module['00081199']?.Value).toMatchObject([{ '00081155': { vr: 'UI', Value: [ref.sopInstanceUid] } }]);
    const accept = 'multipart/related; type="application/dicom+xml"';
    const bad = await send([xmlPart(minimal({ '00280010': { vr: 'US', Value: ['many'] } }).json)], { accept });
    expect(bad.status).toBe(400);
    const parts = await partsOf(bad);
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual(['application/dicom+xml']);
    expect(readDicomXml(parts[0]!.body.toString())['00081198']?.Value?.[0]).toMatchObject({
      '00081197': { vr: 'US', Value: [0xc000] },
    });
  });

  const raw = (text: string | Buffer): SentPart => ({
    headers: { 'Content-Type': 'application/dicom+xml' },
    body: Buffer.from(text),
  });
  it.each<[string, number, () => SentPart[]]>([
    ['nothing', 400, () => [raw('')]],
    ['JSON in XML’s place', 400, () => [raw('[{}]')]],
    ['half a document', 400, () => [raw(dicomXml(minimal().json).slice(0, -30))]],
    ['no UTF-8', 400, () => [raw(Buffer.from('<NativeDicomModel>\xff</NativeDicomModel>', 'latin1'))]],
    ['half a character', 400, () => [raw(Buffer.concat([Buffer.from(dicomXml({})), Buffer.of(0xe4)]))]],
    ['a document type declaration', 400, () => [raw(`<!DOCTYPE x>${dicomXml(minimal().json)}`)]],
    ['bulk data first', 400, () => [bulkPart('x', Buffer.alloc(1)), xmlPart(minimal().json)]],
    ['one good and one bad document', 400, () => [xmlPart(minimal().json), raw('<html/>')]],
    [
      'compressed XML',
      415,
      () => [
        { headers: { 'Content-Type': 'application/dicom+xml', 'Content-Encoding': 'gzip' }, body: Buffer.alloc(9) },
      ],
    ],
  ])('are refused as a body of %s', async (_, status, parts) => {
    const response = await send(parts());
    expect(response.status).toBe(status);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
  });
});
