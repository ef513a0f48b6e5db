/**
 * Who an instance is when its data set does not say where it belongs, or breaks off before it can.
 */
import { describe, expect, it } from 'vitest';
import { EntryInspector, entryNameOf } from '#shared/archive/entry-inspector.ts';
import { InstanceReader, identityOf, indexedAttributesOf } from '#shared/archive/instance-reader.ts';
import { isUid } from '#shared/dicom/uid.ts';
import { defaultElements, encodeElement, type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';

const SOP_INSTANCE = 0x00080018;
const STUDY = 0x0020000d;
const SERIES = 0x0020000e;

function identify(bytes: Uint8Array) {
  const reader = new InstanceReader({ transferSyntaxUid: '1.2.840.10008.1.2.1' });
  if (!reader.push(bytes)) reader.end();
  if (reader.header === undefined) throw reader.failure;
  return identityOf(reader.header);
}

describe('an instance without a Study or Series Instance UID', () => {
  const ref = { studyInstanceUid: '1.2.3', seriesInstanceUid: '1.2.3.4', sopInstanceUid: '1.2.3.4.5' };
  const identityWithout = (without: readonly number[], options: InstanceOptions = {}) =>
    identify(makeInstance({ ...ref, ...options, without }).dataSet);

  it('gets valid UIDs in their place, the same for everybody who reads the same bytes', () => {
    const palette = identityWithout([STUDY, SERIES]);
    expect(isUid(palette.studyInstanceUid)).toBe(true);
    expect(isUid(palette.seriesInstanceUid)).toBe(true);
    expect(palette.studyInstanceUid).not.toBe(palette.seriesInstanceUid);
    expect(palette).toEqual(identityWithout([STUDY, SERIES]));
    expect(palette.sopInstanceUid).toBe(ref.sopInstanceUid);
  });

  it('keeps the UID that it has, and what shares that stays together', () => {
    const one = identityWithout([STUDY]);
    expect(one.seriesInstanceUid).toBe(ref.seriesInstanceUid);
    expect(identityWithout([STUDY], { sopInstanceUid: '9.9' }).studyInstanceUid).toBe(one.studyInstanceUid);
    const other = identityWithout([SERIES]);
    expect(other.studyInstanceUid).toBe(ref.studyInstanceUid);
    expect(identityWithout([SERIES], { sopInstanceUid: '9.9' }).seriesInstanceUid).toBe(other.seriesInstanceUid);
  });

  it('never shares a study with others that have none either', () => {
    const one = identityWithout([STUDY, SERIES]);
    const other = identityWithout([STUDY, SERIES], { sopInstanceUid: '9.9' });
    expect(other.studyInstanceUid).not.toBe(one.studyInstanceUid);
    expect(other.seriesInstanceUid).not.toBe(one.seriesInstanceUid);
  });

  it('is not what broke off before it could say them', () => {
    const { dataSet } = makeInstance(ref);
    const { sopInstanceUid } = ref;
    const badDicom = expect.objectContaining({ code: 'bad-dicom' });
    const encoding = { explicitVr: true, littleEndian: true };
    const elements = defaultElements(ref, {}).filter(({ tag }) => tag <= SERIES);
    let end = 0;
    for (const element of elements) {
      const next = end + encodeElement(element, encoding).length;
      for (let length = end + 1; length < next; length++)
        expect(() => identify(dataSet.subarray(0, length)), String(length)).toThrow(badDicom);
      // What ends with the end of an element was sent whole.
      if (element.tag >= SOP_INSTANCE) expect(identify(dataSet.subarray(0, next))).toMatchObject({ sopInstanceUid });
      end = next;
    }
    expect(identify(dataSet.subarray(0, -3))).toMatchObject(ref);
  });
});

describe('a header that is small as bytes and huge as JSON', () => {
  const sequence = (value: string, count: number): InstanceOptions => ({
    extra: [
      {
        tag: 0x00400275,
        vr: 'SQ',
        value: [Array.from({ length: count }, (_, i) => ({ tag: 0x00111000 + i, vr: 'PN', value }))],
      },
    ],
  });
  const read = (options: InstanceOptions): InstanceReader => {
    const reader = new InstanceReader({ transferSyntaxUid: '1.2.840.10008.1.2.1' });
    if (!reader.push(makeInstance(options).dataSet)) reader.end();
    return reader;
  };

  it('is refused before anybody makes objects of it', () => {
    // 2 bytes each, 100 and more as objects.
    const { header, failure } = read(sequence('a\\'.repeat(32_000), 4));
    expect(header).toBeUndefined();
    expect(failure).toMatchObject({ code: 'limit-exceeded' });
  });

  it('costs the index no more than a few of its attributes', () => {
    const { header } = read(sequence('\u0001\\'.repeat(30_000), 3));
    const attributes = header === undefined ? undefined : indexedAttributesOf(header);
    expect(attributes?.['00100010']).toBeDefined();
    expect(attributes?.['00400275']).toBeUndefined();
    expect(JSON.stringify(attributes).length).toBeLessThan(10_000);
  });

  it('costs the index no more in many attributes than in one', () => {
    const extra = [0x00080050, 0x00081030, 0x00200010, 0x0008103e, 0x00181030].map((tag) => ({
      tag,
      vr: 'LO',
      value: '\u0001'.repeat(10_000),
    }));
    const { header } = read({ extra });
    const attributes = header === undefined ? {} : indexedAttributesOf(header);
    expect(JSON.stringify(attributes).length).toBeLessThan(6 * 32 * 1024 + 10_000);
  });
});

describe('a data set that cannot be read to its end', () => {
  const unreadable = Buffer.from('290020005554' + '0000' + 'ffffffff', 'hex');
  const pieces = (bytes: Uint8Array, firstBytes: number, thenBytes: number): Uint8Array[] => {
    const all = [bytes.subarray(0, firstBytes)];
    for (let at = firstBytes; at < bytes.length; at += thenBytes) all.push(bytes.subarray(at, at + thenBytes));
    return all;
  };

  it('is taken or refused the same by all who read it, in whatever pieces it comes', () => {
    const verdicts = new Set<string>();
    for (const beforeKibibytes of [200, 1000, 1020, 1060, 1200, 1500]) {
      const extra = Array.from({ length: beforeKibibytes / 20 }, (_, i) => ({
        tag: 0x00091000 + i,
        vr: 'LT',
        value: 'x'.repeat(20 * 1024),
      }));
      const { ref, sopClassUid, file, dataSet } = makeInstance({ pixels: 'none', extra });
      const tail = Buffer.concat([unreadable, Buffer.alloc(1000, 0x41)]);
      const found = (read: () => string): string => {
        try {
          return read();
        } catch (error) {
          return (error as { code: string }).code;
        }
      };
      const seen = new Set<string>();
      for (const [firstBytes, thenBytes] of [
        [65_536, 65_536],
        [100_000, 262_144],
        [300_000, 524_288],
        [1_048_576, 1_048_576],
        [4_000_000, 4_000_000],
      ] as const) {
        const reader = new InstanceReader({ transferSyntaxUid: '1.2.840.10008.1.2.1' });
        for (const piece of pieces(Buffer.concat([dataSet, tail]), firstBytes, thenBytes)) reader.push(piece);
        reader.end();
        seen.add(
          found(() => {
            if (reader.header === undefined) throw reader.failure;
            return identityOf(reader.header, { sopClassUid, sopInstanceUid: undefined }).studyInstanceUid;
          }),
        );
        const whole = Buffer.concat([file, tail]);
        const inspector = new EntryInspector();
        for (const piece of pieces(whole, firstBytes, thenBytes)) inspector.push(piece);
        const name = entryNameOf(ref.sopInstanceUid);
        const place = { headerOffsetBytes: 0, offsetBytes: 60, lengthBytes: whole.length };
        const entry = { name, crc32: 0, dosTime: 0, ...place };
        seen.add(found(() => inspector.end('hospital', 'pack', entry).record.studyInstanceUid));
      }
      expect([...seen], `${beforeKibibytes} KiB`).toHaveLength(1);
      verdicts.add(seen.has(ref.studyInstanceUid) ? 'taken' : 'refused');
    }
    expect([...verdicts]).toEqual(['taken', 'refused']);
  });

  it('is taken by the cloud as by the gateway, which does not know where it ends, when lengths are lies', () => {
    const transferSyntaxUid = '1.2.840.10008.1.2.5';
    const ref = { studyInstanceUid: '1.2.1', seriesInstanceUid: '1.2.2', sopInstanceUid: '1.2.3' };
    const made = makeInstance({ ...ref, transferSyntaxUid, pixels: [Uint8Array.of(1, 2, 3, 4)] });
    const { dataSet } = made;
    // A VR of long length over a short one, whose length is in the next element; and one that is beyond all bounds.
    const damage = (tag: string, at: number, bytes: string): void => {
      dataSet.set(Buffer.from(bytes, 'hex'), Buffer.from(dataSet).indexOf(Buffer.from(tag, 'hex')) + at);
    };
    damage('28000001', 4, '5552');
    damage('28000201', 5, 'ffffffff');
    const meta = made.file.subarray(0, made.file.length - dataSet.length);
    const whole = Buffer.concat([meta, dataSet]);
    const gateway = new InstanceReader({ transferSyntaxUid });
    gateway.push(dataSet);
    gateway.end();
    expect(identityOf(gateway.header!)).toMatchObject(ref);
    const inspector = new EntryInspector();
    inspector.push(whole);
    const place = { headerOffsetBytes: 0, offsetBytes: 60, lengthBytes: whole.length };
    const entry = { name: entryNameOf(ref.sopInstanceUid), crc32: 0, dosTime: 0, ...place };
    expect(inspector.end('hospital', 'pack', entry).record).toMatchObject(ref);
  });
});
