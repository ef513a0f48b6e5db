/**
 * The Native DICOM Model (PS3.19 Annex A.1), written, text by text: what a reader of another maker expects. That ours reads it back is
 * dicom-xml-reader.test.ts.
 */
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { dicomXml, NATIVE_DICOM_NAMESPACE } from '#shared/dicom/dicom-xml.ts';

const head =
  `<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="${NATIVE_DICOM_NAMESPACE}"` +
  ' xml:space="preserve">';

/** What stands between the document element's tags. */
function inner(json: DicomJson): string {
  const xml = dicomXml(json);
  expect(xml.startsWith(head)).toBe(true);
  expect(xml.endsWith('</NativeDicomModel>\n')).toBe(true);
  return xml.slice(head.length, -'</NativeDicomModel>\n'.length);
}

describe('the Native DICOM Model, written', () => {
  it('is a document without attributes for an empty data set', () => {
    expect(inner({})).toBe('');
  });

  it('numbers values, and names attributes by tag, VR and keyword', () => {
    expect(inner({ '00080008': { vr: 'CS', Value: ['ORIGINAL', null, 'AXIAL'] } })).toBe(
      '<DicomAttribute tag="00080008" vr="CS" keyword="ImageType"><Value number="1">ORIGINAL</Value>' +
        '<Value number="2"/><Value number="3">AXIAL</Value></DicomAttribute>',
    );
  });

  it('writes attributes in ascending order, also those whose keys look like array indices', () => {
    const xml = inner({ '30060020': { vr: 'SQ' }, '00080060': { vr: 'CS', Value: ['CT'] }, '0020000D': { vr: 'UI' } });
    expect([...xml.matchAll(/tag="([0-9A-F]{8})"/g)].map(([, tag]) => tag)).toEqual([
      '00080060',
      '0020000D',
      '30060020',
    ]);
  });

  it('writes attributes without a value as empty elements', () => {
    expect(inner({ '00100010': { vr: 'PN' }, '00400275': { vr: 'SQ' } })).toBe(
      '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"/>' +
        '<DicomAttribute tag="00400275" vr="SQ" keyword="RequestAttributesSequence"/>',
    );
  });

  it('splits names into component groups and components (dicom-server#1097)', () => {
    const name = { Alphabetic: 'Yamada^Tarou^^Dr.', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' };
    expect(inner({ '00100010': { vr: 'PN', Value: [name] } })).toBe(
      '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1">' +
        '<Alphabetic><FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName><NamePrefix>Dr.</NamePrefix></Alphabetic>' +
        '<Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic>' +
        '<Phonetic><FamilyName>やまだ</FamilyName><GivenName>たろう</GivenName></Phonetic></PersonName></DicomAttribute>',
    );
  });

  it('loses no caret: of names that end with some, and of names with too many', () => {
    const written = (text: string): string =>
      inner({ '00100010': { vr: 'PN', Value: [{ Alphabetic: text }] } }).replaceAll(
        /.*<Alphabetic>|<\/Alphabetic>.*/g,
        '',
      );
    expect(written('Doe^^^')).toBe('<FamilyName>Doe</FamilyName><NamePrefix/>');
    expect(written('A^B^C^D^E^F^')).toMatch(/<NamePrefix>D<\/NamePrefix><NameSuffix>E\^F\^<\/NameSuffix>$/);
  });

  it('nests the items of sequences', () => {
    expect(inner({ '00081140': { vr: 'SQ', Value: [{ '00081155': { vr: 'UI', Value: ['1.2.3'] } }, {}] } })).toBe(
      '<DicomAttribute tag="00081140" vr="SQ" keyword="ReferencedImageSequence"><Item number="1">' +
        '<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">1.2.3</Value>' +
        '</DicomAttribute></Item><Item number="2"/></DicomAttribute>',
    );
  });

  it('names bulk data, and writes short bytes as they are in JSON', () => {
    expect(
      inner({
        '00420011': { vr: 'OB', BulkDataURI: 'http://a/b?c=1&d="2"' },
        '00281201': { vr: 'OW', InlineBinary: 'AAEC/w==' },
      }),
    ).toBe(
      '<DicomAttribute tag="00281201" vr="OW" keyword="RedPaletteColorLookupTableData">' +
        '<InlineBinary>AAEC/w==</InlineBinary></DicomAttribute>' +
        '<DicomAttribute tag="00420011" vr="OB" keyword="EncapsulatedDocument">' +
        '<BulkData uri="http://a/b?c=1&amp;d=&quot;2&quot;"/></DicomAttribute>',
    );
  });

  it('names private attributes by their creators, with the block as 00', () => {
    const xml = inner({
      '00290010': { vr: 'LO', Value: ['ACME "A" & B'] },
      '00291008': { vr: 'CS', Value: ['IMAGE'] },
      '00291108': { vr: 'CS', Value: ['OF NOBODY'] },
    });
    expect(xml).toContain(
      '<DicomAttribute tag="00290010" vr="LO"><Value number="1">ACME "A" &amp; B<'.replaceAll('"A"', '&quot;A&quot;'),
    );
    expect(xml).toContain('<DicomAttribute tag="00290008" vr="CS" privateCreator="ACME &quot;A&quot; &amp; B">');
    expect(xml).toContain('<DicomAttribute tag="00291108" vr="CS"><Value number="1">OF NOBODY<');
  });

  it('keeps the block of a creator that has two of them', () => {
    const xml = inner({
      '00290010': { vr: 'LO', Value: ['ACME'] },
      '00290011': { vr: 'LO', Value: ['ACME'] },
      '00291008': { vr: 'CS', Value: ['A'] },
      '00291108': { vr: 'CS', Value: ['B'] },
    });
    expect(xml).toContain('<DicomAttribute tag="00291008" vr="CS" privateCreator="ACME">');
    expect(xml).toContain('<DicomAttribute tag="00291108" vr="CS" privateCreator="ACME">');
  });

  it('escapes markup, keeps line ends, and writes U+FFFD for what XML forbids', () => {
    const text = '</Value>&]]>\r\n\t\f\u0000\ud800\uffff😀';
    expect(inner({ '00104000': { vr: 'LT', Value: [text] } })).toContain(
      '>&lt;/Value&gt;&amp;]]&gt;&#13;&#10;&#9;\ufffd\ufffd\ufffd\ufffd😀<',
    );
  });
});
