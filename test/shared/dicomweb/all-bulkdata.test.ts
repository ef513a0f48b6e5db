/**
 * All bulk data of a study, a series, an instance: what every BulkDataURI of the metadata names, in one answer.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PackStore } from '#shared/archive/ports.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeElement, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const [ct, other] = [freshUid(), freshUid()].toSorted() as [string, string];
const nested = Uint8Array.from({ length: 3000 }, (_, i) => i & 0xff);
const waveform: MadeElement = { tag: 0x54000100, vr: 'SQ', value: [[{ tag: 0x54001010, vr: 'OW', value: nested }]] };
const slices = [1, 2, 3, 4].map((instanceNumber) =>
  makeInstance({ studyInstanceUid: study, seriesInstanceUid: ct, instanceNumber, rows: 64, columns: 64 }),
);
const native = makeInstance({ studyInstanceUid: study, seriesInstanceUid: other, extra: [waveform] });
const bigEndian = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: other,
  transferSyntaxUid: '1.2.840.10008.1.2.2',
  pixels: 'none',
  extra: [waveform],
});
const deflated = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: other,
  transferSyntaxUid: '1.2.840.10008.1.2.1.99',
  pixels: 'none',
  extra: [waveform],
});
const frames = [1, 2, 3].map((n) => Uint8Array.from({ length: 100 }, () => n));
const compressed = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: other,
  transferSyntaxUid: '1.2.840.10008.1.2.4.80',
  frames: 3,
  pixels: frames,
});
const empty = makeInstance({ pixels: 'none' });

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive(
    [...slices, native, bigEndian, deflated, compressed, empty].map(({ file }) => file),
    { packSize: 3 },
  );
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

function urisIn(found: DicomJson): string[] {
  return Object.values(found).flatMap((element) => [
    ...(element.BulkDataURI === undefined ? [] : [element.BulkDataURI]),
    ...(element.vr === 'SQ' ? (element.Value ?? []).flatMap((item) => urisIn(item as DicomJson)) : []),
  ]);
}

describe('all bulk data', () => {
  it.each([
    ['a study', `/studies/${study}`],
    ['a series', `/studies/${study}/series/${other}`],
    ['an instance', `/studies/${study}/series/${other}/instances/${native.ref.sopInstanceUid}`],
  ])('of %s are the values that its metadata name, each under its URI', async (_, path) => {
    const metadata = (await (await ask(service, `${path}/metadata`)).json()) as DicomJson[];
    const uris = metadata.flatMap(urisIn);
    const response = await ask(service, `${path}/bulkdata`);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      expect.stringMatching(/^multipart\/related; type="application\/octet-stream"; boundary=/),
    ]);
    const parts = await partsOf(response);
    const given = new Map(parts.map(({ headers, body }) => [headers['content-location'] ?? '', body]));
    for (const uri of uris) {
      if (uri.includes(compressed.ref.sopInstanceUid)) continue; // by frames, below
      const alone = await ask(service, uri);
      expect(given.get(uri)).toEqual(await bytesOf(alone));
    }
    expect(parts.length).toBeGreaterThanOrEqual(uris.length);
  });

  it('give compressed Pixel Data frame by frame, under their own media type', async () => {
    const path = `/studies/${study}/series/${other}/instances/${compressed.ref.sopInstanceUid}`;
    const parts = await partsOf(await ask(service, `${path}/bulkdata`));
    expect(parts.map(({ headers }) => headers)).toEqual(
      [1, 2, 3].map((n) => ({
        'content-type': 'image/jls; transfer-syntax=1.2.840.10008.1.2.4.80',
        'content-location': `${base}${path}/frames/${n}`,
      })),
    );
    expect(parts.map(({ body }) => body)).toEqual(frames.map((frame) => Buffer.from(frame)));
  });

  it('of a series are read in one stream for each pack, not one for each instance (orthanc-s3-storage#13)', async () => {
    const opened: string[] = [];
    const { packs } = fixture.archive;
    const counting: PackStore = {
      ...packs,
      stream: (key, range) => {
        opened.push(key);
        return packs.stream(key, range);
      },
    };
    const counted = serviceOver(fixture, { archive: { ...fixture.archive, packs: counting } });
    expect(await partsOf(await ask(counted, `/studies/${study}/series/${ct}/bulkdata`))).toHaveLength(4);
    expect(opened).toHaveLength(2);
    await (await ask(counted, `/studies/${study}/series/${ct}/bulkdata`)).body!.cancel();
  });

  it('are never held, however long a value is: alone, in ranges, among all (dcm4chee#3794, #4452)', async () => {
    const floats = new Uint8Array(Uint32Array.from({ length: 128 * 1024 }, (_, i) => i).buffer);
    const long = makeInstance({ pixels: 'none', extra: [{ tag: 0x00660016, vr: 'OF', value: floats }] });
    const archived = await makeArchive([long.file]);
    try {
      const { packs } = archived.archive;
      const streaming: PackStore = {
        ...packs,
        read: (key, range) =>
          key.endsWith('.zip') ? Promise.reject(new Error('read into memory')) : packs.read(key, range),
      };
      const streamed = serviceOver(archived, { archive: { ...archived.archive, packs: streaming } });
      const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = long.ref;
      const at = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}/bulkdata`;
      expect((await bytesOf(await ask(streamed, `${at}/00660016`))).equals(floats)).toBe(true);
      const range = await ask(streamed, `${at}/00660016`, { range: 'bytes=500000-500003' });
      expect([range.status, await bytesOf(range)]).toEqual([206, Buffer.from(floats.subarray(500_000, 500_004))]);
      const [part] = await partsOf(await ask(streamed, at));
      expect(part?.body.equals(floats)).toBe(true);
      const left = await ask(streamed, at);
      await left.body!.cancel();
    } finally {
      await archived.close();
    }
  });

  it('that are none are an answer without a part; that are unchanged are 304; in no other type are 406', async () => {
    const { studyInstanceUid } = empty.ref;
    const response = await ask(service, `/studies/${studyInstanceUid}/bulkdata`);
    expect([response.status, await response.text()]).toEqual([200, expect.stringMatching(/^--\w+--\r\n$/)]);
    const tag = response.headers.get('etag')!;
    const again = await ask(service, `/studies/${studyInstanceUid}/bulkdata`, { 'if-none-match': tag });
    expect(again.status).toBe(304);
    for (const accept of ['application/octet-stream', 'image/jls', 'multipart/related; type="image/jpeg"']) {
      expect((await ask(service, `/studies/${study}/bulkdata`, { accept })).status).toBe(406);
    }
    expect((await ask(service, '/studies/1.2.3/bulkdata')).status).toBe(404);
  });
});
