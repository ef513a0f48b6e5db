/**
 * Headers in every transfer syntax, out of bytes, streams and ranged reads; File Meta written and read back.
 */
import { describe, expect, it } from 'vitest';
import type { Header } from '#shared/dicom/part10.ts';
import { encodeFileMeta, HeaderReader, readHeader, readHeaderRanged } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import {
  elementHeader,
  encodeElement,
  encodeElements,
  joinBytes,
  type MadeElement,
  makeInstance,
} from '#test/support/dicom-factory.ts';
import { plainHeader } from '#test/support/headers.ts';

const little = { explicitVr: true, littleEndian: true };
const nested: MadeElement[] = [
  { tag: 0x00080005, vr: 'CS', value: 'ISO_IR 192' },
  {
    tag: 0x00081140,
    vr: 'SQ',
    definedLength: true,
    value: [
      [
        { tag: 0x00081155, vr: 'UI', value: '1.2.3' },
        { tag: 0x0040a170, vr: 'SQ', value: [[{ tag: 0x00080100, vr: 'SH', value: '121327' }], []] },
      ],
    ],
  },
  { tag: 0x00091010, vr: 'UN', value: Uint8Array.of(1, 2, 3, 4) },
  { tag: 0x00400275, vr: 'SQ', value: [[{ tag: 0x00400009, vr: 'SH', value: 'step' }], []] },
];

