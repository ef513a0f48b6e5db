/**
 * The LAN side of a whole gateway, the cloud out of reach: what was acknowledged is found, retrieved and drawn while its
 * pack is open, what is appended is there at once, and after a restart, when the packs are sealed, all answers are the same.
 * Who may see it, and what is served under which name.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import { createLanAccess } from '#edge-gateway/http/lan-access.ts';
import { type EdgeSettings, readEdgeSettings } from '#edge-gateway/settings.ts';
import { manifestKey } from '#shared/archive/keys.ts';
import { createLogger, silentLogger } from '#shared/log.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, pathOf, sha256 } from '#test/support/dicomweb-client.ts';
import { send } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import { zipEntries } from '#test/support/zip-reader.ts';

const SUCCESS = 0;
const FRAME_BYTES = 128 * 128 * 2;
/** More than 8 MiB: it has a pack of its own, with a reserved local header. */
const FRAMES = 300;

const study = { studyInstanceUid: freshUid(), patientId: 'LAN-1', accessionNumber: 'ACC-LAN' };
const series = { ...study, seriesInstanceUid: freshUid() };
const slices = Array.from({ length: 4 }, (_, i) =>
  makeInstance({
    ...series,
    rows: 48,
    columns: 64,
    instanceNumber: i + 1,
    extra: [
      { tag: 0x00200032, vr: 'DS', value: `0\\0\\${2 * i}` },
      { tag: 0x00200037, vr: 'DS', value: '1\\0\\0\\0\\1\\0' },
      { tag: 0x00200052, vr: 'UI', value: '1.2.3' },
      { tag: 0x00280030, vr: 'DS', value: '1\\1' },
    ],
  }),
);
/** A deflated data set has an even length too (PS3.5 §A.5), which depends on what is in it. */
const deflated = Array.from({ length: 32 }, (_, i) =>
  makeInstance({
    ...study,
    seriesInstanceUid: freshUid(),
    seriesDescription: 'x'.repeat(i),
    rows: 64,
    columns: 64,
    transferSyntaxUid: '1.2.840.10008.1.2.1.99',
  }),
).find(({ dataSet }) => dataSet.length % 2 === 0)!;
const cinePixels = Buffer.alloc(FRAME_BYTES * FRAMES, 'a ramp of some kind');
for (let frame = 0; frame < FRAMES; frame++) cinePixels.writeUInt32LE(frame, frame * FRAME_BYTES);
const cine = makeInstance({
  ...study,
  seriesInstanceUid: freshUid(),
  rows: 128,
  columns: 128,
  frames: FRAMES,
  pixels: cinePixels,
});
const first = [...slices.slice(0, 3), deflated, cine];
const appended = slices[3]!;

function settingsIn(folder: string, more: Readonly<Record<string, string>> = {}): EdgeSettings {
  return readEdgeSettings({
    ARCHIPEL_EDGE_DATA: join(folder, 'edge'),
    ARCHIPEL_EDGE_DICOM_PORT: '0',
    ARCHIPEL_EDGE_HTTP_PORT: '0',
    ARCHIPEL_EDGE_CLOUD_URL: 'http://127.0.0.1:9',
    ARCHIPEL_EDGE_DISK_RESERVE_MB: '16',
    ARCHIPEL_EDGE_TENANT: 'hospital',
    ...more,
  });
}

