/**
 * npm's dicomweb-client, unmodified, over its XMLHttpRequest: every call that it has, against the gateway and the cloud of one system. It is
 * the library below OHIF, Slim and many tools, and what it sends is not always what the standard says.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { dataSetOffsetOf, sha256 } from '#test/support/dicomweb-client.ts';
import { samplesFolder } from '#test/support/samples.ts';
import { type System, startSystem, until } from '#test/support/system.ts';

interface Uids {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
}
interface MediaType {
  readonly mediaType: string;
  readonly transferSyntaxUID?: string;
}
interface Options extends Partial<Uids> {
  readonly frameNumbers?: readonly number[];
  readonly mediaTypes?: readonly MediaType[];
  readonly queryParams?: Readonly<Record<string, string>>;
  readonly BulkDataURI?: string;
  readonly byteRange?: readonly number[];
  readonly datasets?: readonly ArrayBuffer[];
  readonly contentType?: string;
  readonly request?: { responseType?: string };
}
/** With what the client says of it: the first part's media type and transfer syntax, and its header fields. */
type Received = ArrayBuffer & {
  readonly contentType: string;
  readonly transferSyntaxUID: string | null;
  readonly headers: ReadonlyMap<string, readonly string[]>;
};
type Call<T> = (options?: Options) => Promise<T>;
interface Client {
  searchForStudies: Call<DicomJson[]>;
  searchForSeries: Call<DicomJson[]>;
  searchForInstances: Call<DicomJson[]>;
  retrieveStudyMetadata: Call<DicomJson[]>;
  retrieveSeriesMetadata: Call<DicomJson[]>;
  retrieveInstanceMetadata: Call<DicomJson[]>;
  retrieveStudy: Call<Received[]>;
  retrieveSeries: Call<Received[]>;
  retrieveInstance: Call<Received>;
  retrieveInstanceFrames: Call<Received[]>;
  retrieveInstanceRendered: Call<Received[]>;
  retrieveInstanceThumbnail: Call<Received[]>;
  retrieveInstanceFramesRendered: Call<Received[]>;
  retrieveInstanceFramesThumbnail: Call<Received[]>;
  retrieveBulkData: Call<Received[]>;
  storeInstances: Call<string>;
  buildInstanceWadoURIUrl(options: Options): string;
}
interface ClientOptions {
  readonly url: string;
  readonly verbose: boolean;
  readonly singlepart?: boolean | string;
  readonly wadoURLPrefix?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const require = createRequire(import.meta.url);
const { api } = require('dicomweb-client') as { api: { DICOMwebClient: new (options: ClientOptions) => Client } };

const samples = samplesFolder();
const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const CT_FRAME_BYTES = 16 * 16 * 2;
const bulk = Uint8Array.from({ length: 40_000 }, (_, i) => (i * 31) & 0xff);

const study = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const slices = [1, 2, 3].map((instanceNumber) =>
  makeInstance({ ...study, instanceNumber, rows: 16, columns: 16, patientName: 'Client^Web', patientId: 'DWC-1' }),
);
const withBulk = makeInstance({
  studyInstanceUid: study.studyInstanceUid,
  seriesDescription: 'bulk data',
  patientName: 'Client^Web',
  patientId: 'DWC-1',
  extra: [{ tag: 0x00420011, vr: 'OB', value: bulk }],
});
const made = [...slices, withBulk];
const first = slices[0] as MadeInstance;
/** A cine of 30 colour frames in JPEG. */
const cineFile = samples === undefined ? undefined : join(samples, 'multiframe/examples_ybr_color.dcm');

const uidsOf = ({ ref }: MadeInstance): Uids => ({
  studyInstanceUID: ref.studyInstanceUid,
  seriesInstanceUID: ref.seriesInstanceUid,
  sopInstanceUID: ref.sopInstanceUid,
});
const dataSetOf = (part10: ArrayBuffer): Buffer => {
  const bytes = Buffer.from(part10);
  return bytes.subarray(dataSetOffsetOf(bytes));
};
const bufferOf = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;
const uidOf = (json: DicomJson, key: string): unknown => json[key]?.Value?.[0];
const isJpeg = (bytes: ArrayBuffer): boolean => Buffer.from(bytes).readUInt16BE(0) === 0xffd8;
const isPng = (bytes: ArrayBuffer): boolean => Buffer.from(bytes).readUInt32BE(0) === 0x89504e47;

let work: string;
let system: System;
let cine: Uids | undefined;

beforeAll(async () => {
  Object.assign(globalThis, { XMLHttpRequest: require('xhr2') as unknown });
  work = mkdtempSync(join(tmpdir(), 'archipel-dicomweb-client-'));
  system = await startSystem({ folder: join(work, 'data') });
  const gateway = clientOf('gateway');
  const datasets = made.map(({ file }) => bufferOf(file));
  await gateway.storeInstances({ datasets, studyInstanceUID: study.studyInstanceUid });
  if (cineFile !== undefined && existsSync(cineFile)) {
    const file = readFileSync(cineFile);
    const { dataSet } = readHeader(file);
    cine = {
      studyInstanceUID: dataSet.ascii(0x0020000d) ?? '',
      seriesInstanceUID: dataSet.ascii(0x0020000e) ?? '',
      sopInstanceUID: dataSet.ascii(0x00080018) ?? '',
    };
    await gateway.storeInstances({ datasets: [bufferOf(file)] });
  }
  await system.waitUntilArchived(made.length + (cine === undefined ? 0 : 1));
});
afterAll(async () => {
  await system?.stop();
  rmSync(work, { recursive: true, force: true });
});

function clientOf(host: 'gateway' | 'cloud', more: Partial<ClientOptions> = {}): Client {
  const url = `${host === 'gateway' ? system.gatewayUrl : system.cloudUrl}/dicomweb`;
  return new api.DICOMwebClient({ url, verbose: false, ...more });
}

describe.each(['gateway', 'cloud'] as const)('dicomweb-client and the %s', (host) => {
  let client: Client;
  beforeAll(() => {
    client = clientOf(host);
  });

  it('searches for studies, series and instances, with and without parameters', async () => {
    expect((await client.searchForStudies()).length).toBeGreaterThan(0);
    const byName = await client.searchForStudies({
      queryParams: { PatientName: '*lient*', limit: '101', offset: '0', includefield: '00081030,00080060' },
    });
    expect(byName.map((json) => uidOf(json, '0020000D'))).toEqual([study.studyInstanceUid]);
    expect(uidOf(byName[0] ?? {}, '00081030')).toBe('Study');
    const series = await client.searchForSeries({ studyInstanceUID: study.studyInstanceUid });
    expect(series).toHaveLength(2);
    const described = { SeriesDescription: 'bulk data', PatientID: 'DWC-1' };
    expect(await client.searchForSeries({ queryParams: described })).toHaveLength(1);
    const { studyInstanceUID, seriesInstanceUID } = uidsOf(first);
    expect(await client.searchForInstances({ studyInstanceUID })).toHaveLength(4);
    expect(await client.searchForInstances({ studyInstanceUID, seriesInstanceUID })).toHaveLength(3);
    expect(await client.searchForInstances({ queryParams: { PatientID: 'DWC-1', InstanceNumber: '2' } })).toHaveLength(
      1,
    );
  });

  it('is told that there is nothing by 200 and an empty array (dcm4chee, Orthanc: 204 or 200 [])', async () => {
    const found = await client.searchForStudies({ queryParams: { PatientID: 'nobody has this one' } });
    expect(found).toEqual([]);
    const { status } = await fetch(`${hostUrl()}/studies?PatientID=nobody%20has%20this%20one`);
    expect(status).toBe(200);
  });

  it('retrieves metadata of a study, a series and an instance', async () => {
    const uids = uidsOf(first);
    expect(await client.retrieveStudyMetadata(uids)).toHaveLength(4);
    expect(await client.retrieveSeriesMetadata(uids)).toHaveLength(3);
    const [json, ...more] = await client.retrieveInstanceMetadata(uids);
    expect(more).toEqual([]);
    expect(uidOf(json ?? {}, '00080018')).toBe(uids.sopInstanceUID);
    expect(json?.['00100010']?.Value).toEqual([{ Alphabetic: 'Client^Web' }]);
    expect(json?.['00280010']?.Value).toEqual([16]);
  });

  it('retrieves a study, a series and an instance, each as it was stored', async () => {
    const uids = uidsOf(first);
    const digests = (parts: readonly ArrayBuffer[]): string[] => parts.map((part) => sha256(dataSetOf(part))).sort();
    const expected = (of: readonly MadeInstance[]): string[] => of.map(({ digest }) => digest).sort();
    expect(digests(await client.retrieveStudy(uids))).toEqual(expected(made));
    expect(digests(await client.retrieveSeries(uids))).toEqual(expected(slices));
    expect(digests([await client.retrieveInstance(uids)])).toEqual([first.digest]);
  });

  it('retrieves native frames, by its default and by name', async () => {
    const asked: (readonly MediaType[] | undefined)[] = [
      undefined,
      [{ mediaType: 'application/octet-stream' }],
      [{ mediaType: 'application/octet-stream', transferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN }],
      [{ mediaType: 'application/octet-stream', transferSyntaxUID: '*' }],
      [{ mediaType: 'application/octet-stream' }, { mediaType: 'image/jpeg' }, { mediaType: 'image/jp2' }],
    ];
    for (const mediaTypes of asked) {
      const options = { ...uidsOf(first), frameNumbers: [1], ...(mediaTypes === undefined ? {} : { mediaTypes }) };
      const [frame, ...more] = await client.retrieveInstanceFrames(options);
      expect(more).toEqual([]);
      expect(frame?.contentType).toBe('application/octet-stream');
      expect(Buffer.compare(Buffer.from(frame!), Buffer.from(first.dataSet.subarray(-CT_FRAME_BYTES)))).toBe(0);
    }
  });

  it('retrieves compressed frames, by their type, by any type, and decoded', async () => {
    if (cine === undefined) return;
    const frames = { ...cine, frameNumbers: [1, 30] };
    const asked: readonly (readonly MediaType[])[] = [
      [{ mediaType: 'image/jpeg' }],
      [{ mediaType: 'image/jpeg', transferSyntaxUID: JPEG_BASELINE }],
      [{ mediaType: 'image/*', transferSyntaxUID: '*' }],
      [
        { mediaType: 'application/octet-stream', transferSyntaxUID: '*' },
        { mediaType: 'image/jls' },
        { mediaType: 'image/jpeg' },
      ],
    ];
    for (const mediaTypes of asked) {
      const found = await client.retrieveInstanceFrames({ ...frames, mediaTypes });
      expect(found, JSON.stringify(mediaTypes)).toHaveLength(2);
      expect(found.every(isJpeg)).toBe(true);
      expect(found[0]?.contentType).toBe('image/jpeg');
      expect(found[0]?.transferSyntaxUID).toBe(JPEG_BASELINE);
    }
    const decoded = await client.retrieveInstanceFrames(frames);
    expect(decoded.map(({ byteLength }) => byteLength)).toEqual([320 * 240 * 3, 320 * 240 * 3]);
    expect(decoded[0]?.contentType).toBe('application/octet-stream');
  });

  it('retrieves pictures and thumbnails of instances and frames', async () => {
    const uids = uidsOf(first);
    const [jpeg] = await client.retrieveInstanceRendered(uids);
    expect(isJpeg(jpeg!)).toBe(true);
    const mediaTypes = [{ mediaType: 'image/png' }];
    const queryParams = { window: '100,200,linear', viewport: '32,32' };
    const [png] = await client.retrieveInstanceRendered({ ...uids, mediaTypes, queryParams });
    expect(isPng(png!)).toBe(true);
    expect(Buffer.from(png!).readUInt32BE(16)).toBe(32);
    const image = [{ mediaType: 'image/jpeg' }];
    for (const found of [
      await client.retrieveInstanceThumbnail(uids),
      await client.retrieveInstanceThumbnail({ ...uids, mediaTypes: image, queryParams: { viewport: '64,64' } }),
      await client.retrieveInstanceFramesRendered({ ...uids, frameNumbers: [1], mediaTypes: image }),
      await client.retrieveInstanceFramesRendered({ ...uids, frameNumbers: [1], queryParams: { quality: '50' } }),
      await client.retrieveInstanceFramesThumbnail({ ...uids, frameNumbers: [1] }),
      await client.retrieveInstanceFramesThumbnail({ ...uids, frameNumbers: [1], mediaTypes: image }),
    ]) {
      expect(found).toHaveLength(1);
      expect(isJpeg(found[0]!)).toBe(true);
    }
  });

  it('follows the BulkDataURI of the metadata, port and all (Orthanc 1.10.1 and the IDC client)', async () => {
    const uids = uidsOf(withBulk);
    const [json] = await client.retrieveInstanceMetadata(uids);
    const BulkDataURI = json?.['00420011']?.BulkDataURI;
    expect(new URL(BulkDataURI ?? '').origin).toBe(new URL(hostUrl()).origin);
    for (const options of [{}, { mediaTypes: [{ mediaType: 'application/octet-stream' }] }]) {
      const [value] = await client.retrieveBulkData({ BulkDataURI: BulkDataURI!, ...options });
      expect(Buffer.compare(Buffer.from(value!), Buffer.from(bulk))).toBe(0);
    }
    const single = clientOf(host, { singlepart: true, headers: { Accept: 'application/octet-stream' } });
    const [whole] = await single.retrieveBulkData({ BulkDataURI: BulkDataURI! });
    expect(Buffer.compare(Buffer.from(whole!), Buffer.from(bulk))).toBe(0);
  });

  it('gets a part of bulk data where it asks for a range of bytes', async () => {
    const [json] = await client.retrieveInstanceMetadata(uidsOf(withBulk));
    const BulkDataURI = json?.['00420011']?.BulkDataURI ?? '';
    const headers = { Accept: 'application/octet-stream', Range: 'bytes=100-199' };
    const [piece] = await clientOf(host, { singlepart: 'bulkdata', headers }).retrieveBulkData({ BulkDataURI });
    expect(Buffer.compare(Buffer.from(piece!), Buffer.from(bulk.subarray(100, 200)))).toBe(0);
    // A multipart body has no such ranges: the whole is the right answer then (RFC 9110 §14.2).
    const [whole] = await client.retrieveBulkData({ BulkDataURI, byteRange: [100, 199] });
    expect(whole?.byteLength).toBe(bulk.length);
  });

  it('builds a WADO-URI that gives the instance, and pictures', async () => {
    const byUri = clientOf(host, { wadoURLPrefix: 'wado' });
    const url = byUri.buildInstanceWadoURIUrl(uidsOf(first));
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/dicom/);
    expect(sha256(dataSetOf(await response.arrayBuffer()))).toBe(first.digest);
    const picture = await fetch(byUri.buildInstanceWadoURIUrl({ ...uidsOf(first), contentType: 'image/jpeg' }));
    expect(picture.status).toBe(200);
    expect(isJpeg(await picture.arrayBuffer())).toBe(true);
  });

  it('stores instances, of any study and of one, and again', async () => {
    const studyInstanceUID = freshUid();
    const mine = [
      makeInstance({ studyInstanceUid: studyInstanceUID }),
      makeInstance({ studyInstanceUid: studyInstanceUID }),
    ];
    const datasets = mine.map(({ file }) => bufferOf(file));
    for (const where of [{}, { studyInstanceUID }, { studyInstanceUID }]) {
      const answer = JSON.parse(await client.storeInstances({ datasets, ...where })) as DicomJson;
      expect(answer['00081199']?.Value).toHaveLength(2);
      expect(answer['00081198']).toBeUndefined();
    }
    await until('what was stored to be found', 20_000, async () => {
      return (await client.searchForInstances({ studyInstanceUID })).length === 2;
    });
    const back = await client.retrieveStudy({ studyInstanceUID });
    expect(back.map((part) => sha256(dataSetOf(part))).sort()).toEqual(mine.map(({ digest }) => digest).sort());
  });

  it('is refused what is not there by status, not by a broken body', async () => {
    const nobody = { studyInstanceUID: freshUid() };
    await expect(client.retrieveStudy(nobody)).rejects.toMatchObject({ status: 404 });
    await expect(client.retrieveStudyMetadata(nobody)).rejects.toMatchObject({ status: 404 });
    const beyond = { ...uidsOf(first), frameNumbers: [2] };
    await expect(client.retrieveInstanceFrames(beyond)).rejects.toMatchObject({ status: 404 });
  });

  const hostUrl = (): string => `${host === 'gateway' ? system.gatewayUrl : system.cloudUrl}/dicomweb`;
});