describe('a header', () => {
  it.each([
    ['implicit VR little endian', '1.2.840.10008.1.2', true],
    ['explicit VR little endian', '1.2.840.10008.1.2.1', true],
    ['explicit VR big endian', '1.2.840.10008.1.2.2', false],
    ['deflated', '1.2.840.10008.1.2.1.99', true],
    ['encapsulated', '1.2.840.10008.1.2.4.90', true],
    ['an unknown transfer syntax', '1.2.3.4.5', true],
  ])('is read in %s', (_name, transferSyntaxUid, littleEndian) => {
    const made = makeInstance({ transferSyntaxUid, patientName: 'Ämilia^Test', rows: 5, columns: 7, extra: nested });
    const header = readHeader(made.file);
    expect(header.tolerated).toEqual([]);
    expect(header.transferSyntax.uid).toBe(transferSyntaxUid);
    expect(header.fileMeta?.ascii(Tag.MediaStorageSOPInstanceUID)).toBe(made.ref.sopInstanceUid);
    expect(header.dataSetOffsetBytes).toBe(made.dataSetOffsetBytes);
    const { dataSet } = header;
    expect(dataSet.littleEndian).toBe(littleEndian);
    expect(dataSet.characterSets).toEqual(['ISO_IR 192']);
    expect(dataSet.ascii(Tag.SOPInstanceUID)).toBe(made.ref.sopInstanceUid);
    expect(dataSet.number(Tag.Rows)).toBe(5);
    expect(dataSet.number(Tag.Columns)).toBe(7);
    expect(new TextDecoder().decode(dataSet.get(Tag.PatientName)?.value).trim()).toBe('Ämilia^Test');
    const [reference] = dataSet.get(0x00081140)?.items ?? [];
    expect(reference?.ascii(0x00081155)).toBe('1.2.3');
    expect(reference?.characterSets).toEqual(['ISO_IR 192']);
    expect(reference?.get(0x0040a170)?.items?.map((item) => item.ascii(0x00080100))).toEqual(['121327', undefined]);
    expect(dataSet.get(0x00400275)?.items?.length).toBe(2);
    expect(dataSet.get(Tag.PixelData)).toBeUndefined();
    expect(header.pixelData?.tag).toBe(Tag.PixelData);
  });

  it.each(['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2'])(
    'says where values and Pixel Data lie (%s)',
    (transferSyntaxUid) => {
      const pixels = Uint8Array.from({ length: 32 }, (_, i) => i);
      const { file } = makeInstance({ transferSyntaxUid, pixels, extra: nested });
      const header = readHeader(file);
      const { offsetBytes, lengthBytes } = header.pixelData ?? { offsetBytes: 0, lengthBytes: 0 };
      expect(lengthBytes).toBe(32);
      expect(file.subarray(offsetBytes, offsetBytes + 32)).toEqual(pixels);
      for (const element of header.dataSet.elements.values()) {
        if (element.value === undefined) continue;
        expect(file.subarray(element.offsetBytes, element.offsetBytes + element.lengthBytes)).toEqual(element.value);
      }
    },
  );

  it('says that encapsulated Pixel Data has no length, and where its offset table is', () => {
    const { file } = makeInstance({ pixels: [Uint8Array.of(1, 2, 3, 4)] });
    const { pixelData } = readHeader(file);
    expect(pixelData?.lengthBytes).toBeUndefined();
    expect([...file.subarray(pixelData?.offsetBytes).subarray(0, 4)]).toEqual([0xfe, 0xff, 0x00, 0xe0]);
  });

  it('is read of a bare data set', () => {
    for (const transferSyntaxUid of ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99']) {
      const { dataSet, ref } = makeInstance({ transferSyntaxUid });
      const header = readHeader(dataSet, { transferSyntaxUid });
      expect(header.fileMeta).toBeUndefined();
      expect(header.dataSetOffsetBytes).toBe(0);
      expect(header.tolerated).toEqual([]);
      expect(header.dataSet.ascii(Tag.SOPInstanceUID)).toBe(ref.sopInstanceUid);
    }
  });

  it('of an instance without pixels ends with the data', () => {
    const { file } = makeInstance({ pixels: 'none' });
    const header = readHeader(file);
    expect(header.pixelData).toBeUndefined();
    expect(header.tolerated).toEqual([]);
  });

  it.each([
    [Tag.FloatPixelData, 'OF'],
    [Tag.DoubleFloatPixelData, 'OD'],
  ])('stops before every kind of Pixel Data (%i)', (tag, vr) => {
    const { file } = makeInstance({ pixels: 'none', extra: [{ tag, vr, value: [1, 2] }] });
    expect(readHeader(file).pixelData).toMatchObject({ tag, vr });
  });

  it('takes US or SS in implicit VR from Pixel Representation, an icon having its own', () => {
    const icon: MadeElement[] = [{ tag: Tag.PixelRepresentation, vr: 'US', value: [0] }, { tag: 0x00280106, vr: 'US', value: [1] }]; // biome-ignore format: short
    const { file } = makeInstance({
      transferSyntaxUid: '1.2.840.10008.1.2',
      pixelRepresentation: 1,
      extra: [
        { tag: 0x00280120, vr: 'SS', value: [-2000] },
        { tag: 0x00281401, vr: 'SQ', value: [icon] },
        { tag: 0x00283002, vr: 'SS', value: [1, -2, 3] },
      ],
    });
    const { dataSet } = readHeader(file);
    expect(dataSet.number(Tag.PixelPaddingValue)).toBe(-2000);
    expect(dataSet.get(0x00281401)?.items?.[0]?.get(0x00280106)?.vr).toBe('US');
    expect(dataSet.get(0x00283002)?.vr).toBe('SS');
  });

  it('leaves bulk values where they lie', () => {
    const big = new Uint8Array(5000).fill(7);
    const { file } = makeInstance({
      extra: [
        { tag: 0x00091010, vr: 'OB', value: big },
        { tag: 0x00420010, vr: 'ST', value: 'after' },
        { tag: 0x00420011, vr: 'UT', value: 'x'.repeat(5000) },
      ],
    });
    const { dataSet } = readHeader(file, { bulkThresholdBytes: 4000 });
    const element = dataSet.get(0x00091010);
    expect(element?.value).toBeUndefined();
    expect(element?.lengthBytes).toBe(5000);
    expect(file.subarray(element?.offsetBytes).subarray(0, 5000)).toEqual(big);
    expect(dataSet.ascii(0x00420010)).toBe('after');
    expect(dataSet.get(0x00420011)?.value?.length).toBe(5000);
    expect(readHeader(file).dataSet.get(0x00091010)?.value).toEqual(big);
  });

  it('treats `__proto__` as any other text', () => {
    const { file } = makeInstance({ patientName: '__proto__', patientId: 'constructor' });
    const { dataSet } = readHeader(file);
    expect(dataSet.ascii(Tag.PatientName)).toBe('__proto__');
    expect(dataSet.ascii(Tag.PatientID)).toBe('constructor');
  });
});

describe('a header out of a stream', () => {
  it('is complete as soon as Pixel Data begins, and takes no more', () => {
    const { file } = makeInstance({ rows: 512, columns: 512 });
    const reader = new HeaderReader();
    const end = readHeader(file).pixelData?.offsetBytes ?? 0;
    expect(reader.push(file.subarray(0, end - 1))).toBe(false);
    expect(() => reader.header).toThrow(/not complete/);
    expect(reader.push(file.subarray(end - 1, end))).toBe(true);
    expect(reader.push(new Uint8Array(10))).toBe(true);
    reader.end();
    expect(reader.header.dataSet.number(Tag.Rows)).toBe(512);
  });

  it('passes over a bulk value without holding it', () => {
    const lengthBytes = 3 * 1024 * 1024 * 1024;
    const { file } = makeInstance({ pixels: 'none' });
    const reader = new HeaderReader();
    reader.push(file);
    reader.push(elementHeader(0x00420011, 'OB', lengthBytes, little));
    const chunk = new Uint8Array(16 * 1024 * 1024);
    for (let sent = 0; sent < lengthBytes; sent += chunk.length) expect(reader.push(chunk)).toBe(false);
    reader.push(encodeElement({ tag: 0x00420012, vr: 'LO', value: 'application/pdf' }, little));
    reader.end();
    expect(reader.header.dataSet.get(0x00420011)).toMatchObject({ lengthBytes, value: undefined });
    expect(reader.header.dataSet.ascii(0x00420012)).toBe('application/pdf');
    expect(reader.header.tolerated).toEqual([]);
  });

  it('reads a sequence that spans many chunks in time linear in its length', () => {
    const items = Array.from({ length: 5_000 }, () => [{ tag: 0x00081155, vr: 'UI', value: '1.2.3.4' }]);
    const { file } = makeInstance({ extra: [{ tag: 0x00081140, vr: 'SQ', value: items }] });
    const reader = new HeaderReader();
    for (let at = 0; at < file.length; at += 100) if (reader.push(file.subarray(at, at + 100))) break;
    reader.end();
    expect(reader.header.dataSet.get(0x00081140)?.items?.length).toBe(5_000);
  });
});

