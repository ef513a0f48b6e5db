/**
 * Orthanc's DICOMweb plugin as a client of the gateway and of the cloud: it searches, reads metadata and pictures, retrieves,
 * stores and deletes by its REST interface, and what it then holds is compared with what was sent.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, dataSetOffsetOf, sha256 } from '#test/support/dicomweb-client.ts';
import { send } from '#test/support/sender.ts';
import { type System, startSystem, until } from '#test/support/system.ts';
import { hasPrograms } from './dcmtk.ts';
import { Orthanc } from './orthanc.ts';

const plugin = '/usr/share/orthanc/plugins/libOrthancDicomWeb.so';
const isPossible = hasPrograms('Orthanc') && existsSync(plugin);
if (!existsSync(plugin)) console.warn('SKIPPED: Orthanc has no DICOMweb plugin (Debian: orthanc-dicomweb)');

const hosts = ['gateway', 'cloud'] as const;
/** Orthanc's simplified form of an attribute. */
type Simplified = Readonly<Record<string, { readonly Name: string; readonly Value: unknown }>>;

const makeStudy = (patientId: string): MadeInstance[] => {
  const of = { studyInstanceUid: freshUid(), patientId, patientName: 'Käse^Jürgen', characterSet: 'ISO_IR 192' };
  const seriesInstanceUid = freshUid();
  return [
    makeInstance({ ...of, seriesInstanceUid, rows: 64, columns: 64 }),
    makeInstance({ ...of, seriesInstanceUid, rows: 64, columns: 64, instanceNumber: 2 }),
    makeInstance({ ...of, transferSyntaxUid: '1.2.840.10008.1.2' }),
    makeInstance({ ...of, modality: 'SR', sopClassUid: '1.2.840.10008.5.1.4.1.1.88.33', pixels: 'none' }),
  ];
};

describe.skipIf(!isPossible)("Orthanc's DICOMweb client", () => {
  let work: string;
  let system: System;
  let orthanc: Orthanc;
  const study = makeStudy('ODW-1');
  const [first] = study as [MadeInstance];
  const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = first.ref;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-orthanc-dicomweb-'));
    system = await startSystem({ folder: join(work, 'data') });
    expect(await send(system.dicomPort, study)).toEqual(study.map(() => 0));
    await system.waitUntilArchived(study.length);
    const Servers = Object.fromEntries(hosts.map((host) => [host, { Url: `${urlOf(host)}/`, HasDelete: true }]));
    orthanc = await Orthanc.start({
      configuration: {
        Plugins: [plugin],
        DicomWeb: { Enable: true, Root: '/dicom-web/', Servers },
        DefaultEncoding: 'Utf8',
      },
    });
  });
  afterAll(async () => {
    await orthanc?.stop();
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  const urlOf = (host: string): string => `${host === 'gateway' ? system.gatewayUrl : system.cloudUrl}/dicomweb`;

  describe.each(hosts)('of the %s', (host) => {
    const call = <T>(what: string, body: unknown): Promise<T> =>
      orthanc.post<T>(`/dicom-web/servers/${host}/${what}`, body);

    it('searches, names in UTF-8', async () => {
      const found = await call<Simplified[]>('qido', { Uri: '/studies', Arguments: { PatientID: 'ODW-1' } });
      expect(found).toHaveLength(1);
      expect(found[0]?.['0020000D']?.Value).toBe(studyInstanceUid);
      expect(JSON.stringify(found[0]?.['00100010'])).toContain('Käse^Jürgen');
      const series = await call<Simplified[]>('qido', { Uri: `/studies/${studyInstanceUid}/series` });
      expect(series).toHaveLength(3);
      expect(await call<Simplified[]>('qido', { Uri: '/studies', Arguments: { PatientID: 'nobody' } })).toEqual([]);
    });

    it('reads metadata and pictures through itself', async () => {
      const metadata = await call<DicomJson[]>('get', { Uri: `/studies/${studyInstanceUid}/metadata` });
      expect(metadata).toHaveLength(study.length);
      const picture = await fetch(`${orthanc.url}/dicom-web/servers/${host}/get`, {
        method: 'POST',
        body: JSON.stringify({
          Uri: `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}/rendered`,
          HttpHeaders: { Accept: 'image/jpeg' },
        }),
      });
      expect(picture.status).toBe(200);
      expect(Buffer.from(await picture.arrayBuffer()).readUInt16BE(0)).toBe(0xffd8);
    });

    it('retrieves a study, a series and an instance, unaltered', async () => {
      const one = { Study: studyInstanceUid, Series: seriesInstanceUid, Instance: sopInstanceUid };
      for (const [resource, expected] of [
        [one, [first]],
        [{ Study: studyInstanceUid, Series: seriesInstanceUid }, study.slice(0, 2)],
        [{ Study: studyInstanceUid }, study],
      ] as const) {
        await forget();
        await call('retrieve', { Resources: [resource], Synchronous: true });
        expect(await held()).toEqual(expected.map(({ digest }) => digest).sort());
        await forget();
        const path = Object.values(resource).map((uid, i) => `/${['studies', 'series', 'instances'][i]}/${uid}`);
        await call('wado', { Uri: path.join(''), Synchronous: true });
        expect((await held()).length).toBe(expected.length);
      }
    });

    it('stores what it holds, and again', async () => {
      await forget();
      const mine = makeStudy('ODW-2');
      const ids: string[] = [];
      for (const { file } of mine) ids.push((await orthanc.post<{ ID: string }>('/instances', file)).ID);
      for (let i = 0; i < 2; i++) await call('stow', { Resources: ids, Synchronous: true });
      const client = new DicomwebClient(urlOf(host));
      await until('what was stored to be found', 20_000, async () => {
        const path = `/studies/${mine[0]?.ref.studyInstanceUid}/instances`;
        return (await client.search(path)).length === mine.length;
      });
      for (const { ref, digest } of mine) expect(sha256(await client.dataSet(ref))).toBe(digest);
    });
  });

  it('deletes a study in the cloud, and is told by the gateway that this is not its to do', async () => {
    const mine = makeStudy('ODW-3');
    expect(await send(system.dicomPort, mine)).toEqual(mine.map(() => 0));
    const inCloud = () => new DicomwebClient(urlOf('cloud')).search('/studies?PatientID=ODW-3');
    await until('the study to be in the cloud', 30_000, async () => (await inCloud()).length === 1);
    const body = { Level: 'Study', StudyInstanceUID: mine[0]?.ref.studyInstanceUid };
    await expect(orthanc.post('/dicom-web/servers/gateway/delete', body)).rejects.toThrow();
    await orthanc.post('/dicom-web/servers/cloud/delete', body);
    expect(await inCloud()).toEqual([]);
  });

  /** Digests of the data sets that Orthanc holds. */
  async function held(): Promise<string[]> {
    const ids = await orthanc.get<string[]>('/instances');
    const files = await Promise.all(
      ids.map(async (id) => (await fetch(`${orthanc.url}/instances/${id}/file`)).arrayBuffer()),
    );
    return files
      .map((file) => Buffer.from(file))
      .map((bytes) => sha256(bytes.subarray(dataSetOffsetOf(bytes))))
      .sort();
  }

  async function forget(): Promise<void> {
    for (const id of await orthanc.get<string[]>('/studies'))
      await fetch(`${orthanc.url}/studies/${id}`, { method: 'DELETE' });
  }
});
