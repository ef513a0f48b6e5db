/**
 * Metadata and bulk data over a real archive: what they cost, what they hold, and where their URLs lead.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PackStore } from '#shared/archive/ports.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readDicomXml } from '#shared/dicom/dicom-xml-reader.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const [ct, doc] = [freshUid(), freshUid()].toSorted() as [string, string];
const slices = [5, 3, 1, 4, 2].map((instanceNumber) =>
  makeInstance({
    studyInstanceUid: study,
    seriesInstanceUid: ct,
    instanceNumber,
    seriesDescription: '"BulkDataURI":"~/x"',
  }),
);
const pdf = Buffer.concat([Buffer.from('%PDF-1.4 '), Buffer.alloc(2000, 0x20), Buffer.from('%%EOF')]);
const nested = Uint8Array.from({ length: 3000 }, (_, i) => i & 0xff);
const document = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: doc,
  modality: 'DOC',
  sopClassUid: '1.2.840.10008.5.1.4.1.1.104.1',
  pixels: 'none',
  extra: [
    { tag: 0x00420011, vr: 'OB', value: pdf },
    { tag: 0x00420012, vr: 'LO', value: 'application/pdf' },
    { tag: 0x54000100, vr: 'SQ', value: [[{ tag: 0x54001010, vr: 'OW', value: nested }]] },
  ],
});
const swapped = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: doc,
  modality: 'DOC',
  transferSyntaxUid: '1.2.840.10008.1.2.2',
  pixels: 'none',
  extra: [{ tag: 0x54000100, vr: 'SQ', value: [[{ tag: 0x54001010, vr: 'OW', value: nested }]] }],
});
const deflated = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: doc,
  transferSyntaxUid: '1.2.840.10008.1.2.1.99',
  pixels: 'none',
  extra: [{ tag: 0x00420011, vr: 'OB', value: pdf }],
});

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive(
    [...slices, document, swapped, deflated].map(({ file }) => file),
    { packSize: 3 },
  );
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const instancePath = ({ ref }: { ref: { seriesInstanceUid: string; sopInstanceUid: string } }): string =>
  `/studies/${study}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

async function metadataOf(path: string): Promise<DicomJson[]> {
  const response = await ask(service, path);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/dicom+json']);
  return (await response.json()) as DicomJson[];
}

/** Counts reads of the store below. */
function counting(packs: PackStore): { packs: PackStore; reads: string[] } {
  const reads: string[] = [];
  return {
    reads,
    packs: {
      ...packs,
      read: (key, range) => {
        reads.push(key);
        return packs.read(key, range);
      },
      stream: (key, range) => {
        reads.push(key);
        return packs.stream(key, range);
      },
    },
  };
}

