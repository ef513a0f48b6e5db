/**
 * The reader's promises for all bytes: a header or an ArchiveError, the same however they are cut into chunks; and generated
 * data sets come back as they were written.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { locateFrames } from '#shared/dicom/frame-ranges.ts';
import { readHeader, readHeaderRanged } from '#shared/dicom/part10.ts';
import { isArchiveError } from '#shared/errors.ts';
import { type MadeElement, type MadeValue, makeInstance } from '#test/support/dicom-factory.ts';
import { outcomeOfBytes, outcomeOfChunks, plainHeader } from '#test/support/headers.ts';

const step: MadeElement[] = [{ tag: 0x00400009, vr: 'SH', value: 'step' }];
const extra: MadeElement[] = [
  { tag: 0x00080005, vr: 'CS', value: 'ISO_IR 100' },
  { tag: 0x00081140, vr: 'SQ', definedLength: true, value: [step, [{ tag: 0x00400275, vr: 'SQ', value: [step] }]] },
  { tag: 0x00091010, vr: 'UN', value: Uint8Array.of(1, 2, 3, 4) },
  { tag: 0x00091011, vr: 'OB', value: new Uint8Array(300).fill(9) },
  { tag: 0x00400275, vr: 'SQ', value: [step, []] },
];
const files = ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99', '1.2.840.10008.1.2.5'].map(
  (transferSyntaxUid) => makeInstance({ transferSyntaxUid, extra, pixels: transferSyntaxUid.endsWith('.5') ? [new Uint8Array(16), new Uint8Array(6)] : new Uint8Array(32), frames: 2, rows: 2 }).file,
); // biome-ignore format: a list
const options = { bulkThresholdBytes: 200 };

const chunkLengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 });
const bytesOfHeaders = fc.oneof(
  fc.constantFrom(0xff, 0x00, 0xfe, 0xe0, 0x0d, 0xdd, 0x10, 0x02, 0x53, 0x51, 0x55, 0x4e),
  fc.integer({ min: 0, max: 255 }),
);
const mutation = fc.record({ at: fc.nat(), byte: bytesOfHeaders, kind: fc.constantFrom('set', 'insert', 'delete') });
const mutated = fc
  .tuple(fc.constantFrom(...files), fc.array(mutation, { minLength: 1, maxLength: 6 }), fc.option(fc.nat()))
  .map(([file, mutations, cut]) => {
    const bytes = [...file.subarray(0, cut === null ? undefined : cut % file.length)];
    for (const { at, byte, kind } of mutations) {
      // Mostly behind the preamble, where it hurts.
      const place = bytes.length > 128 ? 128 + (at % (bytes.length - 128)) : at % (bytes.length + 1);
      if (kind === 'set') bytes[place] = byte;
      else bytes.splice(place, kind === 'delete' ? 1 : 0, ...(kind === 'insert' ? [byte] : []));
    }
    return Uint8Array.from(bytes);
  });

describe('whatever the bytes are', () => {
  it('the answer is a header or an ArchiveError, the same for every way to cut them into chunks', () => {
    fc.assert(
      fc.property(mutated, chunkLengths, (bytes, lengths) => {
        const known = { ...options, totalLengthBytes: bytes.length };
        expect(outcomeOfChunks(bytes, lengths, known)).toEqual(outcomeOfBytes(bytes, options));
        expect(outcomeOfChunks(bytes, lengths, options)).toEqual(outcomeOfChunks(bytes, [bytes.length], options));
      }),
      { numRuns: 400 },
    );
  });

  it('frames are found within the file, or not at all', async () => {
    await fc.assert(
      fc.asyncProperty(mutated, async (bytes) => {
        let header: ReturnType<typeof readHeader>;
        try {
          header = readHeader(bytes);
        } catch (error) {
          expect(isArchiveError(error)).toBe(true);
          return;
        }
        const { table } = await locateFrames(header, bytes.length, async ({ offsetBytes, lengthBytes }) => {
          expect(offsetBytes).toBeGreaterThanOrEqual(0);
          expect(lengthBytes).toBeLessThanOrEqual(4 * 1024 * 1024);
          return bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
        });
        if (table.kind !== 'encapsulated') return;
        for (const { offsetBytes, lengthBytes } of table.frames) {
          expect(offsetBytes + lengthBytes).toBeLessThanOrEqual(bytes.length);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('random bytes are no exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(undefined, '1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99'), (bytes, transferSyntaxUid) => {
        outcomeOfBytes(bytes, transferSyntaxUid === undefined ? {} : { transferSyntaxUid });
      }), // biome-ignore format: short
      { numRuns: 400 },
    );
  });
});

describe('a file cut at every byte', () => {
  it.each(files.map((file, i) => [i, file] as const))('%i gives the same for every way to read it', async (i, file) => {
    // Every byte of the first file; of the others, which differ in encoding only, some.
    for (let end = 100; end <= file.length; end += i === 0 ? 1 : 5) {
      const bytes = file.subarray(0, end);
      const expected = outcomeOfBytes(bytes, options);
      expect(outcomeOfChunks(bytes, [7, 64, 1], { ...options, totalLengthBytes: end })).toEqual(expected);
    }
    const whole = readHeader(file);
    const read = async (range: { offsetBytes: number; lengthBytes: number }) =>
      file.subarray(range.offsetBytes, range.offsetBytes + Math.min(range.lengthBytes, 50));
    expect(plainHeader(await readHeaderRanged(read, file.length))).toEqual(plainHeader(whole));
  });
});

describe('generated data sets', () => {
  const vr = fc.constantFrom('LO', 'UT', 'OB', 'UN', 'US', 'SQ', 'UI');
  const { element } = fc.letrec<{ element: MadeElement; items: MadeElement[][] }>((tie) => ({
    items: fc.array(fc.array(tie('element'), { maxLength: 3 }), { maxLength: 3, depthIdentifier: 'items' }),
    element: fc
      .record({ number: fc.integer({ min: 0x1000, max: 0xffff }), vr, text: fc.string({ unit: 'grapheme-ascii', maxLength: 20 }), items: fc.option(tie('items'), { maxDepth: 4, depthIdentifier: 'items' }), definedLength: fc.boolean() })
      .map(({ number, vr, text, items, definedLength }) => {
        const value: MadeValue = vr === 'SQ' ? ((items ?? []) as MadeElement[][]) : vr === 'US' ? [text.length] : vr === 'OB' || vr === 'UN' ? new TextEncoder().encode(text) : text; // biome-ignore format: a choice
        return { tag: 0x00990000 + number, vr, value, definedLength };
      }),
  })); // biome-ignore format: a grammar

  const unique = (elements: readonly MadeElement[]): MadeElement[] =>
    [...new Map(elements.map((one) => [one.tag, one])).values()]
      .sort((a, b) => a.tag - b.tag)
      .map((one) => (one.vr === 'SQ' ? { ...one, value: (one.value as MadeElement[][]).map(unique) } : one));

  it('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(element, { maxLength: 6 }), fc.constantFrom('1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2'), chunkLengths, (made, transferSyntaxUid, lengths) => {
        const elements = unique(made);
        const { file } = makeInstance({ transferSyntaxUid, extra: elements });
        const header = readHeader(file);
        expect(header.tolerated).toEqual([]);
        const compare = (dataSet: typeof header.dataSet | undefined, wanted: readonly MadeElement[]): void => {
          for (const { tag, vr, value } of wanted) {
            const found = dataSet?.get(tag);
            expect(found?.vr).toBe(vr);
            if (vr === 'SQ') {
              const items = value as MadeElement[][];
              expect(found?.items?.length).toBe(items.length);
              for (const [i, item] of items.entries()) compare(found?.items?.[i], item);
            } else if (typeof value === 'string') {
              const written = Buffer.from(found?.value ?? []).toString();
              expect([value, `${value} `, `${value}\0`]).toContain(written);
            }
          }
        };
        compare(header.dataSet, elements);
        expect(outcomeOfChunks(file, lengths)).toEqual(plainHeader(header));
      }), // biome-ignore format: short
      { numRuns: 60 },
    );
  });
});