describe('the LAN side of a gateway without a cloud', () => {
  let folder: string;
  let gateway: Gateway;
  let dicomweb: DicomwebClient;
  const faults: string[] = [];
  const log = createLogger('error', (line) => faults.push(line), {});
  const start = async (): Promise<void> => {
    gateway = await startGateway(settingsIn(folder), log);
    dicomweb = new DicomwebClient(`http://127.0.0.1:${gateway.httpPort}/dicomweb`);
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'archipel-lan-'));
    await start();
  });
  afterAll(async () => {
    await gateway?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const bodyOf = async (path: string, accept: string): Promise<Buffer> =>
    Buffer.from(await (await dicomweb.get(path, accept)).arrayBuffer());
  const octets = 'multipart/related; type="application/octet-stream"';
  const packStates = async (): Promise<string[]> =>
    (await gateway.archive.index.listPacks('hospital', study)).map(({ state }) => state);

  /** Everything that must be the same whatever has become of the packs; absolute URLs name the port and are taken out. */
  async function answers(): Promise<Record<string, unknown>> {
    const metadata = (await bodyOf(`${pathOf(study)}/metadata`, 'application/dicom+json')).toString();
    const zip = zipEntries(await bodyOf(pathOf(study), 'application/zip'));
    const seriesZip = zipEntries(await bodyOf(pathOf(series), 'application/zip'));
    const frames = await dicomweb.parts(`${pathOf(cine.ref)}/frames/1,2,${FRAMES}`, octets);
    return {
      metadata: metadata.replaceAll(dicomweb.baseUrl, ''),
      wado: (await dicomweb.parts(pathOf(study))).map(({ body }) => sha256(body)),
      zip: zip.map(({ name, bytes }) => [name, sha256(bytes)]),
      seriesZip: seriesZip.map(({ name, bytes }) => [name, sha256(bytes)]),
      frames: frames.map(({ body }) => sha256(body)),
      deflatedFrame: sha256((await dicomweb.parts(`${pathOf(deflated.ref)}/frames/1`, octets))[0]!.body),
      pixels: sha256(await bodyOf(`${pathOf(slices[0]!.ref)}/bulkdata/7FE00010`, 'application/octet-stream')),
      picture: sha256(await bodyOf(`${pathOf(slices[1]!.ref)}/rendered`, 'image/png')),
      thumbnail: sha256(await bodyOf(`${pathOf(study)}/thumbnail`, 'image/jpeg')),
      plane: sha256(await bodyOf(`${pathOf(series)}/renderedMPR?orientation=coronal`, 'image/png')),
    };
  }
  let open: Record<string, unknown>;

  it('finds what was acknowledged, as soon as it is indexed', async () => {
    expect(await send(gateway.dicomPort, first)).toEqual(first.map(() => SUCCESS));
    await until('the study to be found', 5_000, async () => {
      const [found] = await dicomweb.search('/studies?PatientID=LAN-1');
      return found?.['00201208']?.Value?.[0] === first.length;
    });
    const instances = await dicomweb.search('/instances?AccessionNumber=ACC-LAN');
    expect(instances.length).toBe(first.length);
  });

  it('serves its bytes, metadata, frames and pictures out of open packs', async () => {
    expect(await packStates()).toContain('open');
    for (const { ref, digest, dataSet } of first)
      expect(await dicomweb.dataSetDigest(ref)).toEqual({ digest, lengthBytes: dataSet.length });
    const metadata = await dicomweb.search(`${pathOf(study)}/metadata`);
    expect(metadata.map((json) => json['00080018']?.Value?.[0]).sort()).toEqual(
      first.map(({ ref }) => ref.sopInstanceUid).sort(),
    );
    const frames = await dicomweb.parts(`${pathOf(cine.ref)}/frames/1,2,${FRAMES}`, octets);
    expect(frames.map(({ body }) => body.readUInt32LE(0))).toEqual([0, 1, FRAMES - 1]);
    for (const { ref, width, height } of [
      { ref: slices[1]!.ref, width: 64, height: 48 },
      { ref: deflated.ref, width: 64, height: 64 },
      { ref: cine.ref, width: 128, height: 128 },
    ]) {
      const picture = await bodyOf(`${pathOf(ref)}/rendered`, 'image/jpeg');
      expect(await sharp(picture).metadata()).toMatchObject({ format: 'jpeg', width, height });
    }
  });

  it('serves what is appended to a pack at once', async () => {
    expect(await send(gateway.dicomPort, [appended])).toEqual([SUCCESS]);
    await until('the instance to be indexed', 5_000, async () => {
      return (await gateway.archive.index.getInstance('hospital', appended.ref)) !== undefined;
    });
    const metadata = await dicomweb.search(`${pathOf(series)}/metadata`);
    expect(metadata.map((json) => json['00200013']?.Value?.[0])).toEqual([1, 2, 3, 4]);
    expect((await dicomweb.dataSetDigest(appended.ref)).digest).toBe(appended.digest);
    open = await answers();
    const dataSets = zipEntries(await bodyOf(pathOf(series), 'application/zip')).map(({ bytes }) =>
      sha256(bytes.subarray(bytes.length - slices[0]!.dataSet.length)),
    );
    expect(dataSets.sort()).toEqual(slices.map(({ digest }) => digest).sort());
  });

  it('answers the same after a restart, when the packs are sealed, and when they have their manifests', async () => {
    await gateway.close();
    await start();
    expect(new Set(await packStates())).toEqual(new Set(['sealed']));
    expect(await answers()).toEqual(open);
    const packs = await gateway.archive.index.listPacks('hospital', study);
    await until('the manifests', 10_000, async () => {
      const found = await Promise.all(packs.map((ref) => gateway.archive.packs.head(manifestKey('hospital', ref))));
      return found.every((one) => one !== undefined);
    });
    expect(await answers()).toEqual(open);
  });

  it('says definitely what it cannot give', async () => {
    const status = async (path: string, accept = 'application/dicom+json'): Promise<number> =>
      (await fetch(`${dicomweb.baseUrl}${path}`, { headers: { accept } })).status;
    // It may be in the cloud, which cannot be asked.
    expect(await status(`${pathOf({ studyInstanceUid: freshUid() })}/metadata`)).toBe(503);
    expect(await status(`${pathOf(cine.ref)}/frames/${FRAMES + 1}`, octets)).toBe(404);
    expect(await status(`${pathOf(slices[0]!.ref)}/rendered`, 'video/mp4')).toBe(406);
    expect(await status('/nothing')).toBe(404);
    expect(faults).toEqual([]);
  });
});

