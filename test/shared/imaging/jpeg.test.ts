/**
 * JPEG: lossless against an encoder written here, DCT against its definition and libjpeg, and the question of colour.
 */
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import { isYcbcr, readJpegHeader } from '#shared/imaging/jpeg-codestream.ts';
import { decodeJpegDct } from '#shared/imaging/jpeg-dct.ts';
import { inverseTransform, ZIGZAG } from '#shared/imaging/jpeg-idct.ts';
import { decodeJpegLossless } from '#shared/imaging/jpeg-lossless.ts';
import { renderPicture } from '#shared/imaging/render.ts';
import { attributesWith, noise } from './image-fixture.ts';

const BASELINE = '1.2.840.10008.1.2.4.50';

const segment = (marker: number, ...payload: number[]) => [
  0xff,
  marker,
  (payload.length + 2) >> 8,
  (payload.length + 2) & 255,
  ...payload,
];

const app14 = (transform: number) => segment(0xee, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, transform);
const jfif = segment(0xe0, 0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0);

interface LosslessImage {
  readonly rows: number;
  readonly columns: number;
  readonly precision: number;
  readonly planes: readonly (readonly number[])[];
}

/** ISO/IEC 10918-1 Annex H, written for this test: every category has a code of five bits. */
function encodeLossless(
  { rows, columns, precision, planes }: LosslessImage,
  predictor: number,
  shift: number,
  restartRows: number,
  interleaved: boolean,
): Uint8Array {
  const ids = planes.map((_, i) => i + 1);
  const scans = interleaved ? [ids] : ids.map((id) => [id]);
  const out = [
    0xff,
    0xd8,
    ...segment(
      0xc3,
      precision,
      rows >> 8,
      rows & 255,
      columns >> 8,
      columns & 255,
      planes.length,
      ...ids.flatMap((id) => [id, 0x11, 0]),
    ),
  ];
  const counts = Array.from({ length: 16 }, (_, i) => (i === 4 ? 17 : 0));
  out.push(...segment(0xc4, 0, ...counts, ...Array.from({ length: 17 }, (_, i) => i)));
  if (restartRows > 0) out.push(...segment(0xdd, (restartRows * columns) >> 8, (restartRows * columns) & 255));
  for (const scan of scans) {
    out.push(...segment(0xda, scan.length, ...scan.flatMap((id) => [id, 0]), predictor, 0, shift));
    let bits = '';
    const flush = () => {
      bits += '1'.repeat((8 - (bits.length % 8)) % 8);
      for (let i = 0; i < bits.length; i += 8) {
        const byte = Number.parseInt(bits.slice(i, i + 8), 2);
        out.push(byte);
        if (byte === 0xff) out.push(0);
      }
      bits = '';
    };
    for (let y = 0; y < rows; y++) {
      const fresh = y === 0 || (restartRows > 0 && y % restartRows === 0);
      if (fresh && y > 0) {
        flush();
        out.push(0xff, 0xd0 + ((y / restartRows - 1) & 7));
      }
      for (let x = 0; x < columns; x++) {
        for (const id of scan) {
          const at = (dx: number, dy: number) => planes[id - 1]![(y - dy) * columns + x - dx]! >> shift;
          let prediction: number;
          if (fresh) prediction = x === 0 ? 2 ** (precision - shift - 1) : at(1, 0);
          else if (x === 0) prediction = at(0, 1);
          else {
            const [a, b, c] = [at(1, 0), at(0, 1), at(1, 1)];
            prediction = [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1][predictor - 1]!;
          }
          let difference = (at(0, 0) - prediction) & 0xffff;
          if (difference > 32768) difference -= 65536;
          const size = difference === 32768 ? 16 : 32 - Math.clz32(Math.abs(difference));
          bits += size.toString(2).padStart(5, '0');
          if (size > 0 && size < 16) {
            bits += (difference < 0 ? difference + 2 ** size - 1 : difference).toString(2).padStart(size, '0');
          }
        }
      }
    }
    flush();
  }
  out.push(0xff, 0xd9);
  return Uint8Array.from(out);
}

