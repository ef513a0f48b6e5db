/**
 * DELETE over a real archive: what it answers, who may, and that nothing shows what was deleted from then on.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { indexInstances } from '#shared/archive/ingest.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import { createEraser } from '#shared/dicomweb/erase.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, origin, problemOf, serviceOver } from './ask.ts';

const studyInstanceUid = freshUid();
const series = [freshUid(), freshUid()];
const made = series.flatMap((seriesInstanceUid) =>
  [1, 2, 3].map((instanceNumber) => makeInstance({ studyInstanceUid, seriesInstanceUid, instanceNumber })),
);
const study = `/studies/${studyInstanceUid}`;
const seriesPath = `${study}/series/${series[0]}`;
const instancePath = `${seriesPath}/instances/${made[0]?.ref.sopInstanceUid}`;

let fixture: ArchiveFixture;
let service: Service;
beforeEach(async () => {
  fixture = await makeArchive(made.map(({ file }) => file));
  service = serviceOver(fixture, { eraser: createEraser(fixture.index, Date.now) });
});
afterEach(() => fixture.close());

const remove = (path: string, headers: Record<string, string> = {}) => ask(service, path, headers, 'DELETE');
const count = async (path: string): Promise<number> => ((await (await ask(service, path)).json()) as unknown[]).length;
/** Of a thing that is deleted every way to it is gone. */
const waysTo = (path: string): string[] => [
  path,
  `${path}?accept=application/zip`,
  `${path}/metadata`,
  `${path}/thumbnail`,
  `${path}/bulkdata`,
  ...(path.includes('/instances/')
    ? [`${path}/frames/1`, `${path}/rendered`, `${path}/frames/1/rendered`, `${path}?digest=${made[0]?.digest}`]
    : []),
];

