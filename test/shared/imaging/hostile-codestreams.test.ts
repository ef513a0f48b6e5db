/**
 * Damaged and hostile frames of every codec, on render threads under limits of time and memory, as the service has them: each ends in
 * an error with its reason or in a frame of the right size, the thread is there for the next one, and nothing grows. A few of the cuts and
 * flips run always; ARCHIPEL_ALL_SAMPLES=1 takes a hundred of each and says how long the slowest took.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { type ImageAttributes, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { createRenderPool, type RenderPool } from '#shared/imaging/render-pool.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { samplesFolder } from '#test/support/samples.ts';
import { attributesWith, EXPLICIT_LITTLE, noise } from './image-fixture.ts';
import { openSample } from './sample-frames.ts';

const isWhole = process.env.ARCHIPEL_ALL_SAMPLES === '1';
const rounds = isWhole ? 100 : 4;
const uid = (last: string) => `1.2.840.10008.1.2.${last}`;

interface Subject {
  readonly transferSyntaxUid: string;
  readonly frame: Uint8Array;
  readonly attributes: ImageAttributes;
}

let pool: RenderPool;
let slowestMs = 0;
const outcomes = new Map<string, number>();
beforeAll(async () => {
  pool = createRenderPool({ threads: 1, timeoutMs: 20_000, memoryMb: 1024 });
});
afterAll(async () => {
  if (isWhole) console.log(Object.fromEntries(outcomes), `slowest ${slowestMs.toFixed(0)} ms`);
  await pool.close();
});

/** Undefined where the frame decodes, else why it does not: a sentence of the archive's own, never a bug. */
async function reasonAgainst({ transferSyntaxUid, frame, attributes }: Subject): Promise<string | undefined> {
  const { rows, columns, samplesPerPixel, bitsAllocated } = attributes;
  const startMs = performance.now();
  try {
    const { bytes } = await pool.transcode({
      frame: Uint8Array.from(frame),
      fromTransferSyntaxUid: transferSyntaxUid,
      toTransferSyntaxUid: EXPLICIT_LITTLE,
      attributes,
    });
    expect(bytes.length).toBe(Math.ceil((rows * columns * samplesPerPixel * bitsAllocated) / 8));
    outcomes.set('decoded', (outcomes.get('decoded') ?? 0) + 1);
    return undefined;
  } catch (error) {
    if (!isArchiveError(error, 'cannot-render') && !isArchiveError(error, 'timeout')) throw error;
    expect(error.message).toMatch(/^[A-Z].{15,300}$/s);
    outcomes.set(error.code, (outcomes.get(error.code) ?? 0) + 1);
    return error.message;
  } finally {
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  }
}

const wordsOf = (count: number, most: number) =>
  new Uint8Array(Uint16Array.from({ length: count }, (_, i) => (i * 37 + ((i * i) >> 3)) % most).buffer);

/** A small picture in every transfer syntax that frames can be encoded in. */
async function made(last: string, changes: Partial<ImageAttributes> = {}): Promise<Subject> {
  const attributes = attributesWith({ rows: 24, columns: 30, bitsStored: 12, ...changes });
  const samples = 24 * 30 * attributes.samplesPerPixel;
  const native = attributes.bitsAllocated === 16 ? wordsOf(samples, 4096) : wordsOf(samples / 2, 65536);
  const { bytes, photometricInterpretation } = await transcodeFrame({
    frame: native,
    fromTransferSyntaxUid: EXPLICIT_LITTLE,
    toTransferSyntaxUid: uid(last),
    attributes,
  });
  return { transferSyntaxUid: uid(last), frame: bytes, attributes: { ...attributes, photometricInterpretation } };
}

const rgb = { bitsAllocated: 8, bitsStored: 8, highBit: 7, samplesPerPixel: 3, photometricInterpretation: 'RGB' };
const root = samplesFolder();
const sampled: Readonly<Record<string, string>> = {
  'JPEG extended, 12 bits': 'transfer-syntaxes/ct-one-image/CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm',
  'progressive JPEG': 'transfer-syntaxes/ct-one-image/CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm',
  'JPEG 2000, lossy': 'transfer-syntaxes/jpeg2000/MR_small_jp2klossless.dcm',
}; // biome-ignore format: a table