describe('a header by ranged reads', () => {
  const counting = (bytes: Uint8Array) => {
    const reads: { offsetBytes: number; lengthBytes: number }[] = [];
    return {
      reads,
      read: async (range: { offsetBytes: number; lengthBytes: number }) => {
        reads.push(range);
        return bytes.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes);
      },
    };
  };

  it('takes one read of a common file', async () => {
    const { file } = makeInstance({ rows: 512, columns: 512 });
    const { read, reads } = counting(file);
    expect(plainHeader(await readHeaderRanged(read, file.length))).toEqual(plainHeader(readHeader(file)));
    expect(reads).toEqual([{ offsetBytes: 0, lengthBytes: 65536 }]);
  });

  it('hops over bulk values', async () => {
    const { file } = makeInstance({
      extra: [
        { tag: 0x00420011, vr: 'OB', value: new Uint8Array(5_000_000) },
        { tag: 0x00420012, vr: 'LO', value: 'application/pdf' },
      ],
    });
    const { read, reads } = counting(file);
    const header: Header = await readHeaderRanged(read, file.length);
    expect(plainHeader(header)).toEqual(plainHeader(readHeader(file)));
    expect(reads.length).toBe(2);
    expect(reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBeLessThan(200_000);
  });

  it('reads deflated data sets only as far as the header goes', async () => {
    const pixels = new Uint8Array(4_000_000);
    for (let i = 0; i < pixels.length; i++) pixels[i] = (i * i) >>> 7;
    const { file } = makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.1.99', rows: 1000, columns: 2000, pixels });
    const { read, reads } = counting(file);
    expect(plainHeader(await readHeaderRanged(read, file.length))).toEqual(plainHeader(readHeader(file)));
    expect(reads.length).toBe(1);
  });

  it('gives what is there when the source turns out to be shorter', async () => {
    const { file } = makeInstance({});
    const { read } = counting(file.subarray(0, 500));
    const header = await readHeaderRanged(read, file.length);
    expect(header.tolerated.join()).toMatch(/data end/);
  });
});

describe('File Meta Information', () => {
  it('is written so that the file reads back', () => {
    const { dataSet, ref, sopClassUid } = makeInstance({});
    const meta = encodeFileMeta({
      sopClassUid,
      sopInstanceUid: ref.sopInstanceUid,
      transferSyntaxUid: '1.2.840.10008.1.2.1',
      sourceAeTitle: ' MODALITY',
    });
    const header = readHeader(joinBytes([meta, dataSet]));
    expect(header.tolerated).toEqual([]);
    expect(header.dataSetOffsetBytes).toBe(meta.length);
    expect(meta.subarray(0, 128).every((byte) => byte === 0)).toBe(true);
    expect(header.fileMeta?.ascii(Tag.MediaStorageSOPClassUID)).toBe(sopClassUid);
    expect(header.fileMeta?.ascii(Tag.MediaStorageSOPInstanceUID)).toBe(ref.sopInstanceUid);
    expect(header.fileMeta?.ascii(Tag.SourceApplicationEntityTitle)).toBe('MODALITY');
    expect([...(header.fileMeta?.get(Tag.FileMetaInformationVersion)?.value ?? [])]).toEqual([0, 1]);
  });

  it('refuses absurd values', () => {
    expect(() =>
      encodeFileMeta({ sopClassUid: '1'.repeat(2000), sopInstanceUid: '1', transferSyntaxUid: '1' }),
    ).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  it('ends where the deflated data set begins, even if that looks like group 0002', () => {
    const { file, dataSetOffsetBytes } = makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.1.99', pixels: 'none' });
    const impostor = joinBytes([
      file.subarray(0, dataSetOffsetBytes),
      encodeElements([{ tag: 0x00020100, vr: 'UI', value: '1.2' }], little),
    ]);
    expect(() => readHeader(impostor)).toThrow(expect.objectContaining({ code: 'bad-dicom' }));
  });
});