describe('what is where', () => {
  let folder: string;
  let gateway: Gateway | undefined;
  const start = async (more: Readonly<Record<string, string>> = {}): Promise<string> => {
    gateway = await startGateway(settingsIn(folder, more), silentLogger);
    return `http://127.0.0.1:${gateway.httpPort}`;
  };
  const stop = async (): Promise<void> => {
    await gateway?.close();
    gateway = undefined;
  };
  const textOf = async (url: string): Promise<string> => (await fetch(url)).text();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'archipel-lan-'));
  });
  afterAll(async () => {
    await stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('gives the root to the viewer as soon as its files are there, and the other names to the status pages', async () => {
    const viewer = join(folder, 'viewer');
    const url = await start({ ARCHIPEL_EDGE_VIEWER_FOLDER: viewer });
    expect(await textOf(`${url}/`)).toContain('Archipel gateway');
    expect((await fetch(`${url}/viewer`)).status).toBe(404);
    await mkdir(viewer);
    await writeFile(join(viewer, 'index.html'), '<title>OHIF</title>');
    for (const path of ['/', '/viewer?StudyInstanceUIDs=1.2', '/studies']) {
      expect(await textOf(url + path)).toContain('OHIF');
    }
    expect(await textOf(`${url}/app-config.js`)).toContain("'/dicomweb'");
    const status = await textOf(`${url}/status`);
    expect(status).toContain('Archipel gateway');
    expect(status).toContain('Open the viewer');
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ health: 'ok' });
    expect(await (await fetch(`${url}/status.json`)).json()).toMatchObject({ health: 'ok', viewer: true });
    expect(await (await fetch(`${url}/studies/1.2.3/progress.json`)).json()).toMatchObject({ archived: 0 });
    expect((await fetch(`${url}/studies/%ff/progress.json`)).status).toBe(200);
    await stop();
  });

  it('shows images to nobody when it listens to the network and was not told to be open', async () => {
    const url = await start({
      ARCHIPEL_EDGE_HOST: '0.0.0.0',
      ARCHIPEL_EDGE_VIEWER_FOLDER: join(folder, 'viewer'),
    });
    for (const path of ['/dicomweb/studies', '/dicomweb/studies/1.2/metadata', '/viewer']) {
      const refused = await fetch(url + path);
      expect(refused.status).toBe(403);
      expect(refused.headers.get('content-type')).toBe('application/problem+json');
      expect(await refused.text()).toContain('ARCHIPEL_EDGE_LAN_ACCESS=open');
    }
    expect(await textOf(`${url}/`)).toContain('Archipel gateway');
    expect(await textOf(`${url}/status`)).not.toContain('Open the viewer');
    await stop();
  });
});

describe('who may see images', () => {
  const allowed = (host: string, lanAccess: 'loopback' | 'open', url: string): boolean => {
    try {
      createLanAccess({ host, lanAccess })(new Request(url));
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'forbidden' });
      return false;
    }
  };

  it.each(['http://127.0.0.1:8081/dicomweb/studies', 'http://localhost/', 'http://[::1]:8081/'])(
    'is this machine, which asks for %s',
    (url) => {
      expect(allowed('127.0.0.1', 'loopback', url)).toBe(true);
      expect(allowed('::1', 'loopback', url)).toBe(true);
      expect(allowed('localhost', 'loopback', url)).toBe(true);
      expect(allowed('0.0.0.0', 'loopback', url)).toBe(false);
      expect(allowed('192.0.2.1', 'loopback', url)).toBe(false);
    },
  );

  it.each(['http://rebound.example:8081/', 'http://127.0.0.1.example/', 'http://192.0.2.1/'])(
    'is nobody who came by another name: %s',
    (url) => {
      expect(allowed('127.0.0.1', 'loopback', url)).toBe(false);
      expect(allowed('0.0.0.0', 'open', url)).toBe(true);
      expect(allowed('127.0.0.1', 'open', url)).toBe(true);
    },
  );
});
