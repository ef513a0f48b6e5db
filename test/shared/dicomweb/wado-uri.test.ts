/**
 * WADO-URI, as the viewers of twenty years ask.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';
import { seen } from './looking.ts';

const extra = [
  { tag: 0x00281050, vr: 'DS', value: '128' },
  { tag: 0x00281051, vr: 'DS', value: '256' },
];
/** 16 columns of 8 rows: the left half dark, the right half bright; the second frame the other way round. */
const half = (i: number): number => (i % 16 < 8 !== i >= 128 ? 40 : 200);
const image = makeInstance({
  rows: 8,
  columns: 16,
  frames: 2,
  bitsAllocated: 8,
  extra,
  pixels: new Uint8Array(256).map((_, i) => half(i)),
});
const report = makeInstance({
  sopClassUid: '1.2.840.10008.5.1.4.1.1.88.11',
  modality: 'SR',
  pixels: 'none',
  extra: [{ tag: 0x0040a040, vr: 'CS', value: 'CONTAINER' }],
});
const plan = makeInstance({ sopClassUid: '1.2.840.10008.5.1.4.1.1.481.5', modality: 'RTPLAN', pixels: 'none' });
const foreign = makeInstance({ transferSyntaxUid: '1.2.3.4.5', pixels: [new Uint8Array(10)] });

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive([image, report, plan, foreign].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const urlOf = ({ ref }: MadeInstance, query = ''): string =>
  `/wado?requestType=WADO&studyUID=${ref.studyInstanceUid}&seriesUID=${ref.seriesInstanceUid}&objectUID=${ref.sopInstanceUid}${query}`;
const get = (made: MadeInstance, query = '', headers: Record<string, string> = {}) =>
  ask(service, urlOf(made, query), headers);
const typeOf = async (response: Promise<Response>): Promise<[number, string | undefined]> => {
  const { status, headers } = await response;
  return [status, headers.get('content-type')?.split(';')[0]];
};

describe('the media type', () => {
  it.each([
    ['an image', image, 'image/jpeg'],
    ['a report', report, 'text/html'],
    ['what cannot be rendered', plan, 'application/dicom'],
    ['what cannot be decoded', foreign, 'application/dicom'],
  ])('of %s is its own by default', async (_name, made, type) => {
    expect(await typeOf(get(made))).toEqual([200, type]);
    expect(await typeOf(get(made, '', { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }))).toEqual([200, type]);
  });

  it.each([
    ['image/png', 'image/png'],
    ['image/gif', 'image/gif'],
    ['application/dicom', 'application/dicom'],
    ['image/avif,image/png', 'image/png'],
    ['image/webp', 'image/webp'],
    ['image/jpeg,application/dicom', 'image/jpeg'],
    ['application/dicom; q=1, image/jpeg; q=0.5', 'application/dicom'],
  ])('for contentType=%s is %s', async (contentType, type) => {
    expect(await typeOf(get(image, `&contentType=${encodeURIComponent(contentType)}`))).toEqual([200, type]);
  });

  it('that cannot be had is 406 with a sentence', async () => {
    for (const contentType of ['text/html', 'application/pdf', 'video/mp4']) {
      const problem = await problemOf(await get(image, `&contentType=${contentType}`));
      expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('image/jpeg')]);
    }
    expect((await get(image, '&contentType=rubbish')).status).toBe(400);
  });
});

it('gives the instance as it is stored, a single part', async () => {
  const response = await get(image, '&contentType=application%2Fdicom&transferSyntax=*');
  expect(response.headers.get('content-type')).toBe('application/dicom; transfer-syntax=1.2.840.10008.1.2.1');
  const bytes = await bytesOf(response);
  expect(bytes.subarray(-image.dataSet.length)).toEqual(Buffer.from(image.dataSet));
  expect((await get(image, '&contentType=application/dicom&transferSyntax=1.2.x')).status).toBe(400);
  const other = await get(image, '&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.5');
  expect(other.headers.get('content-type')).toBe('application/dicom; transfer-syntax=1.2.840.10008.1.2.5');
  const none = await get(foreign, '&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.1');
  expect((await problemOf(none)).status).toBe(406);
});

