/**
 * A data set: finding elements whatever their order, text without padding, first numbers of every numeric VR.
 */
import { describe, expect, it } from 'vitest';
import { DataSet, type Element, latin1, type Vr } from '#shared/dicom/data-set.ts';

function element(tag: number, vr: Vr, value: Uint8Array | string): Element {
  const bytes = typeof value === 'string' ? new Uint8Array(Buffer.from(value, 'latin1')) : value;
  return { tag, vr, offsetBytes: 0, lengthBytes: bytes.length, value: bytes, items: undefined };
}

describe('a data set', () => {
  it('finds elements whether or not their tags ascend', () => {
    const tags = [0x00080005, 0x00100010, 0x7fe00001, 0xfffcfffc];
    for (const order of [tags, [...tags].reverse(), [tags[1]!, tags[0]!, tags[3]!, tags[2]!]]) {
      const dataSet = new DataSet(true);
      for (const tag of order) expect(dataSet.append(element(tag, 'LO', 'x'))).toBe(true);
      for (const tag of tags) expect(dataSet.get(tag)?.tag).toBe(tag);
      expect(dataSet.get(0x00080006)).toBeUndefined();
      expect([...dataSet.elements.keys()]).toEqual(order);
      expect(dataSet.ascending().map(({ tag }) => tag)).toEqual(tags);
    }
  });

  it('keeps the first of two elements with one tag', () => {
    const dataSet = new DataSet(true);
    dataSet.append(element(0x00100020, 'LO', 'first'));
    expect(dataSet.append(element(0x00100020, 'LO', 'second'))).toBe(false);
    expect(dataSet.ascii(0x00100020)).toBe('first');
    expect(dataSet.elements.size).toBe(1);
  });

  it('goes on taking elements after somebody asked for all of them', () => {
    const dataSet = new DataSet(true);
    dataSet.append(element(0x00100010, 'PN', 'a'));
    expect(dataSet.elements.size).toBe(1);
    dataSet.append(element(0x00100020, 'LO', 'b'));
    expect(dataSet.ascii(0x00100020)).toBe('b');
    expect(dataSet.elements.size).toBe(2);
  });

  it('gives text without its padding', () => {
    const dataSet = new DataSet(true);
    dataSet.append(element(1, 'UI', '1.2.3\0'));
    dataSet.append(element(2, 'CS', '  A B  '));
    dataSet.append(element(3, 'LO', '   '));
    dataSet.append(element(4, 'LO', `${'ä'.repeat(100)} `));
    expect(dataSet.ascii(1)).toBe('1.2.3');
    expect(dataSet.ascii(2)).toBe('A B');
    expect(dataSet.ascii(3)).toBeUndefined();
    expect(dataSet.ascii(4)).toBe('ä'.repeat(100));
    expect(dataSet.ascii(5)).toBeUndefined();
    expect(latin1(Uint8Array.of(0x80, 0xff), 0, 2)).toBe('\u0080\u00ff');
  });

  it.each([
    ['US', [0x34, 0x12], 0x1234, 0x3412],
    ['SS', [0xff, 0xff], -1, -1],
    ['UL', [1, 0, 0, 0x80], 0x80000001, 0x01000080],
    ['SL', [0xfe, 0xff, 0xff, 0xff], -2, -16777217],
    ['IS', [0x31, 0x32, 0x5c, 0x33], 12, 12],
    ['DS', [0x20, 0x2d, 0x31, 0x2e, 0x35, 0x20], -1.5, -1.5],
    ['IS', [0x61], undefined, undefined],
    ['US', [1], undefined, undefined],
    ['FD', [0, 0, 0, 0, 0, 0, 0xf0, 0x3f], 1, 3.03865e-319],
  ] as const)('gives the first number of a %s', (vr, bytes, little, big) => {
    for (const [littleEndian, expected] of [
      [true, little],
      [false, big],
    ] as const) {
      const dataSet = new DataSet(littleEndian);
      dataSet.append(element(1, vr, Uint8Array.from(bytes)));
      expect(dataSet.number(1)).toBe(expected);
    }
  });
});
