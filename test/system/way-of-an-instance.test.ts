/**
 * The main job, from end to end on real processes, sockets and disks: a study goes in by C-STORE and comes out of the
 * cloud by DICOMweb, byte by byte the same, through duplicates, conflicts, broken objects and restarts.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { freshUid, type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, pathOf, sha256 } from '#test/support/dicomweb-client.ts';
import { type Sendable, send } from '#test/support/sender.ts';
import { type System, startSystem } from '#test/support/system.ts';
import { zipEntries } from '#test/support/zip-reader.ts';

const SUCCESS = 0x0000;
const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const IMPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2';
const EXPLICIT_BIG_ENDIAN = '1.2.840.10008.1.2.2';
const DEFLATED = '1.2.840.10008.1.2.1.99';
const FRAME_BYTES = 512 * 512 * 2;
const FRAMES = 40;

const study: InstanceOptions = {
  studyInstanceUid: freshUid(),
  patientId: 'WAY-1',
  patientName: 'Way^Of An Instance',
  accessionNumber: 'ACC-WAY',
};

function seriesOf(count: number, options: InstanceOptions): MadeInstance[] {
  const seriesInstanceUid = freshUid();
  return Array.from({ length: count }, (_, i) =>
    makeInstance({ ...study, seriesInstanceUid, instanceNumber: i + 1, ...options }),
  );
}

const jpegFrame = await sharp({ create: { width: 48, height: 32, channels: 3, background: '#804020' } })
  .jpeg({ quality: 90 })
  .toBuffer();
const slices = seriesOf(6, { rows: 48, columns: 64, seriesNumber: 1 });
const mixed = [
  ...seriesOf(2, { rows: 48, columns: 64, seriesNumber: 2, transferSyntaxUid: IMPLICIT_LITTLE_ENDIAN }),
  ...seriesOf(1, { rows: 48, columns: 64, seriesNumber: 3, transferSyntaxUid: EXPLICIT_BIG_ENDIAN }),
  ...seriesOf(2, { rows: 64, columns: 64, seriesNumber: 4, transferSyntaxUid: DEFLATED, modality: 'SEG' }),
];
const [photograph] = seriesOf(1, {
  seriesNumber: 5,
  modality: 'XC',
  transferSyntaxUid: JPEG_BASELINE,
  samplesPerPixel: 3,
  bitsAllocated: 8,
  photometricInterpretation: 'YBR_FULL_422',
  rows: 32,
  columns: 48,
  pixels: [new Uint8Array(jpegFrame)],
}) as [MadeInstance];
const cinePixels = new Uint8Array(randomBytes(FRAME_BYTES * FRAMES));
const [cine] = seriesOf(1, {
  seriesNumber: 6,
  modality: 'XA',
  rows: 512,
  columns: 512,
  frames: FRAMES,
  pixels: cinePixels,
}) as [MadeInstance];
const all = [...slices, ...mixed, photograph, cine];

/** The same UIDs as the first slice, other bytes. */
const rival = makeInstance({ ...study, ...slices[0]!.ref, rows: 48, columns: 64, seriesDescription: 'edited' });

/** Data sets that are wrong in ways a sender's file can be; a definite answer each, never Success for what cannot be kept. */
const broken: readonly (Sendable & { what: string; refused: boolean })[] = [
  { what: 'noise', dataSet: new Uint8Array(randomBytes(5_000)), refused: true },
  { what: 'empty', dataSet: new Uint8Array(0), refused: true },
  { what: 'cut within an element of the header', dataSet: slices[1]!.dataSet.subarray(0, 150), refused: true },
  { what: 'without a SOP Instance UID', dataSet: makeInstance({ without: [0x00080018] }).dataSet, refused: true },
  { what: 'under another SOP Instance UID than announced', dataSet: makeInstance().dataSet, refused: true },
].map(({ what, dataSet, refused }) => ({
  what,
  dataSet,
  refused,
  ref: { sopInstanceUid: freshUid() },
  sopClassUid: slices[0]!.sopClassUid,
  transferSyntaxUid: slices[0]!.transferSyntaxUid,
}));
/** Sent right before an orderly end, while its pack is open. */
const late = makeInstance({ ...study, seriesInstanceUid: freshUid(), rows: 48, columns: 64 });