describe('metadata', () => {
  it('of a series come in the order of Instance Number', async () => {
    const found = await metadataOf(`/studies/${study}/series/${ct}/metadata`);
    expect(found.map((one) => one['00200013']?.Value?.[0])).toEqual([1, 2, 3, 4, 5]);
  });

  it('of a study and of an instance come likewise', async () => {
    expect(await metadataOf(`/studies/${study}/metadata`)).toHaveLength(8);
    const [one, ...more] = await metadataOf(`${instancePath(slices[0]!)}/metadata`);
    expect([one?.['00200013']?.Value, more]).toEqual([[5], []]);
  });

  it('hold no pixels, and leave text that only looks like a bulk data URI alone', async () => {
    const [one] = await metadataOf(`${instancePath(slices[0]!)}/metadata`);
    expect(one?.['7FE00010']).toEqual({
      vr: 'OW',
      BulkDataURI: `${base}${instancePath(slices[0]!)}/bulkdata/7FE00010`,
    });
    expect(one?.['0008103E']?.Value).toEqual(['"BulkDataURI":"~/x"']);
  });

  it('cost one read for each pack, and none the second time (orthanc-s3-storage#13, OHIF#824)', async () => {
    const { packs, reads } = counting(fixture.archive.packs);
    const counted = serviceOver(fixture, { archive: { ...fixture.archive, packs } });
    await (await ask(counted, `/studies/${study}/metadata`)).text();
    expect(reads.filter((key) => !key.endsWith('.manifest.zst'))).toEqual([]);
    expect(reads).toHaveLength(fixture.packs.length);
    await (await ask(counted, `/studies/${study}/metadata`)).text();
    expect(reads).toHaveLength(fixture.packs.length);
  });

  it('come whole even if no manifest may be kept', async () => {
    const forgetful = serviceOver(fixture, { manifestCacheBytes: 0 });
    expect(await (await ask(forgetful, `/studies/${study}/metadata`)).json()).toEqual(
      await metadataOf(`/studies/${study}/metadata`),
    );
  });

  it.each([
    ['gzip, deflate, br', 'gzip', gunzipSync],
    ['gzip, deflate, br, zstd', 'zstd', zstdDecompressSync],
    ['zstd;q=0, gzip;q=0.5', 'gzip', gunzipSync],
  ])('are compressed for %s', async (accepted, coding, decompress) => {
    const plain = await bytesOf(await ask(service, `/studies/${study}/metadata`));
    const response = await ask(service, `/studies/${study}/metadata`, { 'accept-encoding': accepted });
    expect(response.headers.get('content-encoding')).toBe(coding);
    expect(response.headers.get('vary')).toContain('Accept-Encoding');
    expect(decompress(await bytesOf(response))).toEqual(plain);
  });

  it('are not sent again to whoever has them, unless their URLs have changed', async () => {
    const path = `/studies/${study}/metadata`;
    const tag = (await ask(service, path)).headers.get('etag')!;
    const again = await ask(service, path, { 'if-none-match': `"x", W/${tag}` });
    expect([again.status, await again.text()]).toEqual([304, '']);
    const elsewhere = await ask(service, path, { 'if-none-match': tag, 'x-forwarded-host': 'other.example' });
    expect(elsewhere.status).toBe(200);
  });

  it('have one tag in every coding: strong as they are, weak where they are compressed', async () => {
    const path = `/studies/${study}/metadata`;
    const tagIn = async (coding: string) =>
      (await ask(service, path, { 'accept-encoding': coding })).headers.get('etag') ?? '';
    const plain = await tagIn('identity');
    expect(plain).toMatch(/^"[\w-]+"$/);
    expect([await tagIn('gzip'), await tagIn('zstd')]).toEqual([`W/${plain}`, `W/${plain}`]);
    for (const [held, coding] of [
      [plain, 'gzip'],
      [`W/${plain}`, 'identity'],
    ] as const) {
      const again = await ask(service, path, { 'accept-encoding': coding, 'if-none-match': held });
      expect([again.status, again.headers.get('etag')]).toEqual([304, await tagIn(coding)]);
      expect(again.headers.get('vary')).toContain('Accept-Encoding');
      expect(again.headers.get('cache-control')).toBe('private, no-cache');
    }
  });

  it('say that they are UTF-8, whatever the instance is in (odil#31)', async () => {
    const greek = makeInstance({
      characterSet: 'ISO_IR 126',
      extra: [
        { tag: 0x00100010, vr: 'PN', value: Uint8Array.of(0xc4, 0xe9, 0xef, 0xed, 0xf5, 0xf3, 0xe9, 0xef, 0xf2) },
      ],
    });
    await fixture.add([greek.file]);
    const [one] = await metadataOf(`/studies/${greek.ref.studyInstanceUid}/metadata`);
    expect([one?.['00080005']?.Value, one?.['00100010']?.Value]).toEqual([
      ['ISO_IR 192'],
      [{ Alphabetic: 'Διονυσιος' }],
    ]);
  });

  it('have bulk data URIs that are absolute by the proxy’s word, port included (OHIF#4256, #3921, #1602, dicomweb-client#54)', async () => {
    const response = await ask(service, `${instancePath(document)}/metadata`, {
      forwarded: 'proto=https;host="pacs.example:8443"',
    });
    const [one] = (await response.json()) as DicomJson[];
    expect(one?.['00420011']?.BulkDataURI).toBe(
      `https://pacs.example:8443/dicomweb${instancePath(document)}/bulkdata/00420011`,
    );
  });

  it('are given as application/json, and as nothing that they are not', async () => {
    const path = `/studies/${study}/metadata`;
    const json = await ask(service, path, { accept: 'application/json' });
    expect(json.headers.get('content-type')).toBe('application/json');
    expect((await ask(service, path, { accept: 'application/dicom' })).status).toBe(406);
  });

  it('are given in XML, a part for each instance, in the same order and with the same content', async () => {
    for (const path of [`/studies/${study}`, instancePath(document)]) {
      const json = (await (await ask(service, `${path}/metadata`)).json()) as DicomJson[];
      const response = await ask(service, `${path}/metadata`, {
        accept: 'multipart/related; type="application/dicom+xml"',
      });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(
        /^multipart\/related; type="application\/dicom\+xml"; boundary=/,
      );
      const parts = await partsOf(response);
      expect(parts.map(({ headers }) => headers['content-type'])).toEqual(json.map(() => 'application/dicom+xml'));
      expect(parts.map(({ body }) => readDicomXml(body.toString()))).toEqual(json);
    }
  });

  it('are given in XML alone where they are of one instance; of several a document has no room', async () => {
    const accept = 'application/dicom+xml';
    const response = await ask(service, `${instancePath(document)}/metadata`, { accept });
    expect(response.headers.get('content-type')).toBe(accept);
    const [json] = (await (await ask(service, `${instancePath(document)}/metadata`)).json()) as DicomJson[];
    expect(readDicomXml(await response.text())).toEqual(json);
    expect((await ask(service, `/studies/${study}/metadata`, { accept })).status).toBe(406);
  });

  it('let go of what they read when the client goes away', async () => {
    const response = await ask(service, `/studies/${study}/metadata`, { 'accept-encoding': 'gzip' });
    await response.body!.cancel();
    expect((await ask(service, `/studies/${study}/metadata`)).status).toBe(200);
  });
});

