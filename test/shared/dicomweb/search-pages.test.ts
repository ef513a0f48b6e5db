/**
 * Reading a list page by page while studies arrive: nothing that was there all along is missing or seen twice, and what is remembered for
 * that is bounded.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex, PackStore } from '#shared/archive/ports.ts';
import type { Place } from '#shared/archive/query.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { createSearchPlaces, listOf } from '#shared/dicomweb/search-places.ts';
import { createDicomwebService } from '#shared/dicomweb/service.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import { instanceRecord, json, studyUid } from '#test/support/archive-records.ts';
import { ask } from './ask.ts';

let index: ArchiveIndex;
let tenants = 0;
let tenant = '';
beforeAll(async () => {
  index = await createSqliteIndex({ file: ':memory:', inWorker: false });
});
afterAll(() => index.close());

/** A service over an archive of its own. */
function anArchive() {
  tenant = `pages-${tenants++}`;
  const own = tenant;
  const service = createDicomwebService({
    archive: { index, packs: {} as PackStore },
    tenantOf: () => own,
    render: renderFrame,
    transcode: transcodeFrame,
    log: silentLogger,
  });
  const page = async (path: string, client = 'one'): Promise<unknown[]> => {
    const response = await ask(service, path, { 'user-agent': client });
    expect(response.status).toBe(200);
    const tag = path.includes('/instances') ? '00080018' : path.includes('/series') ? '0020000E' : '0020000D';
    return ((await response.json()) as DicomJson[]).map((match) => match[tag]?.Value?.[0]);
  };
  const store = (study: number, day: number, instance = 1) =>
    indexInstances(index, [
      instanceRecord({
        tenant: own,
        study,
        instance,
        pack: study % 99,
        attributes: { '00080020': json('DA', `202401${String(day).padStart(2, '0')}`) },
      }),
    ]);
  return { page, store };
}

describe('pages while studies arrive', () => {
  it('show each study that was there all along once (dicom-server: newest first, duplicates)', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 28 }), { minLength: 1, maxLength: 25 }),
        fc.array(fc.integer({ min: 1, max: 28 }), { maxLength: 25 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom('', 'PatientName=ex*&', 'StudyDate=20240101-20240120&', 'ModalitiesInStudy=CT&'),
        async (before, meanwhile, limit, query) => {
          const { page, store } = anArchive();
          for (const [i, day] of before.entries()) await store(i, day);
          const expected = await page(`/studies?${query}limit=1000`, 'another');
          const arriving = meanwhile.values();
          const shown: unknown[] = [];
          for (let number = 1000; ; number++) {
            const next = await page(`/studies?${query}limit=${limit}&offset=${shown.length}`);
            shown.push(...next);
            if (next.length < limit) break;
            const { value: day } = arriving.next();
            if (day !== undefined) await store(number, day);
          }
          expect(new Set(shown).size).toBe(shown.length);
          expect(shown.filter((uid) => expected.includes(uid))).toEqual(expected);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('overlap where a client asks for one more than it shows, as OHIF does with limit=101&offset=0', async () => {
    const { page, store } = anArchive();
    for (let study = 1; study <= 9; study++) await store(study, study);
    expect(await page('/studies?limit=4&offset=0')).toEqual([9, 8, 7, 6].map(studyUid));
    await store(20, 28);
    expect(await page('/studies?limit=4&offset=3')).toEqual([6, 5, 4, 3].map(studyUid));
    await store(21, 28);
    expect(await page('/studies?limit=4&offset=6')).toEqual([3, 2, 1].map(studyUid));
    // And back again.
    expect(await page('/studies?limit=4&offset=3')).toEqual([6, 5, 4, 3].map(studyUid));
    // Who begins again sees what is new.
    expect(await page('/studies?limit=4&offset=0')).toEqual([20, 21, 9, 8].map(studyUid));
  });

  it('are each client’s own', async () => {
    const { page, store } = anArchive();
    for (let study = 1; study <= 4; study++) await store(study, study);
    expect(await page('/studies?limit=2', 'one')).toEqual([4, 3].map(studyUid));
    await store(5, 5);
    expect(await page('/studies?limit=2', 'two')).toEqual([5, 4].map(studyUid));
    expect(await page('/studies?limit=2&offset=2', 'one')).toEqual([2, 1].map(studyUid));
    expect(await page('/studies?limit=2&offset=2', 'two')).toEqual([3, 2].map(studyUid));
    // Another query is another list.
    expect(await page('/studies?limit=2&offset=2&PatientName=ex*', 'one')).toEqual([3, 2].map(studyUid));
  });

  it('of instances and series are as stable', async () => {
    const { page, store } = anArchive();
    for (const instance of [2, 4, 6, 8]) await store(1, 1, instance);
    const path = `/studies/${studyUid(1)}/instances`;
    const first = await page(`${path}?limit=2`);
    await store(1, 1, 1);
    await store(1, 1, 3);
    const rest = await page(`${path}?limit=9&offset=2`);
    expect([...first, ...rest].map((uid) => Number(String(uid).split('.').at(-1)))).toEqual([2, 4, 6, 8]);
  });
});

describe('what is remembered of pages', () => {
  const place = (i: number): Place => ({ date: '', uids: [`1.${i}`] });
  const some = (from: number, count: number) => Array.from({ length: count }, (_, i) => place(from + i));

  it('is bounded, and forgets the lists that were not read for longest', () => {
    const places = createSearchPlaces(10);
    places.remember('a', 0, some(0, 5));
    places.remember('b', 0, some(0, 5));
    places.remember('a', 5, some(5, 2));
    expect(places.pageAt('a', 5)).toEqual({ offset: 0, after: place(4) });
    expect(places.pageAt('b', 2)).toEqual({ offset: 2 });
    expect(places.pageAt('b', 3)).toEqual({ offset: 0, after: place(2) });
    // Of a long list the pages that were read last.
    places.remember('c', 0, some(0, 50));
    for (const list of ['a', 'b', 'c']) expect(places.pageAt(list, 3)).toEqual({ offset: 3 });
    expect(places.pageAt('c', 50)).toEqual({ offset: 0, after: place(49) });
    places.remember('c', 50, some(50, 4));
    expect(places.pageAt('c', 54)).toEqual({ offset: 0, after: place(53) });
    expect(places.pageAt('c', 44)).toEqual({ offset: 44 });
  });

  it('begins anew with the first page', () => {
    const places = createSearchPlaces();
    places.remember('a', 0, some(0, 5));
    places.remember('a', 0, some(100, 2));
    expect(places.pageAt('a', 2)).toEqual({ offset: 0, after: place(101) });
    expect(places.pageAt('a', 5)).toEqual({ offset: 5 });
    expect(places.pageAt('a', 0)).toEqual({ offset: 0 });
  });

  it('holds nothing of a query or a token that could be read', () => {
    const request = new Request('http://archive.example/', { headers: { authorization: 'Bearer secret' } });
    expect(listOf(request, ['Meier'])).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(listOf(request, ['Meier'])).not.toBe(listOf(request, ['Maier']));
  });
});
