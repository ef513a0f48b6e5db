/**
 * STOW-RS of DICOM JSON with bulk data: what WADO-RS gives as metadata, bulk data and frames is taken back and means the same; what is
 * no metadata is refused, and what requests hold is bounded.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import {
  CT_IMAGE_STORAGE,
  freshUid,
  type InstanceOptions,
  type MadeInstance,
  makeInstance,
} from '#test/support/dicom-factory.ts';
import { TENANT } from '../../edge-gateway/cache/receiving.ts';
import { ask, base, bytesOf } from './ask.ts';
import { partsOf } from './read-multipart.ts';
import { answerOf, multipartOf, post, type SentPart, type StoreAnswer, streamOf, urlOf } from './storing.ts';
import { dataSetAt, type StoringPlace, storingPlaces } from './storing-places.ts';

const MIB = 1024 * 1024;
const multipartJson = 'multipart/related; type="application/dicom+json"; boundary=b';

describe.each(storingPlaces)('at $place:', ({ place, start }) => {
  let at: StoringPlace;
  let service: Service;
  beforeAll(async () => {
    at = await start();
    service = at.service();
  });
  afterAll(() => at[Symbol.asyncDispose]());

  const jsonPart = (json: unknown): SentPart => ({
    headers: { 'Content-Type': 'application/dicom+json' },
    body: Buffer.from(JSON.stringify(json)),
  });
  const bulkPart = (location: string, body: Uint8Array, type = 'application/octet-stream'): SentPart => ({
    headers: { 'Content-Type': type, 'Content-Location': location },
    body,
  });
  const store = async (parts: readonly SentPart[], path = '/studies'): Promise<StoreAnswer> =>
    answerOf(await post(service, path, multipartOf(parts), { 'content-type': multipartJson }));

  async function metadataOf(made: Pick<MadeInstance, 'ref'>): Promise<DicomJson> {
    const url = urlOf(made as MadeInstance);
    const [json] = (await (await ask(service, `${url}/metadata`)).json()) as DicomJson[];
    return json!;
  }
  async function framesOf(
    made: Pick<MadeInstance, 'ref'>,
    list: string,
    type = 'application/octet-stream',
  ): Promise<Buffer[]> {
    const accept = `multipart/related; type="${type}"; transfer-syntax=*`;
    const parts = await partsOf(await ask(service, `${urlOf(made as MadeInstance)}/frames/${list}`, { accept }));
    return parts.map(({ body }) => body);
  }

  /** The least that an instance may be. */
  function minimal(more: DicomJson = {}): { json: DicomJson; ref: MadeInstance['ref'] } {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid(), sopInstanceUid: freshUid() };
    const json: DicomJson = {
      '00080016': { vr: 'UI', Value: [CT_IMAGE_STORAGE] },
      '00080018': { vr: 'UI', Value: [ref.sopInstanceUid] },
      '0020000D': { vr: 'UI', Value: [ref.studyInstanceUid] },
      '0020000E': { vr: 'UI', Value: [ref.seriesInstanceUid] },
      ...more,
    };
    return { json, ref };
  }

  describe('metadata and bulk data', () => {
    it('as WADO-RS gives them are taken back and mean the same', async () => {
      const options: InstanceOptions = {
        rows: 64,
        columns: 64,
        frames: 2,
        patientName: 'Müller^Jürgen=山田^太郎',
        characterSet: 'ISO_IR 192',
        extra: [{ tag: 0x00420011, vr: 'OB', value: Buffer.alloc(5000, 'a document') }],
      };
      const made = makeInstance(options);
      await post(service, '/studies', made.file, { 'content-type': 'application/dicom' });
      const json = await metadataOf(made);
      const ref = { ...made.ref, sopInstanceUid: freshUid() };
      json['00080018'] = { vr: 'UI', Value: [ref.sopInstanceUid] };
      const bulk: SentPart[] = [];
      for (const { BulkDataURI } of Object.values(json)) {
        if (BulkDataURI === undefined) continue;
        bulk.push(bulkPart(BulkDataURI, await bytesOf(await ask(service, BulkDataURI))));
      }
      expect(bulk).toHaveLength(2);
      expect(await store([jsonPart([json]), ...bulk], `/studies/${ref.studyInstanceUid}`)).toMatchObject({
        status: 200,
        stored: [[CT_IMAGE_STORAGE, ref.sopInstanceUid, urlOf({ ref } as MadeInstance)]],
      });
      const renamed = (metadata: DicomJson): string =>
        JSON.stringify(metadata).replaceAll(ref.sopInstanceUid, made.ref.sopInstanceUid);
      expect(renamed(await metadataOf({ ref }))).toBe(renamed(await metadataOf(made)));
      expect(await framesOf({ ref }, '1,2')).toEqual(await framesOf(made, '1,2'));
    });

    it('are several instances, and may come without any bulk data, alone', async () => {
      const [one, two] = [minimal(), minimal()];
      expect((await store([jsonPart([one.json, two.json])])).stored).toHaveLength(2);
      const alone = minimal({ '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Ξ^Ω' }] } });
      const headers = { 'content-type': 'application/dicom+json' };
      const response = await post(service, '/studies', Buffer.from(JSON.stringify(alone.json)), headers);
      expect((await answerOf(response)).status).toBe(200);
      const found = await metadataOf(alone);
      expect([found['00100010'], found['00080005']]).toEqual([
        { vr: 'PN', Value: [{ Alphabetic: 'Ξ^Ω' }] },
        { vr: 'CS', Value: ['ISO_IR 192'] },
      ]);
    });

    const frames = [Buffer.from([0xff, 0xd8, 0xff, 0xd9]), Buffer.from([0xff, 0xd8, 1, 2, 3]), Buffer.alloc(1000, 7)];
    const jpeg = (sof: number): Buffer =>
      Buffer.from([
        0xff,
        0xd8,
        0xff,
        sof,
        0,
        11,
        8,
        0,
        16,
        0,
        16,
        1,
        1,
        0x11,
        0,
        0xff,
        0xda,
        0,
        8,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0xff,
        0xd9,
      ]);

    it.each<[string, string, DicomJson, string]>([
      ['named', 'image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91', {}, '1.2.840.10008.1.2.4.91'],
      ['by default', 'image/dicom-rle', {}, '1.2.840.10008.1.2.5'],
      [
        'by the metadata',
        'image/jls',
        { '00020010': { vr: 'UI', Value: ['1.2.840.10008.1.2.4.81'] } },
        '1.2.840.10008.1.2.4.81',
      ],
    ])('may be compressed frames, their transfer syntax %s', async (_, type, more, transferSyntaxUid) => {
      const { json, ref } = minimal({
        ...more,
        '00280008': { vr: 'IS', Value: [frames.length] },
        '7FE00010': { vr: 'OB', BulkDataURI: 'bulk/pixels' },
      });
      const answer = await store([jsonPart([json]), ...frames.map((frame) => bulkPart('bulk/pixels', frame, type))]);
      expect(answer.status).toBe(200);
      expect(await at.archive.index.getInstance(TENANT, ref)).toMatchObject({ transferSyntaxUid });
      const even = frames.map((frame) => Buffer.concat([frame, Buffer.alloc(frame.length % 2)]));
      expect(await framesOf({ ref }, '1,2,3', type.split(';')[0])).toEqual(even);
    });

    it.each([
      [0xc0, '1.2.840.10008.1.2.4.50'],
      [0xc1, '1.2.840.10008.1.2.4.51'],
      [0xc3, '1.2.840.10008.1.2.4.70'],
    ])('may be JPEG frames with process %i, which say which they are', async (sof, transferSyntaxUid) => {
      const { json, ref } = minimal({ '7FE00010': { vr: 'OB', BulkDataURI: `${base}/pixels` } });
      expect(
        (await store([jsonPart(json), bulkPart('/dicomweb/pixels/frames/1', jpeg(sof), 'image/jpeg')])).status,
      ).toBe(200);
      expect(await at.archive.index.getInstance(TENANT, ref)).toMatchObject({ transferSyntaxUid });
    });

    it('may come in chunks of any size', async () => {
      const pixels = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i * 7));
      for (const chunkBytes of [1, 1000, 20_000, 100_000]) {
        const { json, ref } = minimal({
          '00280010': { vr: 'US', Value: [100] },
          '00280011': { vr: 'US', Value: [500] },
          '00280100': { vr: 'US', Value: [8] },
          '7FE00010': { vr: 'OB', BulkDataURI: 'x' },
        });
        const body = streamOf(multipartOf([jsonPart([json]), bulkPart('x', pixels)]), chunkBytes);
        const response = await post(service, '/studies', body, { 'content-type': multipartJson });
        expect((await answerOf(response)).status).toBe(200);
        expect(Buffer.compare(await dataSetAt(at, ref).then((found) => found!.subarray(-pixels.length)), pixels)).toBe(
          0,
        );
      }
    });

    it('are enforced to be of the study of the URL', async () => {
      const { json, ref } = minimal();
      expect(await store([jsonPart([json])], `/studies/${freshUid()}`)).toMatchObject({
        status: 409,
        failed: [[CT_IMAGE_STORAGE, ref.sopInstanceUid, 43_265]],
      });
    });
  });

  describe('refused', () => {
    it.each<[string, readonly string[]]>([
      ['the last', ['p/frames/1', 'p/frames/2']],
      ['one in the middle', ['p/frames/1', 'p/frames/3']],
      ['one of those under one name', ['p', 'p']],
    ])('is an instance of whose frames %s did not come', async (_, locations) => {
      const { json } = minimal({ '00280008': { vr: 'IS', Value: [3] }, '7FE00010': { vr: 'OB', BulkDataURI: 'p' } });
      const bulk = locations.map((location) => bulkPart(location, Buffer.alloc(4), 'image/dicom-rle'));
      expect(await store([jsonPart(json), ...bulk])).toMatchObject({ status: 400, stored: [] });
    });

    const native = (frames: number, more: DicomJson = {}): DicomJson => ({
      '00280002': { vr: 'US', Value: [1] },
      '00280008': { vr: 'IS', Value: [frames] },
      '00280010': { vr: 'US', Value: [10] },
      '00280011': { vr: 'US', Value: [5] },
      '00280100': { vr: 'US', Value: [16] },
      '7FE00010': { vr: 'OW', BulkDataURI: 'p' },
      ...more,
    });

    it.each<[string, readonly number[], DicomJson]>([
      ['3 frames in one part', [299], native(3)],
      ['one frame', [99], native(1)],
      ['one of the frames', [100, 98, 100], native(3)],
      ['3 frames of one bit', [18], native(3, { '00280100': { vr: 'US', Value: [1] } })],
      [
        'frames in its text',
        [],
        native(2, { '7FE00010': { vr: 'OW', InlineBinary: Buffer.alloc(198).toString('base64') } }),
      ],
      ['frames, which are padded', [102, 102], native(2)],
      ['frames of one bit in parts of their own', [7, 7], native(2, { '00280100': { vr: 'US', Value: [1] } })],
    ])('is an instance without all bytes of its uncompressed Pixel Data: %s', async (_, parts, more) => {
      const { json, ref } = minimal(more);
      const answer = await store([jsonPart(json), ...parts.map((bytes) => bulkPart('p', Buffer.alloc(bytes)))]);
      expect(answer).toMatchObject({ status: 400, stored: [] });
      expect(await dataSetAt(at, ref)).toBeUndefined();
    });

    it.each<[string, readonly number[], DicomJson]>([
      ['3 frames in one part', [300], native(3)],
      ['3 frames in parts of their own', [100, 100, 100], native(3)],
      ['frames that do not end with a byte', [19], native(3, { '00280100': { vr: 'US', Value: [1] } })],
      ['padding', [300], native(3, { '00280011': { vr: 'US', Value: [4] } })],
    ])('is none that has all of them: %s', async (_, parts, more) => {
      const { json } = minimal(more);
      const answer = await store([jsonPart(json), ...parts.map((bytes) => bulkPart('p', Buffer.alloc(bytes)))]);
      expect(answer.status).toBe(200);
    });

    it.each<[string, DicomJson]>([
      ['names bulk data that did not come', { '7FE00010': { vr: 'OW', BulkDataURI: 'elsewhere' } }],
      ['has a value that its VR cannot hold', { '00280010': { vr: 'US', Value: ['many'] } }],
      [
        'has compressed Pixel Data in its text',
        { '00020010': { vr: 'UI', Value: ['1.2.840.10008.1.2.5'] }, '7FE00010': { vr: 'OB', InlineBinary: 'AAAA' } },
      ],
      ['has no SOP Class', { '00080016': { vr: 'UI' } }],
    ])('is the instance that %s, not the others', async (_, more) => {
      const [bad, good] = [minimal(more), minimal()];
      const answer = await store([jsonPart([bad.json, good.json])]);
      expect([answer.status, answer.stored[0]?.[1], answer.failed[0]?.slice(1)]).toEqual([
        202,
        good.ref.sopInstanceUid,
        [bad.ref.sopInstanceUid, 0xc000],
      ]);
    });

    const good = (): SentPart => jsonPart([minimal().json]);
    it.each<[string, number, () => SentPart[]]>([
      ['no JSON', 400, () => [{ ...good(), body: Buffer.from('{') }]],
      ['no UTF-8', 400, () => [{ ...good(), body: Buffer.from('["\xff"]', 'latin1') }]],
      ['a number', 400, () => [jsonPart([1])]],
      ['nothing', 400, () => [jsonPart([])]],
      ['endless arrays', 400, () => [{ ...good(), body: Buffer.alloc(100_000, '[') }]],
      ['bulk data first', 400, () => [bulkPart('x', Buffer.alloc(1)), good()]],
      [
        'bulk data without a name',
        400,
        () => [good(), { headers: { 'Content-Type': 'image/jpeg' }, body: Buffer.alloc(1) }],
      ],
      [
        'compressed bulk data',
        415,
        () => [good(), { headers: { 'Content-Encoding': 'gzip', 'Content-Location': 'x' }, body: Buffer.alloc(1) }],
      ],
      ['8 MiB of metadata', 413, () => [{ ...good(), body: Buffer.alloc(8 * MIB + 1, ' ') }]],
      ['more instances than parts may come', 400, () => [jsonPart(Array.from({ length: 10_001 }, () => ({})))]],
      ['values without end', 413, () => [{ ...good(), body: Buffer.from(`[${'{},'.repeat(600_000)}{}]`) }]],
    ])('is a body of %s', async (_, status, parts) => {
      const response = await post(service, '/studies', multipartOf(parts()), { 'content-type': multipartJson });
      expect(response.status).toBe(status);
    });

    it('is what is nested without end', async () => {
      const nested = '"00081115":{"vr":"SQ","Value":[{'.repeat(5000) + '}]}'.repeat(5000);
      const text = JSON.stringify(minimal().json).replace('{', `{${nested},`);
      const part = { headers: { 'Content-Type': 'application/dicom+json' }, body: Buffer.from(text) };
      expect((await store([part])).status).toBe(400);
    });

    it('is a part that is the value of many elements: few bytes would become many', async () => {
      const documents = Array.from({ length: 40 }, (_, i) => [`0009${(0x1000 + i).toString(16)}`, i] as const);
      const json = (uriOf: (i: number) => string): DicomJson =>
        minimal({
          '00090010': { vr: 'LO', Value: ['ARCHIPEL'] },
          ...Object.fromEntries(documents.map(([tag, i]) => [tag, { vr: 'OB', BulkDataURI: uriOf(i) }] as const)),
        }).json;
      const again = await store([jsonPart(json((i) => `./${'a/../'.repeat(i)}x`)), bulkPart('x', Buffer.alloc(MIB))]);
      expect([again.status, again.stored]).toEqual([400, []]);
      const each = documents.map(([, i]) => bulkPart(`x${i}`, Buffer.alloc(10)));
      expect((await store([jsonPart(json((i) => `x${i}`)), ...each])).status).toBe(200);
    });

    // Of the service, not of a place; and it takes its time.
    it.runIf(place === 'a gateway')('is more than is held, and what was held is given back', async () => {
      const { json } = minimal({ '7FE00010': { vr: 'OW', BulkDataURI: 'x' } });
      const send = async (mebibytes: number): Promise<number> => {
        const [start, end] = [multipartOf([jsonPart([json])], ''), Buffer.from('\r\n--b--')];
        let sent = -1;
        const body = new ReadableStream<Uint8Array>({
          pull(controller) {
            if (sent === -1)
              controller.enqueue(Buffer.concat([start, Buffer.from('--b\r\nContent-Location: x\r\n\r\n')]));
            else if (sent < mebibytes) controller.enqueue(new Uint8Array(MIB));
            else if (sent === mebibytes) controller.enqueue(new Uint8Array(end));
            else return controller.close();
            sent++;
          },
        });
        return (await post(service, '/studies', body, { 'content-type': multipartJson })).status;
      };
      for (let i = 0; i < 3; i++) expect(await send(130)).toBe(413);
      expect(await send(100)).toBe(200);
      expect(await send(100)).toBe(200);
    });
  });
});
