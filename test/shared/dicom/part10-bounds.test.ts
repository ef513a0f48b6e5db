/**
 * What the reader refuses, and that it does so before it has spent memory: depth, number and length of elements, deflated bombs.
 */
import { deflateRawSync, deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { inflateDataSet, inflateLimitBytes } from '#shared/dicom/deflated-data-set.ts';
import { HeaderReader, readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { elementHeader, encodeElements, itemHeader, joinBytes, makeInstance } from '#test/support/dicom-factory.ts';

const little = { explicitVr: true, littleEndian: true };
const explicitOptions = { transferSyntaxUid: '1.2.840.10008.1.2.1' };
const deflatedOptions = { transferSyntaxUid: '1.2.840.10008.1.2.1.99' };
const first = encodeElements([{ tag: 0x00080018, vr: 'UI', value: '1.2.3' }], little);
const limit = expect.objectContaining({ code: 'limit-exceeded' });
const bad = expect.objectContaining({ code: 'bad-dicom' });

function nestedSequences(depth: number, lengthBytes: number): Uint8Array {
  const level = joinBytes([elementHeader(0x0040a730, 'SQ', lengthBytes, little), itemHeader(Tag.Item, lengthBytes)]);
  const bytes = new Uint8Array(level.length * depth);
  for (let i = 0; i < depth; i++) bytes.set(level, i * level.length);
  return joinBytes([first, bytes]);
}

/** Rejects or throws nothing in the way in which bytes come. */
function inChunks(bytes: Uint8Array, options: object, size = 1000): HeaderReader {
  const reader = new HeaderReader(options);
  for (let at = 0; at < bytes.length; at += size) if (reader.push(bytes.subarray(at, at + size))) return reader;
  reader.end();
  return reader;
}

describe('the reader refuses', () => {
  it.each([33, 20_000])('sequences nested %i deep', (depth) => {
    const bytes = nestedSequences(depth, 0xffffffff);
    expect(() => readHeader(bytes, explicitOptions)).toThrow(limit);
    expect(() => inChunks(bytes, explicitOptions)).toThrow(limit);
  });

  it('nothing that is nested 32 deep', () => {
    expect(readHeader(nestedSequences(32, 0xffffffff), explicitOptions).tolerated.join()).toMatch(/cut short/);
  });

  it('300,000 elements, and 300,000 items', () => {
    const one = encodeElements([{ tag: 0x00091001, vr: 'LO', value: '' }], little);
    const many = new Uint8Array(one.length * 300_000);
    for (let i = 0; i < 300_000; i++) many.set(one, i * one.length);
    expect(() => readHeader(joinBytes([first, many]), explicitOptions)).toThrow(limit);
    expect(() => inChunks(joinBytes([first, many]), explicitOptions, 100_000)).toThrow(limit);
    const item = itemHeader(Tag.Item, 0);
    for (let i = 0; i < 300_000; i++) many.set(item, i * item.length);
    const items = joinBytes([first, elementHeader(0x0040a730, 'SQ', 0xffffffff, little), many]);
    expect(() => readHeader(items, explicitOptions)).toThrow(limit);
    const fragments = joinBytes([first, elementHeader(0x00091001, 'OB', 0xffffffff, little), many]);
    expect(() => readHeader(fragments, explicitOptions)).toThrow(limit);
  });

  it('a header of more than 64 MiB before it has come', () => {
    const bytes = joinBytes([first, elementHeader(0x0040a730, 'UT', 65 * 1024 * 1024, little)]);
    expect(() => new HeaderReader(explicitOptions).push(bytes)).toThrow(limit);
    expect(() => readHeader(bytes, explicitOptions)).toThrow(limit);
  });

  it('a header of more than 64 MiB in values of a moderate length', () => {
    const value = joinBytes([elementHeader(0x00091001, 'UT', 1_000_000, little), new Uint8Array(1_000_000)]);
    const reader = new HeaderReader(explicitOptions);
    reader.push(first);
    expect(() => {
      for (let i = 0; i < 70; i++) reader.push(value);
    }).toThrow(limit);
    expect(() => reader.push(value)).toThrow(limit);
    expect(() => reader.header).toThrow(limit);
  });

  it('a sequence of undefined length that cannot be one', () => {
    const bytes = joinBytes([first, elementHeader(0x0040a730, 'SQ', 0xffffffff, little), new Uint8Array(100).fill(1)]);
    expect(() => readHeader(bytes, explicitOptions)).toThrow(bad);
  });

  it('a text of undefined length', () => {
    const bytes = joinBytes([first, elementHeader(0x0040a160, 'UT', 0xffffffff, little), first]);
    expect(() => readHeader(bytes, explicitOptions)).toThrow(bad);
  });

  it.each([
    ['nothing', new Uint8Array(0)],
    ['zeros', new Uint8Array(4096)],
    ['a prefix and nothing else', makeInstance({}).file.subarray(0, 132)],
    ['File Meta and nothing else', makeInstance({}).file.subarray(0, makeInstance({}).dataSetOffsetBytes)],
    ['text', new TextEncoder().encode('A letter, not an image. '.repeat(50))],
  ])('%s', (_name, bytes) => {
    expect(() => readHeader(bytes)).toThrow(bad);
    expect(() => inChunks(bytes, {})).toThrow(bad);
  });

  it('an empty data set', () => {
    expect(() => readHeader(new Uint8Array(0), explicitOptions)).toThrow(bad);
    expect(() => inChunks(new Uint8Array(0), deflatedOptions)).toThrow(bad);
  });
});

describe('memory', () => {
  it('is not allocated for a value before it comes', () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 50 }, () => {
      const reader = new HeaderReader(explicitOptions);
      reader.push(joinBytes([first, elementHeader(0x0040a730, 'UT', 60 * 1024 * 1024, little)]));
      reader.push(new Uint8Array(1000));
      return reader;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1024 * 1024);
    expect(readers.length).toBe(50);
  });
});

