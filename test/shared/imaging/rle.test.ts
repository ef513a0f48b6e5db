/**
 * RLE Lossless (PS3.5 Annex G) against an encoder written here.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import { decodeRle } from '#shared/imaging/rle.ts';
import { attributesWith } from './image-fixture.ts';

const RLE = '1.2.840.10008.1.2.5';

/** PS3.5 G.3.1, runs of two and more as replicates; now and then a control byte of -128, which means nothing. */
function encodeSegment(bytes: readonly number[]): number[] {
  const out: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    let run = 1;
    while (run < 128 && bytes[at + run] === bytes[at]) run++;
    if (run > 1) {
      out.push(257 - run, bytes[at]!);
      at += run;
    } else {
      let count = 1;
      while (count < 128 && at + count < bytes.length && bytes[at + count] !== bytes[at + count - 1]) count++;
      out.push(count - 1, ...bytes.slice(at, at + count));
      at += count;
    }
    if (at % 7 === 0) out.push(128);
  }
  if (out.length % 2 === 1) out.push(0);
  return out;
}

function encodeFrame(segments: readonly (readonly number[])[]): Uint8Array {
  const header = new DataView(new ArrayBuffer(64));
  header.setUint32(0, segments.length, true);
  let at = 64;
  const encoded = segments.map(encodeSegment);
  encoded.forEach((segment, i) => {
    header.setUint32(4 + 4 * i, at, true);
    at += segment.length;
  });
  return Uint8Array.from([...new Uint8Array(header.buffer), ...encoded.flat()]);
}

/** Cells, samples interleaved, as segments: by sample, most significant byte first. */
function segmentsOf(cells: readonly number[], samples: number, bytes: number): number[][] {
  return Array.from({ length: samples * bytes }, (_, segment) => {
    const sample = Math.floor(segment / bytes);
    const shift = 8 * (bytes - 1 - (segment % bytes));
    return cells.filter((_, i) => i % samples === sample).map((cell) => Math.floor(cell / 2 ** shift) & 255);
  });
}

describe('RLE Lossless', () => {
  it('gives back every cell, 8, 16 and 32 bits, gray and colour', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 2, 4),
        fc.constantFrom(1, 3),
        fc.array(fc.oneof(fc.constantFrom(0, 1, 65535), fc.integer({ min: 0, max: 2 ** 32 - 1 })), {
          minLength: 1,
          maxLength: 300,
        }),
        async (bytes, samples, random) => {
          const pixels = random.length;
          const cells = Array.from(
            { length: pixels * samples },
            (_, i) => random[(i * 7) % pixels]! % 2 ** (8 * bytes),
          );
          const attributes = attributesWith({
            columns: pixels,
            samplesPerPixel: samples,
            photometricInterpretation: samples === 3 ? 'RGB' : 'MONOCHROME2',
            bitsAllocated: 8 * bytes,
            // Segments know nothing of it: RLE is by plane within, and pixels come out whatever this says.
            planarConfiguration: 1,
          });
          const frame = encodeFrame(segmentsOf(cells, samples, bytes));
          expect([...(await decodeFrame(frame, RLE, attributes)).values]).toEqual(cells);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('refuses wrong segment counts, offsets outside the frame and segments that end early', () => {
    const good = encodeFrame([[1, 2, 3, 3, 3]]);
    expect([...decodeRle(good, 5, 1, 1)]).toEqual([1, 2, 3, 3, 3]);
    const wrongOffset = good.slice();
    wrongOffset[4] = 200;
    for (const attempt of [
      () => decodeRle(good, 5, 1, 2),
      () => decodeRle(good, 6, 1, 1),
      () => decodeRle(good.slice(0, 60), 5, 1, 1),
      () => decodeRle(wrongOffset, 5, 1, 1),
    ]) {
      expect(attempt).toThrow(expect.objectContaining({ code: 'cannot-render' }));
    }
  });

  it('answers any bytes with cells or with cannot-render', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          expect(decodeRle(bytes, 50, 1, 1)).toHaveLength(50);
        } catch (error) {
          expect(isArchiveError(error, 'cannot-render')).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});
