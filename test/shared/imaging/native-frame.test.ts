/**
 * Native frames: every width, both byte orders, High Bit, sign, planes and subsampling (PS3.5 §8.1).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { attributesWith, EXPLICIT_BIG, EXPLICIT_LITTLE, noise } from './image-fixture.ts';

const valuesOf = async (bytes: number[] | Uint8Array, changes: Partial<ImageAttributes>, syntax = EXPLICIT_LITTLE) => [
  ...(await decodeFrame(Uint8Array.from(bytes), syntax, attributesWith(changes))).values,
];

describe('native frames', () => {
  it('16 bits in both byte orders', async () => {
    expect(await valuesOf([1, 0, 0, 1, 0xff, 0xff, 0x34, 0x12], {})).toEqual([1, 256, 65535, 0x1234]);
    expect(await valuesOf([0, 1, 1, 0, 0xff, 0xff, 0x12, 0x34], {}, EXPLICIT_BIG)).toEqual([1, 256, 65535, 0x1234]);
    expect(await valuesOf([1, 0, 0, 0x80, 0xff, 0xff, 0, 0], { signed: true })).toEqual([1, -32768, -1, 0]);
  });

  it('as a view of the frame where its bytes are the stored values, else as values of their own: the same ones', async () => {
    const cells = fc.oneof(fc.nat(0xfff), fc.nat(0xffff), fc.integer({ min: -2048, max: 2047 }));
    const cases = fc.record({
      cells: fc.array(cells, { minLength: 1, maxLength: 9 }),
      bitsAllocated: fc.constantFrom(8, 16, 32),
      bitsStored: fc.integer({ min: 2, max: 16 }),
      above: fc.nat(1),
      signed: fc.boolean(),
      byteOffset: fc.constantFrom(0, 2, 8),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ cells, bitsAllocated, above, signed, byteOffset, ...stored }) => {
        const bitsStored = Math.min(bitsAllocated, stored.bitsStored);
        const highBit = Math.min(bitsAllocated - 1, bitsStored - 1 + above);
        const attributes = attributesWith({ columns: cells.length, bitsAllocated, bitsStored, highBit, signed });
        const width = bitsAllocated / 8;
        const frame = new Uint8Array(byteOffset + cells.length * width).subarray(byteOffset);
        for (const [i, cell] of cells.entries()) for (let b = 0; b < width; b++) frame[i * width + b] = cell >> (8 * b);
        const before = frame.slice();
        const { values } = await decodeFrame(frame, EXPLICIT_LITTLE, attributes);
        const viewed = await decodeFrame(frame, EXPLICIT_LITTLE, attributes, { asView: true });
        expect(viewed.values).toEqual(values);
        expect(frame).toEqual(before);
      }),
    );
    const clean = Uint8Array.of(1, 2, 3, 0x0f);
    const twelve = attributesWith({ columns: 2, bitsStored: 12, highBit: 11 });
    const seen = await decodeFrame(clean, EXPLICIT_LITTLE, twelve, { asView: true });
    expect(seen.values.buffer).toBe(clean.buffer);
    expect((await decodeFrame(clean, EXPLICIT_LITTLE, twelve)).values.buffer).not.toBe(clean.buffer);
  });

  it('8 bits in OB and, big endian, in OW, whose pairs are swapped', async () => {
    const eight = { bitsAllocated: 8 } as const;
    expect(await valuesOf([1, 2, 3, 4], { ...eight, pixelDataVr: 'OB' }, EXPLICIT_BIG)).toEqual([1, 2, 3, 4]);
    expect(await valuesOf([2, 1, 4, 3], { ...eight, pixelDataVr: 'OW' }, EXPLICIT_BIG)).toEqual([1, 2, 3, 4]);
    expect(await valuesOf([1, 2, 3, 4], { ...eight, pixelDataVr: 'OW' })).toEqual([1, 2, 3, 4]);
    // An odd frame ends in a word: its last byte stands behind the padding.
    expect(await valuesOf([2, 1, 0, 3], { ...eight, columns: 3 }, EXPLICIT_BIG)).toEqual([1, 2, 3]);
    await expect(valuesOf([2, 1, 0], { ...eight, columns: 3 }, EXPLICIT_BIG)).rejects.toMatchObject({
      code: 'cannot-render',
    });
  });

  it('12 bits, two in three bytes, from any half byte on, and back', async () => {
    const attributes = attributesWith({ bitsAllocated: 12, columns: 3 });
    const packed = Uint8Array.of(0x23, 0x61, 0x45, 0x89, 0x07);
    const { values } = await decodeFrame(packed, EXPLICIT_LITTLE, attributes);
    expect([...values]).toEqual([0x123, 0x456, 0x789]);
    const second = await decodeFrame(Uint8Array.of(0x3f, 0x12, 0x56, 0x94, 0x78), EXPLICIT_LITTLE, attributes, {
      bitOffset: 4,
    });
    expect([...second.values]).toEqual([0x123, 0x456, 0x789]);
    const signed = { ...attributes, signed: true };
    expect([...(await decodeFrame(Uint8Array.of(0xff, 0x0f, 0x80, 1, 0), EXPLICIT_LITTLE, signed)).values]).toEqual([
      -1, -2048, 1,
    ]);
    for (const bitOffset of [0, 4]) {
      const { bytes } = await transcodeFrame({
        frame: packed,
        fromTransferSyntaxUid: EXPLICIT_LITTLE,
        toTransferSyntaxUid: EXPLICIT_LITTLE,
        attributes,
        bitOffset,
      });
      const back = await decodeFrame(bytes, EXPLICIT_LITTLE, attributes, { bitOffset });
      expect([...back.values]).toEqual([0x123, 0x456, 0x789]);
    }
    await expect(valuesOf(packed, { bitsAllocated: 12, columns: 3 }, EXPLICIT_BIG)).rejects.toMatchObject({
      code: 'cannot-render',
    });
    await expect(valuesOf(packed.slice(0, 4), { bitsAllocated: 12, columns: 3 })).rejects.toThrow(/5 are needed/);
  });

  it('32 bits: OW is swapped by words, OF and OD as a whole', async () => {
    const wide = { bitsAllocated: 32, columns: 1 } as const;
    expect(await valuesOf([4, 3, 2, 1], wide)).toEqual([0x01020304]);
    expect(await valuesOf([3, 4, 1, 2], wide, EXPLICIT_BIG)).toEqual([0x01020304]);
    expect(await valuesOf([0xfe, 0xff, 0xff, 0xff], { ...wide, signed: true })).toEqual([-2]);
    const float = new Uint8Array(Float32Array.of(1.5).buffer);
    expect(await valuesOf(float, { ...wide, pixelKind: 'float' })).toEqual([1.5]);
    expect(await valuesOf(float.toReversed(), { ...wide, pixelKind: 'float' }, EXPLICIT_BIG)).toEqual([1.5]);
    const double = new Uint8Array(Float64Array.of(-2.25).buffer);
    const kind = { bitsAllocated: 64, columns: 1, pixelKind: 'double' } as const;
    expect(await valuesOf(double, kind)).toEqual([-2.25]);
    expect(await valuesOf(double.toReversed(), kind, EXPLICIT_BIG)).toEqual([-2.25]);
  });

  it('one bit: least significant first, frames not aligned to bytes', async () => {
    const oneBit = { bitsAllocated: 1, columns: 5 } as const;
    expect(await valuesOf([0b10101], oneBit)).toEqual([1, 0, 1, 0, 1]);
    const second = await decodeFrame(Uint8Array.of(0b1100_0000, 0b0000_0010), EXPLICIT_LITTLE, attributesWith(oneBit), {
      bitOffset: 5,
    });
    expect([...second.values]).toEqual([0, 1, 1, 0, 1]);
    const swapped = { ...oneBit, columns: 16 };
    expect(await valuesOf([0, 1], swapped, EXPLICIT_BIG)).toEqual([1, ...Array.from({ length: 15 }, () => 0)]);
  });

  it('masks what lies above High Bit and extends the sign, wherever High Bit is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(8, 16, 32),
        fc.boolean(),
        fc.integer({ min: 1, max: 2 ** 30 }),
        async (bitsAllocated, signed, seed) => {
          const random = noise(seed);
          const bitsStored = 1 + random(bitsAllocated);
          const highBit = bitsStored - 1 + random(bitsAllocated - bitsStored + 1);
          const half = signed ? 2 ** (bitsStored - 1) : 0;
          const wanted = Array.from({ length: 8 }, () => random(2 ** bitsStored) - half);
          const bytes = new Uint8Array((8 * bitsAllocated) / 8);
          const view = new DataView(bytes.buffer);
          wanted.forEach((value, i) => {
            let cell = BigInt(random(2 ** 30)) * BigInt(random(2 ** 30));
            const field = (1n << BigInt(bitsStored)) - 1n;
            const at = BigInt(highBit + 1 - bitsStored);
            cell = (cell & ~(field << at)) | ((BigInt(value) & field) << at);
            for (let byte = 0; byte < bitsAllocated / 8; byte++) {
              view.setUint8((i * bitsAllocated) / 8 + byte, Number((cell >> BigInt(8 * byte)) & 255n));
            }
          });
          expect(await valuesOf(bytes, { columns: 8, bitsAllocated, bitsStored, highBit, signed })).toEqual(wanted);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('does not change the bytes it was given, not even those of a Buffer', async () => {
    const frame = Buffer.from([0xff, 0xff, 0xff, 0xff]);
    const attributes = attributesWith({ columns: 2, bitsStored: 12, highBit: 11 });
    expect([...(await decodeFrame(frame, EXPLICIT_LITTLE, attributes)).values]).toEqual([4095, 4095]);
    await decodeFrame(frame, EXPLICIT_BIG, attributes);
    expect([...frame]).toEqual([255, 255, 255, 255]);
  });

  it('colour by plane becomes colour by pixel', async () => {
    const rgb = { samplesPerPixel: 3, photometricInterpretation: 'RGB', bitsAllocated: 8, columns: 2 } as const;
    expect(await valuesOf([1, 2, 3, 4, 5, 6], rgb)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await valuesOf([1, 4, 2, 5, 3, 6], { ...rgb, planarConfiguration: 1 })).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('keeps YBR_FULL_422 at two samples a pixel, but not where the frame holds three', async () => {
    const ybr = attributesWith({
      samplesPerPixel: 3,
      photometricInterpretation: 'YBR_FULL_422',
      bitsAllocated: 8,
      columns: 2,
    });
    expect(await decodeFrame(Uint8Array.of(1, 2, 3, 4), EXPLICIT_LITTLE, ybr)).toMatchObject({
      meaning: 'YBR_FULL_422',
    });
    expect(await decodeFrame(new Uint8Array(6), EXPLICIT_LITTLE, ybr)).toMatchObject({ meaning: 'YBR_FULL' });
  });

  it('refuses frames that are too short or too large, before it allocates', async () => {
    for (const [bytes, changes] of [
      [7, {}],
      [32768, { rows: 60_000, columns: 60_000 }],
      [0, { rows: 16_000, columns: 16_000 }],
    ] as const) {
      const error = await decodeFrame(new Uint8Array(bytes), EXPLICIT_LITTLE, attributesWith(changes)).catch((e) => e);
      expect(isArchiveError(error, 'cannot-render'), String(error)).toBe(true);
    }
  });
});