describe('deflated data sets', () => {
  const data = joinBytes([first, encodeElements([{ tag: 0x00100010, vr: 'PN', value: 'A^B' }], little)]);

  it('may inflate to 100 times their length and 16 MiB, at most 512 MiB', () => {
    expect(inflateLimitBytes(0)).toBe(16 * 1024 * 1024);
    expect(inflateLimitBytes(1000)).toBe(16 * 1024 * 1024 + 100_000);
    expect(inflateLimitBytes(10 ** 9)).toBe(512 * 1024 * 1024);
  });

  it('with a zlib header are read', () => {
    const header = readHeader(deflateSync(data), deflatedOptions);
    expect(header.dataSet.ascii(Tag.SOPInstanceUID)).toBe('1.2.3');
    expect(header.tolerated).toEqual([expect.stringMatching(/zlib header/)]);
  });

  it('that are cut give what is there', () => {
    const whole = deflateRawSync(data);
    expect(readHeader(whole.subarray(0, -3), deflatedOptions).dataSet.get(0x00080018)).toBeDefined();
  });

  it('that are damaged are refused', () => {
    expect(() =>
      readHeader(
        Uint8Array.from({ length: 100 }, () => 0xff),
        deflatedOptions,
      ),
    ).toThrow(bad);
  });

  it('do not inflate to gigabytes', async () => {
    const zeros = new Uint8Array(32 * 1024 * 1024);
    const bomb = deflateRawSync(joinBytes([first, elementHeader(0x00091001, 'UT', 60_000_000, little), zeros]), {
      level: 1,
    });
    expect(() => readHeader(bomb, deflatedOptions)).toThrow(limit);
    expect(() => inChunks(bomb, deflatedOptions)).toThrow(limit);
    await expect(inflateDataSet(bomb)).rejects.toEqual(limit);
  });

  it('with pixels that compress well are read all the same', () => {
    const { file } = makeInstance({
      ...deflatedOptions,
      rows: 2000,
      columns: 2000,
      pixels: new Uint8Array(8_000_000),
    });
    expect(readHeader(file).pixelData?.lengthBytes).toBe(8_000_000);
  });

  it('are inflated whole for those who want their pixels', async () => {
    expect(new Uint8Array(await inflateDataSet(deflateRawSync(data)))).toEqual(data);
    expect(new Uint8Array(await inflateDataSet(deflateSync(data)))).toEqual(data);
    await expect(inflateDataSet(Uint8Array.from({ length: 100 }, () => 0xff))).rejects.toEqual(bad);
  });
});