describe('a picture', () => {
  const picture = async (query: string) => seen(await bytesOf(await get(image, `&contentType=image/png${query}`)));

  it('is of the frame asked for; one beyond the last is 404 (dcm4chee#2827)', async () => {
    expect((await picture('')).rgb[0]).toBe(40);
    expect((await picture('&frameNumber=2')).rgb[0]).toBe(200);
    const problem = await problemOf(await get(image, '&frameNumber=3'));
    expect([problem.status, problem.detail]).toEqual([404, expect.stringContaining('2 frames')]);
  });

  it.each([
    ['&rows=4&columns=4', 4, 2],
    ['&columns=8', 8, 4],
    ['&rows=4', 8, 4],
    ['&rows=100&columns=32', 32, 16],
    ['&region=0.5,0,1,1', 8, 8],
    ['&region=0.5,0.5,1,1&columns=4', 4, 2],
  ])('for %s is %i x %i', async (query, width, height) => {
    expect(await picture(query)).toMatchObject({ width, height });
  });

  it('shows the region asked for, and the window', async () => {
    expect(new Set((await picture('&region=0.5,0,1,1')).rgb)).toEqual(new Set([200]));
    const { rgb } = await picture('&windowCenter=120&windowWidth=10');
    expect(new Set(rgb)).toEqual(new Set([0, 255]));
    const large = await bytesOf(await get(image, '&imageQuality=100'));
    expect((await bytesOf(await get(image, '&imageQuality=1'))).length).toBeLessThan(large.length);
    const plain = await picture('&rows=128');
    expect((await picture('&rows=128&annotation=patient,technique')).rgb).not.toEqual(plain.rgb);
  });
});

describe('a request that cannot be answered as meant', () => {
  it.each([
    '&windowCenter=40', '&windowWidth=400', '&windowCenter=a&windowWidth=400', '&windowCenter=1&windowWidth=0', '&rows=0', '&rows=x', '&columns=99999',
    '&region=0,0,1', '&region=0.5,0,0.5,1', '&region=0,0,2,1', '&region=a,b,c,d', '&frameNumber=0', '&frameNumber=x', '&imageQuality=0', '&annotation=all', '&anonymize=maybe',
  ])('%s is 400 with a sentence', async (query) => {
    const problem = await problemOf(await get(image, query));
    expect([problem.status, problem.detail.length > 20]).toEqual([400, true]);
  }); // biome-ignore format: a list

  it('is refused rather than answered with a name in it: anonymize=yes', async () => {
    for (const query of ['&anonymize=yes', '&anonymize=yes&contentType=application/dicom', '&anonymize=YES']) {
      const problem = await problemOf(await get(image, query));
      expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('not de-identified')]);
    }
    expect((await get(image, '&anonymize=no')).status).toBe(200);
  });

  it('is refused rather than answered without its presentation state', async () => {
    const problem = await problemOf(await get(image, '&presentationUID=1.2&presentationSeriesUID=1.3'));
    expect([problem.status, problem.detail]).toEqual([404, expect.stringContaining('presentation state')]);
  });

  it('without its parts is 400, of what is not there 404', async () => {
    expect((await ask(service, '/wado')).status).toBe(400);
    expect((await ask(service, urlOf(image).replace('WADO&', 'MPR&'))).status).toBe(400);
    expect((await ask(service, urlOf(image).replace(/&seriesUID=[^&]*/, ''))).status).toBe(400);
    expect((await ask(service, urlOf(image).replace(/objectUID=.*/, 'objectUID=1.2.3'))).status).toBe(404);
    expect((await ask(service, urlOf(image), {}, 'POST')).status).toBe(405);
  });

  it('with a parameter that nobody knows is answered with a Warning that names it', async () => {
    expect((await get(image, '&overlays=yes')).headers.get('warning')).toContain('overlays');
    expect((await get(image, '&overlays=yes&contentType=application/dicom')).headers.get('warning')).toContain(
      'overlays',
    );
    expect((await get(image, '&charset=latin1')).headers.get('warning')).toContain('charset');
    expect((await get(image)).headers.get('warning')).toBeNull();
  });
});