describe('JPEG lossless', () => {
  it('gives back every sample: all predictors, precisions, point transforms, restarts, scans', () => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 9 }),
          columns: fc.integer({ min: 1, max: 9 }),
          precision: fc.integer({ min: 2, max: 16 }),
          components: fc.constantFrom(1, 1, 3),
          predictor: fc.integer({ min: 1, max: 7 }),
          shift: fc.constantFrom(0, 0, 1),
          restartRows: fc.constantFrom(0, 0, 1, 2),
          interleaved: fc.boolean(),
          smooth: fc.boolean(),
          seed: fc.integer({ min: 1 }),
        }),
        ({ rows, columns, precision, components, predictor, shift, restartRows, interleaved, smooth, seed }) => {
          const random = noise(seed);
          const planes = Array.from({ length: components }, () =>
            Array.from({ length: rows * columns }, (_, i) => {
              const value = smooth ? (i * 3) % 2 ** precision : random(2 ** precision);
              return (value >> shift) << shift;
            }),
          );
          const bytes = encodeLossless(
            { rows, columns, precision, planes },
            predictor,
            shift,
            restartRows,
            interleaved,
          );
          const samples = decodeJpegLossless(bytes, readJpegHeader(bytes));
          const wanted = Array.from(
            { length: rows * columns * components },
            (_, i) => planes[i % components]![Math.floor(i / components)]!,
          );
          expect([...samples]).toEqual(wanted);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('says where cut data ends', () => {
    const planes = [Array.from({ length: 400 }, (_, i) => (i * 7919) % 4096)];
    const bytes = encodeLossless({ rows: 20, columns: 20, precision: 12, planes }, 1, 0, 0, true);
    const cut = bytes.slice(0, bytes.length >> 1);
    expect(() => decodeJpegLossless(cut, readJpegHeader(cut))).toThrow(/ends in row/);
  });
});

describe('JPEG with DCT', () => {
  it('the inverse transform is the sum of A.3.3, rounded once', () => {
    const random = noise(3);
    const quantisation = Uint16Array.from({ length: 64 }, () => 1 + random(60));
    for (let round = 0; round < 50; round++) {
      const block = new Int16Array(64);
      const used = 1 + random(64);
      for (let i = 0; i < used; i++) block[ZIGZAG[i]!] = random(41) - 20;
      const samples = inverseTransform(block, quantisation, 1, 12);
      for (let y = 0; y < 8; y++) {
        for (let x = 0; x < 8; x++) {
          let sum = 0;
          for (let k = 0; k < 64; k++) {
            const [v, u] = [ZIGZAG[k]! >> 3, ZIGZAG[k]! & 7];
            const scale = (u === 0 ? Math.SQRT1_2 : 1) * (v === 0 ? Math.SQRT1_2 : 1);
            const wave = Math.cos(((2 * x + 1) * u * Math.PI) / 16) * Math.cos(((2 * y + 1) * v * Math.PI) / 16);
            sum += (scale * block[ZIGZAG[k]!]! * quantisation[k]! * wave) / 4;
          }
          const wanted = Math.max(0, Math.min(4095, sum + 2048));
          expect(Math.abs(samples[8 * y + x]! - wanted)).toBeLessThanOrEqual(0.5 + 1e-6);
        }
      }
    }
  });

  for (const progressive of [false, true]) {
    for (const [width, height, channels] of [
      [64, 48, 1],
      [61, 43, 1],
      [50, 37, 3],
    ] as const) {
      it(`agrees with libjpeg: ${progressive ? 'progressive' : 'sequential'}, ${width} x ${height}, ${channels} components`, async () => {
        const random = noise(9);
        const pixels = Uint8Array.from({ length: width * height * channels }, (_, i) => ((i * 5) % 200) + random(56));
        const image = sharp(pixels, { raw: { width, height, channels } });
        const coded = await (channels === 1 ? image.toColourspace('b-w') : image)
          .jpeg({ quality: 85, progressive, chromaSubsampling: '4:4:4' })
          .toBuffer();
        const header = readJpegHeader(coded);
        expect(header.process).toBe(progressive ? 0xc2 : 0xc0);
        const attributes = attributesWith({
          rows: height,
          columns: width,
          samplesPerPixel: channels,
          photometricInterpretation: channels === 3 ? 'YBR_FULL' : 'MONOCHROME2',
          bitsAllocated: 8,
        });
        const own = decodeJpegDct(coded, header);
        const theirs = await decodeFrame(coded, BASELINE, attributes);
        if (channels === 1) {
          expect(worst(own, theirs.values as Uint8Array)).toBeLessThanOrEqual(1);
        } else {
          const { renderColor } = await import('#shared/imaging/color.ts');
          const rgb = renderColor({ ...theirs, meaning: 'YBR_FULL', values: own }, undefined);
          expect(worst(rgb, theirs.values as Uint8Array)).toBeLessThanOrEqual(3);
        }
      });
    }
  }
});

function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

