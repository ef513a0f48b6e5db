/**
 * Frames are found where they lie: native ones, those of either offset table, and those that only a search finds; on bytes made
 * for it, cut and damaged ones among them.
 */
import { describe, expect, it } from 'vitest';
import { type FrameTable, frameCount, frameRange, joinFragments, locateFrames } from '#shared/dicom/frame-ranges.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import {
  elementHeader,
  type InstanceOptions,
  itemHeader,
  joinBytes,
  type MadeElement,
  makeInstance,
} from '#test/support/dicom-factory.ts';

const JPEG_LS = '1.2.840.10008.1.2.4.80';
const J2K = '1.2.840.10008.1.2.4.90';
const RLE = '1.2.840.10008.1.2.5';

async function locate(file: Uint8Array) {
  const reads: number[] = [];
  const located = await locateFrames(readHeader(file), file.length, async ({ offsetBytes, lengthBytes }) => {
    reads.push(lengthBytes);
    return file.subarray(offsetBytes, offsetBytes + lengthBytes);
  });
  return { ...located, reads };
}

/** The bytes of all frames, fragments joined. */
function framesOf(file: Uint8Array, table: FrameTable): Uint8Array[] {
  return Array.from({ length: frameCount(table) }, (_, i) => {
    const { offsetBytes, lengthBytes, fragments } = frameRange(table, i + 1);
    const bytes = file.slice(offsetBytes, offsetBytes + lengthBytes);
    return fragments === 1 ? bytes : joinFragments(bytes);
  });
}

const item = (bytes: Uint8Array, lengthBytes = bytes.length) => joinBytes([itemHeader(Tag.Item, lengthBytes), bytes]);
const delimiter = itemHeader(Tag.SequenceDelimitationItem, 0);
const uint32s = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);

/** A file whose Pixel Data consists of these very bytes. */
function withPixelData(options: InstanceOptions, ...parts: Uint8Array[]): Uint8Array {
  const { file } = makeInstance({ transferSyntaxUid: JPEG_LS, ...options, pixels: 'none', extra: [
    { tag: Tag.Rows, vr: 'US', value: [2] },
    { tag: Tag.Columns, vr: 'US', value: [2] },
    { tag: Tag.BitsAllocated, vr: 'US', value: [16] },
    ...(options.frames === undefined ? [] : [{ tag: Tag.NumberOfFrames, vr: 'IS', value: String(options.frames) }]),
    ...(options.extra ?? []),
  ] }); // biome-ignore format: short
  const head = elementHeader(Tag.PixelData, 'OB', 0xffffffff, { explicitVr: true, littleEndian: true });
  return joinBytes([file, head, ...parts]);
}

const image = (seed: number, lengthBytes = 20) =>
  Uint8Array.from({ length: lengthBytes }, (_, i) => [0xff, 0xd8, 0xff, 0xf7][i] ?? (seed * 31 + i) & 0x7f);
const rest = (seed: number, lengthBytes = 20) =>
  Uint8Array.from({ length: lengthBytes }, (_, i) => (seed * 17 + i) & 0x7f);