describe('bulk data', () => {
  it('come from the URI in the metadata, nested ones too (kheops#69)', async () => {
    const [one] = await metadataOf(`${instancePath(document)}/metadata`);
    const item = one?.['54000100']?.Value?.[0] as DicomJson;
    const uri = item['54001010']?.BulkDataURI ?? '';
    expect(uri).toBe(`${base}${instancePath(document)}/bulkdata/54000100/0/54001010`);
    const response = await ask(service, uri);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    expect(await bytesOf(response)).toEqual(Buffer.from(nested));
  });

  it('come as multipart when that is asked for', async () => {
    const response = await ask(service, `${instancePath(document)}/bulkdata/00420011`, {
      accept: 'multipart/related; type="application/octet-stream"',
    });
    const [part] = await partsOf(response);
    expect(part?.body.subarray(0, pdf.length)).toEqual(pdf);
  });

  it('give a PDF its own media type when that is asked for, and never let a document run', async () => {
    const path = `${instancePath(document)}/bulkdata/00420011`;
    const response = await ask(service, path, { accept: 'application/pdf' });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/pdf',
      'content-security-policy': 'sandbox',
      'x-content-type-options': 'nosniff',
    });
    const other = await ask(service, path);
    expect(other.headers.get('content-disposition')).toBe('attachment');
  });

  it('come in ranges', async () => {
    const response = await ask(service, `${instancePath(document)}/bulkdata/00420011`, { range: 'bytes=0-7' });
    expect([response.status, (await bytesOf(response)).toString()]).toEqual([206, '%PDF-1.4']);
  });

  it('are not sent again to whoever has them, nor in ranges of another version', async () => {
    const path = `${instancePath(document)}/bulkdata/54000100/0/54001010`;
    const whole = await ask(service, path);
    const tag = whole.headers.get('etag')!;
    const again = await ask(service, path, { 'if-none-match': tag });
    expect([again.status, again.headers.get('cache-control')]).toEqual([304, whole.headers.get('cache-control')]);
    const range = { range: 'bytes=1-2' };
    expect(await bytesOf(await ask(service, path, { ...range, 'if-range': tag }))).toEqual(Buffer.from([1, 2]));
    for (const other of ['"other"', `W/${tag}`, 'Sun, 06 Nov 1994 08:49:37 GMT']) {
      const response = await ask(service, path, { ...range, 'if-range': other });
      expect([other, response.status, (await bytesOf(response)).length]).toEqual([other, 200, 3000]);
    }
    expect((await ask(service, path, { range: 'bytes=3000-' })).status).toBe(416);
  });

  it('are little endian whatever the instance is stored in', async () => {
    const path = `${instancePath(swapped)}/bulkdata/54000100/0/54001010`;
    const expected = Buffer.from(nested).swap16();
    expect(await bytesOf(await ask(service, path))).toEqual(expected);
    expect(await bytesOf(await ask(service, path, { range: 'bytes=2-4' }))).toEqual(expected.subarray(2, 5));
  });

  it('come out of deflated data sets', async () => {
    const found = await bytesOf(await ask(service, `${instancePath(deflated)}/bulkdata/00420011`));
    expect(found.subarray(0, pdf.length)).toEqual(pdf);
  });

  it('of native Pixel Data are its bytes', async () => {
    const found = await bytesOf(await ask(service, `${instancePath(slices[0]!)}/bulkdata/7FE00010`));
    expect(found.length).toBe(32);
  });

  it.each(['00100010', '7FE0', '__proto__', 'constructor', '../../metadata', '54000100/1/54001010'])(
    'are not found under %s',
    async (path) => {
      const response = await ask(service, `${instancePath(document)}/bulkdata/${encodeURIComponent(path)}`);
      expect(response.status).toBe(404);
    },
  );
});
