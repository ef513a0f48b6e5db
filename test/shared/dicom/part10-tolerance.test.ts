/**
 * What the field sends and the standard forbids is read all the same, and said in words without values.
 */
import { describe, expect, it } from 'vitest';
import { type HeaderOptions, readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import {
  elementHeader,
  encodeElement,
  encodeElements,
  encodeFileMetaByHand,
  itemHeader,
  joinBytes,
  type MadeElement,
  makeInstance,
} from '#test/support/dicom-factory.ts';

const little = { explicitVr: true, littleEndian: true };
const implicit = { explicitVr: false, littleEndian: true };
const big = { explicitVr: true, littleEndian: false };
const first: MadeElement[] = [
  { tag: 0x00080016, vr: 'UI', value: '1.2.840.10008.5.1.4.1.1.7' },
  { tag: 0x00080018, vr: 'UI', value: '1.2.3' },
];
const last: MadeElement = { tag: 0x00100020, vr: 'LO', value: 'last' };
const explicitOptions: HeaderOptions = { transferSyntaxUid: '1.2.840.10008.1.2.1' };

/** A bare explicit data set: the usual start, some odd bytes, an element that must be found behind them. */
function between(...odd: Uint8Array[]): Uint8Array {
  return joinBytes([encodeElements(first, little), ...odd, encodeElement(last, little)]);
}

describe('a file without all that a file should have', () => {
  const { file, dataSet, dataSetOffsetBytes, ref } = makeInstance({});
  const withoutGroupLength = joinBytes([file.subarray(0, 132), file.subarray(144)]);
  const wrongGroupLength = file.slice();
  wrongGroupLength[140] = 3;
  const noTransferSyntax = joinBytes([
    encodeFileMetaByHand([{ tag: Tag.MediaStorageSOPInstanceUID, vr: 'UI', value: ref.sopInstanceUid }]),
    dataSet,
  ]);
  const implicitMeta = joinBytes([
    file.subarray(0, 132),
    encodeElements([{ tag: Tag.TransferSyntaxUID, vr: 'UI', value: '1.2.840.10008.1.2.1' }], implicit),
    dataSet,
  ]);
  it.each([
    ['no preamble', file.subarray(128), ['The 128-byte preamble is missing']],
    ['no preamble and no prefix', file.subarray(132), [/preamble/, /prefix/]],
    ['no prefix', joinBytes([file.subarray(0, 128), file.subarray(132)]), [/prefix/]],
    ['no File Meta', joinBytes([file.subarray(0, 132), dataSet]), [/File Meta Information is missing/]],
    ['nothing but a data set', dataSet, [/preamble/, /prefix/, /File Meta Information is missing/]],
    ['no group length', withoutGroupLength, [/Group Length \(0002,0000\) is missing/]],
    ['a wrong group length', wrongGroupLength, [/Group Length \(0002,0000\) is wrong/]],
    ['no transfer syntax', noTransferSyntax, [/Transfer Syntax UID \(0002,0010\) is missing/]],
    ['File Meta in implicit VR', implicitMeta, [/encoded in implicit VR/, /Group Length \(0002,0000\) is missing/]],
  ])('is read with %s', (_name, bytes, sentences) => {
    const header = readHeader(bytes);
    expect(header.dataSet.ascii(Tag.SOPInstanceUID)).toBe(ref.sopInstanceUid);
    expect(header.transferSyntax.uid).toBe('1.2.840.10008.1.2.1');
    expect(header.tolerated).toEqual(sentences.map((sentence) => expect.stringMatching(sentence)));
    expect(bytes.subarray(header.dataSetOffsetBytes)).toEqual(file.subarray(dataSetOffsetBytes));
  });

  it.each([
    ['implicit VR little endian', '1.2.840.10008.1.2'],
    ['explicit VR big endian', '1.2.840.10008.1.2.2'],
  ])('is recognised as %s', (_name, transferSyntaxUid) => {
    const made = makeInstance({ transferSyntaxUid });
    const header = readHeader(made.dataSet);
    expect(header.transferSyntax.uid).toBe(transferSyntaxUid);
    expect(header.dataSet.ascii(Tag.SOPInstanceUID)).toBe(made.ref.sopInstanceUid);
  });
});

describe('a data set that is not what its transfer syntax says', () => {
  it.each([
    ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2', /says explicit VR/],
    ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', /says implicit VR/],
    ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2', /says little endian/],
    ['1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1', /says big endian/],
    ['1.2.840.10008.1.2.4.50', '1.2.840.10008.1.2', /says explicit VR/],
  ])('is read: %s claimed, %s sent', (claimed, sent, sentence) => {
    const made = makeInstance({ transferSyntaxUid: sent, rows: 9 });
    const header = readHeader(made.dataSet, { transferSyntaxUid: claimed });
    expect(header.transferSyntax.uid).toBe(claimed);
    expect(header.dataSet.number(Tag.Rows)).toBe(9);
    expect(header.tolerated).toEqual([expect.stringMatching(sentence)]);
  });
});

describe('odd elements', () => {
  const longSequence = encodeElement({ tag: 0x00081140, vr: 'SQ', value: [[{ tag: 0x00081155, vr: 'UI', value: '1.2' }]] }, little); // biome-ignore format: one line
  const implicitItem = encodeElement(
    { tag: 0x00081140, vr: 'SQ', value: [[{ tag: 0x00081155, vr: 'UI', value: '1.2' }]] },
    implicit,
  ).subarray(8);
  const explicitItem = longSequence.subarray(12);
  const un = (lengthBytes: number) => elementHeader(0x00081140, 'UN', lengthBytes, little);
  const privateUn = (lengthBytes: number) => elementHeader(0x00091001, 'UN', lengthBytes, little);
  const delimiter = itemHeader(Tag.SequenceDelimitationItem, 0);
  const head = (tag: number, ...bytes: number[]) => joinBytes([elementHeader(tag, 'US', 0, little).subarray(0, 4), Uint8Array.from(bytes)]); // biome-ignore format: one line

  it.each<[string, Uint8Array[], RegExp[], number, string, (string | undefined)?]>([
    ['an odd length', [elementHeader(0x00080070, 'LO', 3, little), Uint8Array.of(65, 66, 67)], [/\(0008,0070\) has an odd length/], 0x00080070, 'LO', 'ABC'],
    ['a VR that does not exist', [head(0x00080070, 0x5a, 0x5a, 2, 0, 65, 66)], [/does not exist/], 0x00080070, 'LO', 'AB'],
    ['a VR of the future with its long length', [head(0x00080070, 0x5a, 0x5a, 0, 0, 2, 0, 0, 0, 65, 66)], [/does not exist/], 0x00080070, 'LO', 'AB'],
    ['a VR that does not exist and no value', [head(0x00080070, 0x5a, 0x5a, 0, 0)], [/does not exist/], 0x00080070, 'LO', undefined],
    ['a VR of two zeros', [head(0x00080070, 0, 0, 2, 0, 65, 66)], [/does not exist/], 0x00080070, 'LO', 'AB'],
    ['implicit VR for one element', [head(0x00080070, 2, 0, 0, 0, 65, 66)], [/has no Value Representation/], 0x00080070, 'LO', 'AB'],
    ['reserved bytes', [head(0x00091001, 0x4f, 0x42, 1, 1, 2, 0, 0, 0, 65, 66)], [/reserved bytes/], 0x00091001, 'OB'],
    ['a short length where a long one belongs', [head(0x00091001, 0x4f, 0x42, 2, 0, 65, 66)], [/16-bit length/], 0x00091001, 'OB'],
    ['UN of a known element', [elementHeader(0x00080070, 'UN', 2, little), Uint8Array.of(65, 66)], [/is sent as UN/], 0x00080070, 'LO', 'AB'],
    ['UN of a known sequence', [un(implicitItem.length), implicitItem], [/is sent as UN/], 0x00081140, 'SQ'],
    ['UN of a known sequence that cannot be read', [un(5), Uint8Array.of(1, 2, 3, 4, 5)], [/odd length/, /is sent as UN/, /not a readable sequence/], 0x00081140, 'UN'],
    ['UN of undefined length', [un(0xffffffff), implicitItem], [], 0x00081140, 'SQ'],
    ['private UN of undefined length', [privateUn(0xffffffff), implicitItem], [], 0x00091001, 'SQ'],
    ['UN of undefined length in explicit VR', [privateUn(0xffffffff), explicitItem], [/items in explicit VR/], 0x00091001, 'SQ'],
    ['a delimiter with a length', [longSequence.subarray(0, -8), itemHeader(Tag.SequenceDelimitationItem, 4)], [/delimiter whose length/], 0x00081140, 'SQ'],
    ['a delimiter too many', [longSequence, delimiter], [/belongs to nothing/], 0x00081140, 'SQ'],
    ['no delimiter of the sequence', [longSequence.subarray(0, -8)], [/without its delimiter/], 0x00081140, 'SQ'],
    ['no delimiter of the item', [longSequence.subarray(0, -16), delimiter], [/item of undefined length without/], 0x00081140, 'SQ'],
    ['a sequence of defined length that is none', [elementHeader(0x00081140, 'SQ', 4, little), Uint8Array.of(1, 2, 3, 4)], [/not a readable sequence/], 0x00081140, 'UN'],
    ['a tag out of order', [encodeElement({ tag: 0x00080005, vr: 'CS', value: 'ISO_IR 100' }, little)], [/stands behind/], 0x00080005, 'CS'],
    ['a tag twice', [encodeElement({ tag: 0x00080018, vr: 'UI', value: '9.9' }, little)], [/more than once; the first one counts/], 0x00080018, 'UI'],
  ])('are read: %s', (_name, odd, sentences, tag, vr, text) => {
    const bytes = between(...odd);
    const header = readHeader(bytes, explicitOptions);
    expect(header.tolerated).toEqual(sentences.map((sentence) => expect.stringMatching(sentence)));
    expect(header.dataSet.ascii(Tag.PatientID)).toBe('last');
    expect(header.dataSet.ascii(Tag.SOPInstanceUID)).toBe('1.2.3');
    const element = header.dataSet.get(tag);
    expect(element?.vr).toBe(vr);
    if (vr === 'SQ') expect(element?.items?.[0]?.ascii(0x00081155)).toBe('1.2');
    else if (vr === 'LO') expect(header.dataSet.ascii(tag)).toBe(text);
  }); // biome-ignore format: a table

  it('are read: an icon with compressed pixels', () => {
    const fragments = joinBytes([
      elementHeader(Tag.PixelData, 'OB', 0xffffffff, little),
      itemHeader(Tag.Item, 0),
      itemHeader(Tag.Item, 4),
      Uint8Array.of(1, 2, 3, 4),
      delimiter,
    ]);
    const icon = joinBytes([
      elementHeader(0x00080200 + 0x8000, 'SQ', 0xffffffff, little),
      itemHeader(Tag.Item, 0xffffffff),
      fragments,
      itemHeader(Tag.ItemDelimitationItem, 0),
      delimiter,
    ]);
    const { dataSet, tolerated } = readHeader(between(icon), explicitOptions);
    expect(tolerated).toEqual([]);
    expect(dataSet.get(0x00088200)?.items?.[0]?.get(Tag.PixelData)?.value?.length).toBe(20);
  });

  it('keep numbers sent as UN in a big endian data set as they are', () => {
    const bytes = joinBytes([
      encodeElements(first, big),
      elementHeader(Tag.Rows, 'UN', 2, big),
      Uint8Array.of(1, 0),
      elementHeader(0x00280004, 'UN', 4, big),
      new TextEncoder().encode('RGB '),
    ]);
    const { dataSet } = readHeader(bytes, { transferSyntaxUid: '1.2.840.10008.1.2.2' });
    expect(dataSet.get(Tag.Rows)?.vr).toBe('UN');
    expect(dataSet.ascii(Tag.PhotometricInterpretation)).toBe('RGB');
  });

  it('are read: private sequences of undefined length in implicit VR', () => {
    const bytes = joinBytes([
      encodeElements(first, implicit),
      encodeElement({ tag: 0x00091001, vr: 'SQ', value: [[{ tag: 0x00091002, vr: 'LO', value: 'x' }]] }, implicit),
      encodeElement(last, implicit),
    ]);
    const { dataSet, tolerated } = readHeader(bytes, { transferSyntaxUid: '1.2.840.10008.1.2' });
    expect(tolerated).toEqual([]);
    expect(dataSet.get(0x00091001)).toMatchObject({ vr: 'SQ' });
    expect(dataSet.get(0x00091001)?.items?.[0]?.get(0x00091002)?.vr).toBe('UN');
    expect(dataSet.ascii(Tag.PatientID)).toBe('last');
  });

  it.each([
    ['zeros', new Uint8Array(100), /Zeros follow/],
    ['a few zeros', new Uint8Array(5), /Zeros follow/],
    ['a few other bytes', Uint8Array.of(1, 2, 3), /within the head/],
  ])('may be followed by %s', (_name, padding, sentence) => {
    const { dataSet, tolerated } = readHeader(joinBytes([between(), padding]), explicitOptions);
    expect(dataSet.ascii(Tag.PatientID)).toBe('last');
    expect(tolerated).toEqual([expect.stringMatching(sentence)]);
  });

  it('may be followed by Data Set Trailing Padding', () => {
    const padding = encodeElement({ tag: Tag.DataSetTrailingPadding, vr: 'OB', value: new Uint8Array(64) }, little);
    const { dataSet, tolerated } = readHeader(joinBytes([between(), padding]), explicitOptions);
    expect(dataSet.ascii(Tag.PatientID)).toBe('last');
    expect(tolerated).toEqual([]);
  });
});

describe('data that end too early', () => {
  it('lose the value that is not whole: half a UID is another UID', () => {
    const bytes = encodeElements(first, little);
    const { dataSet, tolerated } = readHeader(bytes.subarray(0, -2), explicitOptions);
    expect(dataSet.get(Tag.SOPInstanceUID)).toBeUndefined();
    expect(dataSet.get(Tag.SOPClassUID)).toBeDefined();
    expect(tolerated).toEqual([expect.stringMatching(/\(0008,0018\) is cut short/)]);
  });

  it('keep what is whole of a sequence', () => {
    const sequence = encodeElement(
      {
        tag: 0x00081140,
        vr: 'SQ',
        definedLength: true,
        value: [[{ tag: 0x00081155, vr: 'UI', value: '1.2' }], [{ tag: 0x00081155, vr: 'UI', value: '1.2.3.4' }]],
      },
      little,
    );
    const { dataSet } = readHeader(
      joinBytes([encodeElements(first, little), sequence.subarray(0, -4)]),
      explicitOptions,
    );
    const items = dataSet.get(0x00081140)?.items ?? [];
    expect(items.map((item) => item.ascii(0x00081155))).toEqual(['1.2', undefined]);
  });

  it('shorten a bulk value to what is there', () => {
    const bytes = joinBytes([
      encodeElements(first, little),
      elementHeader(0x00420011, 'OB', 5_000_000, little),
      new Uint8Array(1000),
    ]);
    const { dataSet, tolerated } = readHeader(bytes, explicitOptions);
    expect(dataSet.get(0x00420011)?.lengthBytes).toBe(1000);
    expect(tolerated).toEqual([expect.stringMatching(/\(0042,0011\) is cut short/)]);
  });

  it('leave the claimed length of Pixel Data to whoever reads it', () => {
    const bytes = joinBytes([encodeElements(first, little), elementHeader(Tag.PixelData, 'OW', 0xfffffff0, little)]);
    expect(readHeader(bytes, explicitOptions).pixelData).toEqual({
      tag: Tag.PixelData,
      vr: 'OW',
      offsetBytes: bytes.length,
      lengthBytes: 0xfffffff0,
    });
  });
});

describe('what is tolerated', () => {
  it('is said without values', () => {
    const { file } = makeInstance({ patientName: 'Secret^Name', patientId: 'SECRET', extra: [last] });
    for (let end = 600; end < file.length; end += 3) {
      expect(readHeader(file.subarray(132, end)).tolerated.join()).not.toMatch(/secret/i);
    }
  });
});