const subjects: readonly (readonly [string, () => Promise<Subject>])[] = [
  ['RLE', () => made('5')],
  ['deflated', () => made('8.1')],
  ['JPEG Baseline', () => made('4.50', rgb)],
  ['JPEG Lossless', () => made('4.70')],
  ['JPEG-LS', () => made('4.80', rgb)],
  ['JPEG 2000', () => made('4.90')],
  ['JPEG 2000, colour', () => made('4.90', rgb)],
  ['HTJ2K', () => made('4.202')],
  ['JPEG XL', () => made('4.110')],
  ['JPEG XL, colour', () => made('4.110', rgb)],
  ...Object.entries(sampled).flatMap(([name, file]): [string, () => Promise<Subject>][] =>
    root === undefined || !existsSync(join(root, file))
      ? []
      : [
          [
            name,
            async () => {
              const { metadata, transferSyntaxUid, frame } = await openSample(join(root, file));
              return { transferSyntaxUid, frame: frame(1).bytes, attributes: imageAttributesOf(metadata, 1) };
            },
          ],
        ],
  ),
];

describe.each(subjects)('%s', (_name, make) => {
  it('cut anywhere, with bits flipped, or under another size, fails with a reason and leaves its thread sound', async () => {
    const subject = await make();
    const { frame, attributes } = subject;
    expect(await reasonAgainst(subject)).toBeUndefined();
    for (let i = 0; i < rounds; i++)
      await reasonAgainst({ ...subject, frame: frame.subarray(0, Math.floor((frame.length * i) / rounds)) });
    expect(await reasonAgainst({ ...subject, frame: frame.subarray(0, 3) })).toBeDefined();
    const random = noise(frame.length);
    for (let i = 0; i < rounds; i++) {
      const changed = Uint8Array.from(frame);
      // Headers are where it hurts, entropy coded data where most bits are.
      const reach = i % 2 === 0 ? Math.min(120, frame.length) : frame.length;
      for (let flips = 1 + random(3); flips > 0; flips--) {
        const at = random(reach);
        changed[at] = changed[at]! ^ (1 << random(8));
      }
      await reasonAgainst({ ...subject, frame: changed });
    }
    const { rows, columns, samplesPerPixel } = attributes;
    for (const lie of [
      { rows: rows + 1 },
      { columns: columns + 1 },
      { rows: 65535, columns: 65535 },
      { rows: 20_000, columns: 10_000 },
      { samplesPerPixel: samplesPerPixel === 1 ? 3 : 1, photometricInterpretation: samplesPerPixel === 1 ? 'RGB' : 'MONOCHROME2' }, // biome-ignore format: a table
    ])
      expect(await reasonAgainst({ ...subject, attributes: { ...attributes, ...lie } })).toBeDefined();
    expect(await reasonAgainst(subject)).toBeUndefined();
  }, 600_000);
});

/** The position of a two-byte marker. */
const markerAt = (frame: Uint8Array, marker: string) => Buffer.from(frame).indexOf(marker, 0, 'hex');
const withBytes = (frame: Uint8Array, at: number, bytes: readonly number[]) => {
  const changed = Uint8Array.from(frame);
  changed.set(bytes, at);
  return changed;
};
const repeated = (bytes: Uint8Array, times: number) => Buffer.concat(Array.from({ length: times }, () => bytes));