describe('the way of an instance', () => {
  let folder: string;
  let system: System;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'archipel-system-'));
    system = await startSystem({ folder });
  });
  afterAll(async () => {
    await system?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const countsOf = (json: DicomJson | undefined): unknown[] =>
    ['00201206', '00201208', '00201209'].map((key) => json?.[key]?.Value?.[0]);

  it('takes the study, a duplicate, a conflict and what is broken, each with a definite answer', async () => {
    expect(await send(system.dicomPort, all)).toEqual(all.map(() => SUCCESS));
    expect(await send(system.dicomPort, [slices[2]!, rival, slices[2]!, rival])).toEqual([0, 0, 0, 0]);

    const batch: Sendable[] = broken.flatMap((one, i) => [one, slices[i]!]);
    const statuses = await send(system.dicomPort, batch);
    for (const [i, { what, refused }] of broken.entries()) {
      expect(statuses[2 * i] !== SUCCESS, what).toBe(refused);
      expect(statuses[2 * i + 1], `what follows ${what}`).toBe(SUCCESS);
    }
  });

  it('brings all of it to the cloud', async () => {
    await system.waitUntilArchived(all.length + 1, 20_000);
    const { packs } = await system.status();
    expect(packs.archived.instances).toBe(all.length + 1);
  });

  it('counts right at all three levels of QIDO-RS', async () => {
    const studies = await system.dicomweb.search('/studies?PatientID=WAY-1');
    expect(studies.map(countsOf)).toEqual([[6, all.length, undefined]]);
    expect(studies[0]?.['00080061']?.Value).toEqual(['CT', 'SEG', 'XA', 'XC']);
    const series = await system.dicomweb.search(`${pathOf(slices[0]!.ref)}`.replace(/\/series.*/, '/series'));
    const bySeries = new Map(series.map((json) => [json['0020000E']?.Value?.[0], json['00201209']?.Value?.[0]]));
    const expected = Map.groupBy(all, ({ ref }) => ref.seriesInstanceUid);
    expect(bySeries).toEqual(new Map([...expected].map(([uid, instances]) => [uid, instances.length])));
    const instances = await system.dicomweb.search(`/instances?AccessionNumber=ACC-WAY`);
    expect(instances.map((json) => json['00080018']?.Value?.[0]).sort()).toEqual(
      all.map(({ ref }) => ref.sopInstanceUid).sort(),
    );
  });

  it('gives every instance back with its data set bytes unchanged', async () => {
    for (const instance of all)
      expect(await system.dicomweb.dataSetDigest(instance.ref), instance.transferSyntaxUid).toEqual({
        digest: instance.digest,
        lengthBytes: instance.dataSet.length,
      });
  });

  it('gives a whole study as parts and as a ZIP file of DICOM files', async () => {
    const ref = { studyInstanceUid: slices[0]!.ref.studyInstanceUid };
    const parts = await system.dicomweb.parts(pathOf(ref));
    expect(parts.length).toBe(all.length);
    const response = await system.dicomweb.get(pathOf(ref), 'application/zip');
    const entries = zipEntries(Buffer.from(await response.arrayBuffer()));
    const expected = new Map(all.map((instance) => [instance.ref.sopInstanceUid, instance.digest]));
    expect(entries.length).toBe(all.length);
    for (const { name, bytes } of entries) {
      const uid = /([0-9.]+)\.dcm$/.exec(name)?.[1] ?? '';
      const dataSetBytes = all.find(({ ref }) => ref.sopInstanceUid === uid)?.dataSet.length ?? 0;
      expect(sha256(bytes.subarray(bytes.length - dataSetBytes)), name).toBe(expected.get(uid));
    }
  });

  it('keeps both sides of a conflict, serves the first, and the other by its digest', async () => {
    const [first] = slices as [MadeInstance];
    expect(sha256(await system.dicomweb.dataSet(first.ref))).toBe(first.digest);
    expect(sha256(await system.dicomweb.dataSet(first.ref, rival.digest))).toBe(rival.digest);
    expect(sha256(await system.dicomweb.dataSet(first.ref, first.digest))).toBe(first.digest);
  });

  it('shows metadata of each instance, without pixels', async () => {
    const path = pathOf({ studyInstanceUid: slices[0]!.ref.studyInstanceUid });
    const metadata = await system.dicomweb.search(`${path}/metadata`);
    expect(metadata.map((json) => json['00080018']?.Value?.[0]).sort()).toEqual(
      all.map(({ ref }) => ref.sopInstanceUid).sort(),
    );
    const pixelData = metadata.map((json) => json['7FE00010']);
    expect(pixelData.every((element) => element === undefined || element.InlineBinary === undefined)).toBe(true);
  });

  it('gives frames: native ones as they lie, compressed ones as they are', async () => {
    const accept = 'multipart/related; type="application/octet-stream"';
    const frames = await system.dicomweb.parts(`${pathOf(cine.ref)}/frames/1,17,${FRAMES}`, accept);
    const frame = (n: number): Uint8Array => cinePixels.subarray((n - 1) * FRAME_BYTES, n * FRAME_BYTES);
    expect(frames.map(({ body }) => sha256(body))).toEqual([1, 17, FRAMES].map((n) => sha256(frame(n))));
    const [picture] = await system.dicomweb.parts(
      `${pathOf(photograph.ref)}/frames/1`,
      `multipart/related; type="image/jpeg"; transfer-syntax=${JPEG_BASELINE}`,
    );
    expect(picture?.body.subarray(0, jpegFrame.length).equals(jpegFrame)).toBe(true);
  });

  it('draws pictures of the right size', async () => {
    for (const { ref, width, height } of [
      { ref: slices[3]!.ref, width: 64, height: 48 },
      { ref: mixed[0]!.ref, width: 64, height: 48 },
      { ref: mixed[2]!.ref, width: 64, height: 48 },
      { ref: mixed[3]!.ref, width: 64, height: 64 },
      { ref: photograph.ref, width: 48, height: 32 },
      { ref: cine.ref, width: 512, height: 512 },
    ]) {
      const response = await system.dicomweb.get(`${pathOf(ref)}/rendered`, 'image/jpeg');
      const bytes = Buffer.from(await response.arrayBuffer());
      expect(bytes.subarray(0, 2).toString('hex')).toBe('ffd8');
      expect(await sharp(bytes).metadata()).toMatchObject({ format: 'jpeg', width, height });
    }
  });

  it('answers on the gateway as in the cloud', async () => {
    const onSite = new DicomwebClient(`${system.gatewayUrl}/dicomweb`);
    const path = pathOf({ studyInstanceUid: slices[0]!.ref.studyInstanceUid });
    const answers = async (dicomweb: DicomwebClient): Promise<unknown> => {
      const text = async (what: string): Promise<string> =>
        (await (await dicomweb.get(what, 'application/dicom+json')).text()).replaceAll(dicomweb.baseUrl, '');
      const zip = await dicomweb.get(path, 'application/zip');
      const picture = await dicomweb.get(`${pathOf(photograph.ref)}/rendered`, 'image/png');
      return {
        studies: await text('/studies?PatientID=WAY-1'),
        series: await text(`${path}/series`),
        instances: await text(`${path}/instances`),
        metadata: await text(`${path}/metadata`),
        parts: (await dicomweb.parts(path)).map(({ headers, body }) => [headers.get('content-type'), sha256(body)]),
        zip: sha256(Buffer.from(await zip.arrayBuffer())),
        picture: sha256(Buffer.from(await picture.arrayBuffer())),
      };
    };
    expect(await answers(onSite)).toEqual(await answers(system.dicomweb));
  });

  it('lets no second process work on the same folder', async () => {
    await expect(startSystem({ folder })).rejects.toThrow(/Another process works on/);
    expect((await system.status()).health).toBe('ok');
  });

  it('keeps everything over an orderly end and over a kill, and finds duplicates again', async () => {
    expect(await send(system.dicomPort, [late])).toEqual([SUCCESS]);
    expect(await system.stop()).toBe(0);
    await system.start();
    await system.killEverything();
    await system.start();
    const before = await system.waitUntilArchived(all.length + 2, 20_000);
    expect(await send(system.dicomPort, [...all, rival, late])).toEqual([...all, rival, late].map(() => SUCCESS));
    for (const instance of [...all, late])
      expect((await system.dicomweb.dataSetDigest(instance.ref)).digest).toBe(instance.digest);
    const after = await system.waitUntilArchived(all.length + 2, 20_000);
    expect(after.packs.archived).toEqual(before.packs.archived);
    const studies = await system.dicomweb.search('/studies?PatientID=WAY-1');
    expect(studies.map(countsOf)).toEqual([[7, all.length + 1, undefined]]);
  });
});