describe('native frames', () => {
  it('lie one behind the other', async () => {
    const pixels = Uint8Array.from({ length: 3 * 12 }, (_, i) => i);
    const { file } = makeInstance({ rows: 2, columns: 3, frames: 3, bitsAllocated: 16, pixels });
    const { table, tolerated, reads } = await locate(file);
    expect(tolerated).toEqual([]);
    expect(reads).toEqual([]);
    expect(framesOf(file, table)).toEqual([pixels.slice(0, 12), pixels.slice(12, 24), pixels.slice(24)]);
    expect(() => frameRange(table, 4)).toThrow(expect.objectContaining({ code: 'not-found' }));
    for (const frameNumber of [0, -1, 1.5, Number.NaN]) {
      expect(() => frameRange(table, frameNumber)).toThrow(expect.objectContaining({ code: 'not-found' }));
    }
  });

  it('of one bit need not begin with a byte', async () => {
    const { file } = makeInstance({ rows: 3, columns: 5, frames: 3, bitsAllocated: 1, pixels: new Uint8Array(6) });
    const { table, tolerated } = await locate(file);
    const start = readHeader(file).pixelData?.offsetBytes ?? 0;
    expect(tolerated).toEqual([]);
    expect([1, 2, 3].map((n) => frameRange(table, n))).toEqual([
      { offsetBytes: start, lengthBytes: 2, fragments: 1, bitOffset: 0 },
      { offsetBytes: start + 1, lengthBytes: 3, fragments: 1, bitOffset: 7 },
      { offsetBytes: start + 3, lengthBytes: 3, fragments: 1, bitOffset: 6 },
    ]);
  });

  it.each([
    ['RGB', 3, 12],
    ['YBR_FULL_422', 3, 8],
    ['YBR_PARTIAL_420', 3, 6],
    ['MONOCHROME2', 1, 4],
  ])('of %s have as many bytes as their samples', async (photometricInterpretation, samplesPerPixel, frameBytes) => {
    const pixels = new Uint8Array(2 * frameBytes);
    const { file } = makeInstance({ rows: 2, columns: 2, frames: 2, bitsAllocated: 8, samplesPerPixel, photometricInterpretation, pixels }); // biome-ignore format: short
    const { table, tolerated } = await locate(file);
    expect(tolerated).toEqual([]);
    expect(table).toMatchObject({ kind: 'native', count: 2, frameBits: frameBytes * 8 });
  });

  it('that are cut give what is there', async () => {
    const { file } = makeInstance({ rows: 4, columns: 4, frames: 3, bitsAllocated: 8, pixels: new Uint8Array(48) });
    const { table, tolerated } = await locate(file.subarray(0, -20));
    expect(frameCount(table)).toBe(2);
    expect(frameRange(table, 1).lengthBytes).toBe(16);
    expect(frameRange(table, 2).lengthBytes).toBe(12);
    expect(tolerated).toEqual([
      expect.stringMatching(/only 28 of 48 bytes/),
      expect.stringMatching(/1 whole frames where 3/),
    ]);
  });

  it('claimed in absurd numbers are bounded by what is there', async () => {
    const { file } = makeInstance({ frames: 2 ** 31 - 1, pixels: new Uint8Array(64) });
    const { table } = await locate(file);
    expect(table).toMatchObject({ kind: 'native', count: 2 });
    const huge = makeInstance({ rows: 65535, columns: 65535, frames: 2 ** 31 - 1, pixels: new Uint8Array(64) }).file;
    const { table: one } = await locate(huge);
    expect(frameCount(one)).toBe(1);
    expect(frameRange(one, 1).lengthBytes).toBe(64);
  });

  it('without a size count as one', async () => {
    const { file } = makeInstance({ without: [Tag.Rows], pixels: new Uint8Array(64) });
    const { table, tolerated } = await locate(file);
    expect(frameRange(table, 1).lengthBytes).toBe(64);
    expect(tolerated).toEqual([expect.stringMatching(/Rows, Columns or Bits Allocated is missing/)]);
  });

  it('in a deflated data set lie in what it inflates to', async () => {
    const { file } = makeInstance({
      transferSyntaxUid: '1.2.840.10008.1.2.1.99',
      frames: 2,
      pixels: new Uint8Array(64),
    });
    const { table } = await locate(file);
    expect(table).toMatchObject({ kind: 'deflated', count: 2, frameBits: 256 });
    expect(frameRange(table, 2).offsetBytes).toBe((readHeader(file).pixelData?.offsetBytes ?? 0) + 32);
  });

  it('are none where there is no Pixel Data', async () => {
    const { table } = await locate(makeInstance({ pixels: 'none' }).file);
    expect(table).toEqual({ kind: 'none' });
    expect(frameCount(table)).toBe(0);
    expect(() => frameRange(table, 1)).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  it('under an encapsulated transfer syntax are found where they are', async () => {
    const head = elementHeader(Tag.PixelData, 'OW', 8, { explicitVr: true, littleEndian: true });
    const { file } = makeInstance({ transferSyntaxUid: JPEG_LS, pixels: 'none', extra: [
      { tag: Tag.Rows, vr: 'US', value: [2] }, { tag: Tag.Columns, vr: 'US', value: [2] }, { tag: Tag.BitsAllocated, vr: 'US', value: [16] },
    ] }); // biome-ignore format: short
    const { table, tolerated } = await locate(joinBytes([file, head, new Uint8Array(8)]));
    expect(table).toMatchObject({ kind: 'native', count: 1 });
    expect(tolerated).toEqual([expect.stringMatching(/native although the transfer syntax is an encapsulated one/)]);
  });
});

describe('encapsulated frames', () => {
  const a = image(1);
  const b = image(2);
  const c = image(3);

  it.each(['filled', 'empty'] as const)(
    'of one fragment each are found with a Basic Offset Table that is %s',
    async (offsetTable) => {
      const { file } = makeInstance({ transferSyntaxUid: JPEG_LS, frames: 3, pixels: [a, b, c], offsetTable });
      const { table, tolerated, reads } = await locate(file);
      expect(tolerated).toEqual([]);
      expect(framesOf(file, table)).toEqual([a, b, c]);
      expect(table.kind === 'encapsulated' && table.frames.every(({ fragments }) => fragments === 1)).toBe(true);
      expect(reads.length).toBe(1);
    },
  );

  const split = [item(a), item(rest(1)), item(b), item(c), item(rest(2)), item(rest(3))];
  const joined = [joinBytes([a, rest(1)]), b, joinBytes([c, rest(2), rest(3)])];
  it('of several fragments are found by the offset table', async () => {
    const file = withPixelData({ frames: 3 }, item(uint32s(0, 56, 84)), ...split, delimiter);
    const { table, tolerated } = await locate(file);
    expect(tolerated).toEqual([]);
    expect(framesOf(file, table)).toEqual(joined);
  });

  it('of several fragments are found by where images begin', async () => {
    const file = withPixelData({ frames: 3 }, item(new Uint8Array(0)), ...split, delimiter);
    const { table, tolerated } = await locate(file);
    expect(tolerated).toEqual([]);
    expect(framesOf(file, table)).toEqual(joined);
    const j2k = (seed: number) => joinBytes([Uint8Array.of(0xff, 0x4f, 0xff, 0x51), rest(seed, 6)]);
    const codestreams = withPixelData({ frames: 2, transferSyntaxUid: J2K }, item(new Uint8Array(0)), item(j2k(1)), item(j2k(2)), item(rest(1)), delimiter); // biome-ignore format: short
    expect(framesOf(codestreams, (await locate(codestreams)).table)).toEqual([j2k(1), joinBytes([j2k(2), rest(1)])]);
  });

  it.each([
    ['points beside the fragments', uint32s(0, 57, 84)],
    ['does not ascend', uint32s(0, 84, 56)],
    ['does not begin with 0', uint32s(28, 56, 84)],
    ['points past the end', uint32s(0, 56, 4_000_000_000)],
    ['is full of zeros', uint32s(0, 0, 0)],
    ['is no table', Uint8Array.of(1, 2, 3, 4, 5, 6)],
  ])('are searched when the offset table %s', async (_name, offsets) => {
    const file = withPixelData({ frames: 3 }, item(offsets), ...split, delimiter);
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual(joined);
    expect(tolerated).toEqual([expect.stringMatching(/[Oo]ffset [Tt]able .* (wrong|not a table)/)]);
  });

  it('are all fragments when there is one', async () => {
    const file = withPixelData({}, item(new Uint8Array(0)), item(a), item(rest(1)), item(rest(2)), delimiter);
    const { table, tolerated } = await locate(file);
    expect(tolerated).toEqual([]);
    expect(framesOf(file, table)).toEqual([joinBytes([a, rest(1), rest(2)])]);
  });

  it('are one fragment each in RLE, even when it are not as many as declared', async () => {
    const file = withPixelData({ frames: 4, transferSyntaxUid: RLE }, item(new Uint8Array(0)), item(a), item(rest(1)), item(rest(2)), delimiter); // biome-ignore format: short
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual([a, rest(1), rest(2)]);
    expect(tolerated).toEqual([expect.stringMatching(/3 frames where 4 are declared/)]);
  });

  it('of a video are one stream', async () => {
    const file = withPixelData({ frames: 100, transferSyntaxUid: '1.2.840.10008.1.2.4.102' }, item(new Uint8Array(0)), item(a), item(b), delimiter); // biome-ignore format: short
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual([joinBytes([a, b])]);
    expect(tolerated).toEqual([]);
  });

  it('of encapsulated uncompressed pixels end where their bytes do', async () => {
    const file = withPixelData({ frames: 2, transferSyntaxUid: '1.2.840.10008.1.2.1.98' }, item(new Uint8Array(0)), item(rest(1, 4)), item(rest(2, 4)), item(rest(3, 8)), delimiter); // biome-ignore format: short
    expect(framesOf(file, (await locate(file)).table)).toEqual([joinBytes([rest(1, 4), rest(2, 4)]), rest(3, 8)]);
  });

  it('are found when the Basic Offset Table is missing altogether', async () => {
    const file = withPixelData({ frames: 2 }, item(a), item(b), delimiter);
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual([a, b]);
    expect(tolerated).toEqual(['The Basic Offset Table is missing']);
  });

  it('may have fragments of one, two or three bytes, or none', async () => {
    const tiny = [Uint8Array.of(1), Uint8Array.of(1, 2), Uint8Array.of(1, 2, 3), new Uint8Array(0)];
    const file = withPixelData({ frames: 4, transferSyntaxUid: RLE }, item(new Uint8Array(0)), ...tiny.map((bytes) => item(bytes)), delimiter); // biome-ignore format: short
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual(tiny);
    expect(tolerated).toEqual([expect.stringMatching(/odd length/)]);
  });

  it('may have fragments of odd length with an uncounted padding', async () => {
    const odd = image(1, 21);
    const file = withPixelData({}, item(new Uint8Array(0)), item(odd), Uint8Array.of(0), item(rest(1)), delimiter);
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual([joinBytes([odd, rest(1)])]);
    expect(tolerated).toEqual([expect.stringMatching(/odd length/)]);
  });

  it('may hold what looks like delimiters', async () => {
    const trap = joinBytes([image(1), delimiter, itemHeader(Tag.Item, 4), rest(1)]);
    const { file } = makeInstance({ transferSyntaxUid: JPEG_LS, frames: 2, pixels: [trap, b], offsetTable: 'empty' });
    expect(framesOf(file, (await locate(file)).table)).toEqual([trap, b]);
  });

  it('that are cut at any byte give what is there', async () => {
    const { file } = makeInstance({ transferSyntaxUid: JPEG_LS, frames: 3, pixels: [a, b, c] });
    const start = readHeader(file).pixelData?.offsetBytes ?? 0;
    for (let end = start; end < file.length; end++) {
      const cut = file.subarray(0, end);
      const { table, tolerated } = await locate(cut);
      expect(tolerated).not.toEqual([]);
      for (const [i, frame] of framesOf(cut, table).entries()) {
        expect([a, b, c][i]?.subarray(0, frame.length)).toEqual(frame);
      }
      expect(frameCount(table)).toBe(Math.max(0, Math.min(3, Math.ceil((end - start - 20 - 7) / 28))));
    }
  });

  it('end where something else than a fragment comes', async () => {
    const file = withPixelData({ frames: 3 }, item(new Uint8Array(0)), item(a), item(b), new Uint8Array(40));
    const { table, tolerated } = await locate(file);
    expect(framesOf(file, table)).toEqual([a, b]);
    expect(tolerated).toEqual([
      expect.stringMatching(/Behind fragment 2 there is neither/),
      expect.stringMatching(/2 frames where 3 are declared/),
    ]);
  });

  it('claimed in absurd numbers are bounded by what is there', async () => {
    const file = withPixelData({ frames: 2 ** 31 - 1 }, item(new Uint8Array(0)), item(a), item(b), delimiter);
    expect(frameCount((await locate(file)).table)).toBe(2);
    const table = withPixelData({ frames: 3 }, itemHeader(Tag.Item, 0xfffffff0), item(a), delimiter);
    expect(frameCount((await locate(table)).table)).toBe(0);
  });

  it('are bounded in number', async () => {
    const header = readHeader(withPixelData({ frames: 5 }, item(new Uint8Array(0))));
    const start = header.pixelData?.offsetBytes ?? 0;
    const empty = new Uint8Array(Buffer.alloc(4 * 1024 * 1024 + 8, itemHeader(Tag.Item, 0)));
    const { table, tolerated } = await locateFrames(header, 2 ** 40, async ({ offsetBytes, lengthBytes }) => {
      const phase = (offsetBytes - start) % 8;
      return empty.subarray(phase, phase + lengthBytes);
    });
    expect(frameCount(table)).toBeLessThanOrEqual(1_000_000);
    expect(tolerated.join()).toMatch(/more than 1000000 fragments/);
  });
});

describe('the Extended Offset Table', () => {
  const frames = [image(1, 20), image(2, 30), image(3, 22)];
  const table = (offsets: readonly bigint[], lengths: readonly bigint[]): MadeElement[] => [
    { tag: Tag.ExtendedOffsetTable, vr: 'OV', value: offsets },
    { tag: Tag.ExtendedOffsetTableLengths, vr: 'OV', value: lengths },
  ];
  const fragments = [item(new Uint8Array(0)), ...frames.map((frame) => item(frame)), delimiter];

  it('says where frames are without a look at the fragments between', async () => {
    const file = withPixelData({ frames: 3, extra: table([0n, 28n, 66n], [20n, 30n, 22n]) }, ...fragments);
    const located = await locate(file);
    expect(located.tolerated).toEqual([]);
    expect(framesOf(file, located.table)).toEqual(frames);
  });

  it('may tell lengths without the padding', async () => {
    const file = withPixelData({ frames: 3, extra: table([0n, 28n, 66n], [19n, 29n, 22n]) }, ...fragments);
    const located = await locate(file);
    expect(framesOf(file, located.table)).toEqual([frames[0]?.slice(0, 19), frames[1]?.slice(0, 29), frames[2]]);
  });

  it.each([
    ['has gaps', [0n, 30n, 66n], [20n, 30n, 22n]],
    ['ends behind the file', [0n, 28n, 66n], [20n, 30n, 22_000_000n]],
    ['is too short', [0n, 28n], [20n, 30n]],
    ['is absurd', [0n, 2n ** 64n - 1n, 5n], [20n, 2n ** 63n, 1n]],
  ])('is not believed when it %s', async (_name, offsets, lengths) => {
    const file = withPixelData({ frames: 3, extra: table(offsets, lengths) }, ...fragments);
    expect(framesOf(file, (await locate(file)).table)).toEqual(frames);
  });

  it('is read in place when the header does not hold it', async () => {
    const count = 140_000;
    const one = item(image(1, 10));
    const offsets = Array.from({ length: count }, (_, i) => BigInt(i * one.length));
    const many = new Uint8Array(Buffer.alloc(one.length * count, one));
    const file = withPixelData({ frames: count, extra: table(offsets, offsets.map(() => 10n)) }, item(new Uint8Array(0)), many, delimiter); // biome-ignore format: short
    expect(readHeader(file).dataSet.get(Tag.ExtendedOffsetTable)?.value).toBeUndefined();
    const located = await locate(file);
    expect(frameCount(located.table)).toBe(count);
    expect(located.tolerated).toEqual([]);
    expect(located.reads.length).toBeLessThan(8);
  });
});

describe('the reads', () => {
  it('of 3,000 small frames are few, those of large frames are small', async () => {
    const small = makeInstance({ transferSyntaxUid: RLE, frames: 3000, pixels: Array.from({ length: 3000 }, () => new Uint8Array(2000)), offsetTable: 'empty' }).file; // biome-ignore format: short
    const { table, reads } = await locate(small);
    expect(frameCount(table)).toBe(3000);
    expect(reads.length).toBeLessThanOrEqual(8);

    const large = makeInstance({ transferSyntaxUid: RLE, frames: 20, pixels: Array.from({ length: 20 }, () => new Uint8Array(1_000_000)) }).file; // biome-ignore format: short
    const located = await locate(large);
    expect(frameCount(located.table)).toBe(20);
    expect(located.reads.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(300_000);
    expect(located.reads.length).toBeLessThanOrEqual(22);
  });
});

describe('joining fragments', () => {
  it('refuses what is no fragment', () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(20), joinBytes([item(image(1)), new Uint8Array(3)])]) {
      expect(() => joinFragments(bytes)).toThrow(expect.objectContaining({ code: 'damaged' }));
    }
  });
  it('takes a fragment that is cut as it is', () => {
    expect(joinFragments(joinBytes([item(image(1)), item(rest(1)).subarray(0, 15)]))).toEqual(
      joinBytes([image(1), rest(1).subarray(0, 7)]),
    );
  });
});