describe('the colours of a JPEG', () => {
  /** One red pixel block, coded either as RGB or as YCbCr, with the application segments given. */
  function coded(components: 'RGB' | 'YCbCr', ...extra: readonly number[][]): Uint8Array {
    // One flat block to a component: its DC coefficient is all there is.
    const values = components === 'RGB' ? [255, 0, 0] : [76, 85, 255];
    const out = [0xff, 0xd8, ...extra.flat()];
    out.push(...segment(0xdb, 0, ...Array.from({ length: 64 }, () => 1)));
    out.push(...segment(0xc0, 8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0));
    const counts = Array.from({ length: 16 }, (_, i) => (i === 3 ? 12 : 0));
    const symbols = Array.from({ length: 12 }, (_, i) => i);
    out.push(...segment(0xc4, 0x00, ...counts, ...symbols), ...segment(0xc4, 0x10, ...counts, ...symbols));
    out.push(...segment(0xda, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0));
    let bits = '';
    for (const value of values) {
      const dc = (value - 128) * 8;
      const size = 32 - Math.clz32(Math.abs(dc));
      bits += size.toString(2).padStart(4, '0');
      if (size > 0) bits += (dc < 0 ? dc + 2 ** size - 1 : dc).toString(2).padStart(size, '0');
      bits += '0000';
    }
    bits += '1'.repeat((8 - (bits.length % 8)) % 8);
    for (let i = 0; i < bits.length; i += 8) {
      const byte = Number.parseInt(bits.slice(i, i + 8), 2);
      out.push(byte, ...(byte === 0xff ? [0] : []));
    }
    return Uint8Array.from([...out, 0xff, 0xd9]);
  }

  async function firstPixel(frame: Uint8Array, photometricInterpretation: string): Promise<number[]> {
    const picture = await renderPicture({
      frame,
      transferSyntaxUid: BASELINE,
      attributes: attributesWith({
        rows: 8,
        columns: 8,
        samplesPerPixel: 3,
        bitsAllocated: 8,
        photometricInterpretation,
      }),
    });
    return [...picture.pixels.subarray(0, 3)];
  }

  for (const [components, label, extra, why] of [
    ['RGB', 'RGB', [], 'the label, where the codestream says nothing'],
    ['YCbCr', 'YBR_FULL', [], 'the label, where the codestream says nothing'],
    ['YCbCr', 'YBR_FULL_422', [], 'the label, where the codestream says nothing'],
    ['RGB', 'RGB', [app14(0)], 'APP14 and label agree'],
    ['RGB', 'YBR_FULL_422', [app14(0)], 'APP14 says none'],
    ['YCbCr', 'RGB', [app14(1)], 'APP14 says YCbCr'],
    ['YCbCr', 'RGB', [jfif], 'JFIF knows YCbCr only'],
    ['YCbCr', 'YBR_FULL_422', [jfif], 'JFIF and label agree'],
    ['RGB', 'RGB', [jfif, app14(0)], 'APP14 and label outweigh JFIF'],
  ] as const) {
    it(`${components} labelled ${label}: ${why}`, async () => {
      const [r, g, b] = await firstPixel(coded(components, ...extra), label);
      expect(Math.abs(r! - 255) + g! + b!).toBeLessThanOrEqual(4);
    });
  }

  it('chroma at half resolution is YCbCr, and components named R, G, B are not', async () => {
    const pixels = new Uint8Array(16 * 16 * 3).fill(90);
    const subsampled = await sharp(pixels, { raw: { width: 16, height: 16, channels: 3 } })
      .jpeg({ chromaSubsampling: '4:2:0' })
      .toBuffer();
    const rgb = attributesWith({ samplesPerPixel: 3, photometricInterpretation: 'RGB', bitsAllocated: 8 });
    const header = readJpegHeader(subsampled);
    expect(isYcbcr({ ...header, jfif: false, adobeTransform: undefined }, rgb)).toBe(true);
    const named = header.components.map((c, i) => ({ ...c, id: [82, 71, 66][i]!, horizontal: 1, vertical: 1 }));
    const ybr = { ...rgb, photometricInterpretation: 'YBR_FULL' };
    expect(isYcbcr({ ...header, jfif: false, adobeTransform: undefined, components: named }, ybr)).toBe(false);
  });
});

describe('hostile JPEG', () => {
  it('any bytes after a plausible beginning are samples or cannot-render', () => {
    const start = encodeLossless(
      { rows: 4, columns: 4, precision: 8, planes: [Array.from({ length: 16 }, () => 5)] },
      1,
      0,
      0,
      true,
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(start.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        (changes) => {
          const bytes = start.slice();
          for (const [at, value] of changes) bytes[at] = value;
          try {
            const header = readJpegHeader(bytes);
            if (header.rows * header.columns > 10_000) return;
            if (header.process === 0xc3) decodeJpegLossless(bytes, header);
            else decodeJpegDct(bytes, header);
          } catch (error) {
            expect(isArchiveError(error, 'cannot-render'), String(error)).toBe(true);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