describe('DELETE', () => {
  it('of an instance answers 204, also when it is gone, and nothing shows it from then on', async () => {
    const before = (await ask(service, `${seriesPath}/metadata`)).headers.get('etag');
    const answer = await remove(instancePath);
    expect([answer.status, (await bytesOf(answer)).length]).toEqual([204, 0]);
    expect((await remove(instancePath)).status).toBe(204);
    for (const way of waysTo(instancePath)) {
      const response = await ask(service, way);
      expect([way, await problemOf(response)]).toEqual([
        way,
        {
          status: 410,
          code: 'gone',
          title: 'Gone',
          type: 'about:blank',
          detail: 'This instance was deleted from the archive.',
        },
      ]);
    }
    expect((await ask(service, instancePath, {}, 'HEAD')).status).toBe(410);
    expect(await count(`${seriesPath}/instances`)).toBe(2);
    expect(await count(`${study}/instances`)).toBe(5);
    expect(await count(`${study}/metadata`)).toBe(5);
    const metadata = await ask(service, `${seriesPath}/metadata`, { 'if-none-match': before ?? '' });
    expect([metadata.status, ((await metadata.json()) as unknown[]).length]).toEqual([200, 2]);
    // The pack holds three; the answer must not be the pack.
    const zip = await bytesOf(await ask(service, `${seriesPath}?accept=application/zip`));
    expect(zip.includes(`${made[0]?.ref.sopInstanceUid}.dcm`)).toBe(false);
    expect(zip.includes(`${made[1]?.ref.sopInstanceUid}.dcm`)).toBe(true);
    const [match] = (await (await ask(service, '/studies')).json()) as Record<string, { Value: unknown[] }>[];
    expect(match?.['00201208']?.Value).toEqual([5]);
  });

  it('of a series, and of a study, takes all that is in it, and the study out of every search', async () => {
    expect((await remove(seriesPath)).status).toBe(204);
    for (const way of waysTo(seriesPath)) expect([way, (await ask(service, way)).status]).toEqual([way, 410]);
    expect((await ask(service, instancePath)).status).toBe(410);
    expect(await count(`${study}/series`)).toBe(1);
    expect((await remove(study)).status).toBe(204);
    expect((await remove(study)).status).toBe(204);
    for (const way of waysTo(study)) expect([way, (await ask(service, way)).status]).toEqual([way, 410]);
    for (const search of ['/studies', '/series', '/instances', `${study}/series`, `${study}/instances`])
      expect([search, await count(search)]).toEqual([search, 0]);
  });

  it('of what never was is 404, and so is asking for it', async () => {
    const unknown = [
      `/studies/${freshUid()}`,
      `${study}/series/${freshUid()}`,
      `${seriesPath}/instances/${freshUid()}`,
    ];
    for (const path of unknown) {
      expect(await problemOf(await remove(path))).toMatchObject({ status: 404, code: 'not-found' });
      expect((await ask(service, path)).status).toBe(404);
    }
    expect((await remove('/studies/not-a-uid')).status).toBe(400);
    await remove(instancePath);
    expect((await ask(service, `${seriesPath}/instances/${made[1]?.ref.sopInstanceUid}/frames/9`)).status).toBe(404);
  });

  it('is not undone by reading the pack again, and does not keep the same instance from being stored anew', async () => {
    await remove(instancePath);
    const [ref] = fixture.packs;
    const { tenant, archive } = fixture;
    const { instances } = await inspectPack(archive.packs, packKey(tenant, ref!), { tenant, ref: ref! });
    await indexInstances(archive.index, instances);
    expect((await ask(service, instancePath)).status).toBe(410);
    await fixture.add([made[0]!.file]);
    expect((await ask(service, instancePath)).status).toBe(200);
    expect(await count(`${seriesPath}/instances`)).toBe(3);
  });

  it('is refused where the deployment has nothing that deletes, with a sentence', async () => {
    const gateway = serviceOver(fixture);
    const answer = await ask(gateway, study, {}, 'DELETE');
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
    expect((await problemOf(answer)).detail).toMatch(/cloud archive/);
    expect(await count(`${study}/instances`)).toBe(6);
    const options = await ask(service, study, {}, 'OPTIONS');
    expect(options.headers.get('allow')).toBe('GET, HEAD, DELETE, OPTIONS');
    for (const path of [`${study}/metadata`, '/studies'])
      expect([path, (await remove(path)).status]).toEqual([path, 405]);
  });

  it('is refused to pages of other origins, whether their browser asks first or not', async () => {
    const foreign = 'https://elsewhere.example';
    const pages: Record<string, string>[] = [
      { origin: foreign },
      { origin: 'null' },
      { origin: origin.replace('http:', 'https:') },
      { 'sec-fetch-site': 'cross-site' },
    ];
    for (const headers of pages)
      expect([headers, await problemOf(await remove(study, headers))]).toMatchObject([headers, { status: 403 }]);
    expect(await count(`${study}/instances`)).toBe(6);
    const preflight = { origin: foreign, 'access-control-request-method': 'DELETE' };
    const refused = await ask(service, study, preflight, 'OPTIONS');
    expect(refused.headers.get('access-control-allow-origin')).toBeNull();
    expect(refused.headers.get('access-control-allow-methods')).toBeNull();

    service = serviceOver(fixture, { eraser: createEraser(fixture.index, Date.now), allowedOrigins: [foreign] });
    const allowed = await ask(service, study, preflight, 'OPTIONS');
    expect(allowed.headers.get('access-control-allow-methods')).toContain('DELETE');
    expect((await remove(study, { origin: foreign })).status).toBe(204);
    service = serviceOver(fixture, { eraser: createEraser(fixture.index, Date.now), allowedOrigins: ['*'] });
    expect((await remove(study, { origin: foreign })).status).toBe(403);
    expect((await remove(study, { origin: foreign, authorization: 'Bearer x' })).status).toBe(204);
    expect((await remove(study, { origin })).status).toBe(204);
  });
});
