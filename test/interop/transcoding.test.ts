/**
 * What is compressed here, decompressed by DCMTK: JPEG Lossless, JPEG-LS and RLE value by value, JPEG Baseline within its error; of signed and unsigned
 * pixels of 8 and 16 bits, colour, odd sizes and several frames.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { createDicomwebService, type Service } from '#shared/dicomweb/service.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';
import { pathOf } from '#test/support/dicomweb-client.ts';
import { hasPrograms, run } from './dcmtk.ts';

const JPEG = '1.2.840.10008.1.2.4.50';
const JPEG_LOSSLESS = '1.2.840.10008.1.2.4.70';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const RLE = '1.2.840.10008.1.2.5';
/** The largest error of JPEG at quality 90 on a smooth picture, with DCMTK's own conversion of colours. */
const JPEG_ERROR = 12;

const shapes: readonly (readonly [string, InstanceOptions])[] = [
  ['12 of 16 bits', { rows: 61, columns: 67, bitsStored: 12 }],
  ['16 bits, signed, three frames', { rows: 31, columns: 33, pixelRepresentation: 1, frames: 3 }],
  ['8 bits', { rows: 55, columns: 57, bitsAllocated: 8, photometricInterpretation: 'MONOCHROME1' }],
  ['RGB, two frames', { rows: 41, columns: 43, bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB', frames: 2 }], // biome-ignore format: a table
];

/** Smooth, with the corners of the range in it. */
function pixelsOf(options: InstanceOptions): Uint8Array {
  const {
    rows = 0,
    columns = 0,
    bitsAllocated = 16,
    bitsStored = bitsAllocated,
    samplesPerPixel = 1,
    frames = 1,
  } = options;
  const count = rows * columns * samplesPerPixel * frames;
  const bytes = Buffer.alloc(count * (bitsAllocated / 8));
  const low = options.pixelRepresentation === 1 ? -(2 ** (bitsStored - 1)) : 0;
  const most = 2 ** bitsStored - 1;
  for (let i = 0; i < count; i++) {
    const pixel = Math.floor(i / samplesPerPixel);
    const wave =
      (Math.sin((pixel % columns) / 9 + (i % samplesPerPixel)) * Math.cos(Math.floor(pixel / columns) / 7) + 1) / 2;
    const value = low + Math.round(wave * most);
    if (bitsAllocated === 8) bytes.writeUInt8(value & 0xff, i);
    else bytes.writeUInt16LE(value & 0xffff, i * 2);
  }
  return bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
}

const instances = shapes.map(([name, options]) => {
  const pixels = pixelsOf(options);
  return { name, options, pixels, made: makeInstance({ ...options, pixels }) };
});

const pool = createRenderPool({ timeoutMs: 60_000 });
const folder = mkdtempSync(join(tmpdir(), 'archipel-transcoding-'));
let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive(instances.map(({ made }) => made.file));
  const { archive, tenant } = fixture;
  service = createDicomwebService({ archive, tenantOf: () => tenant, render: pool.render, transcode: pool.transcode, log: silentLogger }); // biome-ignore format: one call
});
afterAll(async () => {
  await pool.close();
  await fixture?.close();
  rmSync(folder, { recursive: true });
});

/** Pixel Data after DCMTK has decompressed the instance. */
async function throughDcmtk(program: string, made: (typeof instances)[number]['made'], syntax: string) {
  const accept = `application/dicom; transfer-syntax=${syntax}`;
  const request = new Request(`http://archive.example/dicomweb${pathOf(made.ref)}`, { headers: { accept } });
  const response = await service(request);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, accept]);
  const [compressed, native] = [join(folder, 'compressed.dcm'), join(folder, 'native.dcm')];
  writeFileSync(compressed, Buffer.from(await response.arrayBuffer()));
  const { code, text } = await run(program, [compressed, native]);
  expect([code, text]).toEqual([0, '']);
  const file = readFileSync(native);
  const { dataSet, pixelData } = readHeader(file);
  const { offsetBytes = 0, lengthBytes = 0 } = pixelData ?? {};
  return { dataSet, pixels: file.subarray(offsetBytes, offsetBytes + lengthBytes) };
}

/** By pixel: DCMTK gives planes where the data set says so. */
function byPixel(pixels: Buffer, options: InstanceOptions, planar: number): Buffer {
  const { rows = 0, columns = 0, samplesPerPixel = 1, frames = 1 } = options;
  if (planar !== 1) return pixels;
  const size = rows * columns;
  const out = Buffer.alloc(pixels.length);
  for (let frame = 0; frame < frames; frame++)
    for (let i = 0; i < size; i++)
      for (let sample = 0; sample < samplesPerPixel; sample++)
        out[(frame * size + i) * samplesPerPixel + sample] = pixels[(frame * samplesPerPixel + sample) * size + i] ?? 0;
  return out;
}

describe.skipIf(!hasPrograms('dcmdjpls', 'dcmdrle', 'dcmdjpeg'))('DCMTK reads', () => {
  for (const [program, syntax] of [['dcmdjpls', JPEG_LS], ['dcmdrle', RLE], ['dcmdjpeg', JPEG_LOSSLESS]] as const) // biome-ignore format: a table
    it.each(instances)(`${syntax}: $name`, async ({ made, options, pixels }) => {
      const found = await throughDcmtk(program, made, syntax);
      expect(found.dataSet.ascii(Tag.SOPInstanceUID)).toBe(made.ref.sopInstanceUid);
      const planar = found.dataSet.number(Tag.PlanarConfiguration) ?? 0;
      expect(byPixel(found.pixels, options, planar).equals(pixels)).toBe(true);
    });

  it.each(instances.filter(({ options }) => options.bitsAllocated === 8))(
    `${JPEG}: $name`,
    async ({ made, options, pixels }) => {
      const found = await throughDcmtk('dcmdjpeg', made, JPEG);
      const planar = found.dataSet.number(Tag.PlanarConfiguration) ?? 0;
      const decoded = byPixel(found.pixels, options, planar);
      expect(decoded.length).toBe(pixels.length);
      expect(
        decoded.reduce((most, value, i) => Math.max(most, Math.abs(value - (pixels[i] ?? 0))), 0),
      ).toBeLessThanOrEqual(JPEG_ERROR);
    },
  );
});