describe('bombs', () => {
  it('deflated to a thousandth of their length are inflated to a frame and no further', async () => {
    const subject = await made('8.1');
    const frame = deflateRawSync(new Uint8Array(20_000_000));
    expect(await reasonAgainst({ ...subject, frame })).toMatch(/cannot be inflated/);
  });

  it('of RLE segments that lie elsewhere than their header says, or say nothing at all, for ever', async () => {
    const subject = await made('5');
    const view = (change: (header: DataView) => void) => {
      const frame = Uint8Array.from(subject.frame);
      change(new DataView(frame.buffer));
      return { ...subject, frame };
    };
    expect(await reasonAgainst(view((header) => header.setUint32(0, 15, true)))).toMatch(/segments/);
    expect(await reasonAgainst(view((header) => header.setUint32(8, 0xffff_fff0, true)))).toMatch(/outside/);
    expect(await reasonAgainst(view((header) => header.setUint32(4, 0, true)))).toMatch(/outside/);
    const nothing = Buffer.concat([subject.frame.subarray(0, 64), new Uint8Array(1_000_000).fill(128)]);
    expect(await reasonAgainst({ ...subject, frame: nothing })).toMatch(/outside|ends before/);
  });

  it('of JPEG: restarts without end, thousands of scans, tables and of both', async () => {
    for (const last of ['4.50', '4.70']) {
      const subject = await made(last, last === '4.50' ? rgb : {});
      const scan = markerAt(subject.frame, 'ffda');
      const [head, tail] = [subject.frame.subarray(0, scan), subject.frame.subarray(scan)];
      const tables = subject.frame.subarray(markerAt(subject.frame, 'ffc4'), scan);
      const restarts = Buffer.concat([subject.frame.subarray(0, -2), repeated(Uint8Array.of(0xff, 0xd0), 1_100_000)]);
      expect(await reasonAgainst({ ...subject, frame: restarts })).toMatch(/restart markers/);
      const scans = Buffer.concat([head, repeated(tail.subarray(0, -2), 101), Uint8Array.of(0xff, 0xd9)]);
      expect(await reasonAgainst({ ...subject, frame: scans })).toMatch(/scans|names a component/);
      const many = Buffer.concat([head, repeated(tables, 2000), tail]);
      await reasonAgainst({ ...subject, frame: many });
      expect(await reasonAgainst(subject)).toBeUndefined();
    }
  });

  it('of JPEG whose number of lines comes later, or is another than the data set has', async () => {
    const subject = await made('4.70');
    const at = markerAt(subject.frame, 'ffc3') + 5;
    for (const rows of [0, 23, 25, 65535])
      expect(await reasonAgainst({ ...subject, frame: withBytes(subject.frame, at, [rows >> 8, rows & 255]) })).toMatch(
        /but the data set says 30 x 24/,
      );
  });

  it('of JPEG 2000: tiles, layers, levels and precincts without number', async () => {
    for (const last of ['4.90', '4.202']) {
      const subject = await made(last);
      const size = markerAt(subject.frame, 'ff51');
      const style = markerAt(subject.frame, 'ff52');
      const tiny = withBytes(subject.frame, size + 22, [0, 0, 0, 1, 0, 0, 0, 1]);
      await reasonAgainst({ ...subject, frame: tiny });
      await reasonAgainst({ ...subject, frame: withBytes(subject.frame, style + 6, [0xff, 0xff]) });
      for (const levels of [32, 33, 255])
        await reasonAgainst({ ...subject, frame: withBytes(subject.frame, style + 9, [levels]) });
      await reasonAgainst({ ...subject, frame: withBytes(subject.frame, style + 10, [8, 8]) });
      await reasonAgainst({ ...subject, frame: withBytes(subject.frame, style + 4, [1]) });
      expect(await reasonAgainst(subject)).toBeUndefined();
    }
    const subject = await made('4.90');
    const large = { ...subject.attributes, rows: 4000, columns: 4000 };
    const size = markerAt(subject.frame, 'ff51');
    const four = [0, 0, 0x0f, 0xa0];
    const grown = withBytes(subject.frame, size + 6, [...four, ...four, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 16]); // biome-ignore format: a header
    expect(await reasonAgainst({ ...subject, attributes: large, frame: grown })).toMatch(/too many tiles/);
  });

  it('of JPEG 2000 Part 2: several frames in one codestream, transformed across components', async () => {
    const subject = await made('4.90');
    const part2 = { ...subject, transferSyntaxUid: uid('4.92') };
    expect(await reasonAgainst(part2)).toBeUndefined();
    const size = markerAt(subject.frame, 'ff51');
    expect(await reasonAgainst({ ...part2, frame: withBytes(subject.frame, size + 38, [0, 9]) })).toMatch(
      /several frames/,
    );
    const style = markerAt(subject.frame, 'ff52');
    const transformed = Buffer.concat([subject.frame.subarray(0, style), Uint8Array.of(0xff, 0x75, 0, 4, 0, 0), subject.frame.subarray(style)]); // biome-ignore format: one thought
    expect(await reasonAgainst({ ...part2, frame: transformed })).toMatch(/across components/);
  });

  it('of JPEG XL: a size that is not the data set’s, behind boxes without end', async () => {
    const subject = await made('4.110', { bitsStored: 16 });
    const boxes = Buffer.concat([
      Buffer.from('0000000c4a584c200d0a870a', 'hex'),
      repeated(Buffer.from('0000000866726565', 'hex'), 500_000),
      Buffer.from('000000006a786c63', 'hex'),
      Buffer.from('ff0a', 'hex'),
      new Uint8Array(64).fill(0xff),
    ]);
    expect(await reasonAgainst({ ...subject, frame: boxes })).toBeDefined();
    const loop = Buffer.concat([Buffer.from('0000000c4a584c200d0a870a0000000066726565', 'hex'), new Uint8Array(100)]);
    expect(await reasonAgainst({ ...subject, frame: loop })).toMatch(/does not begin as JPEG XL/);
    expect(await reasonAgainst(subject)).toBeUndefined();
  });
});
