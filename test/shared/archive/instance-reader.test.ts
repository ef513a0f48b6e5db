/**
 * Who an instance is when its data set does not say where it belongs, or breaks off before it can.
 */
import { describe, expect, it } from 'vitest';
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
