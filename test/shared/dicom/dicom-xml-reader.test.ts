/**
 * The Native DICOM Model (PS3.19 Annex A.1), read: there and back for any data set and for real files, what other writers
 * write, and documents that are meant to hurt.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromDicomJson, toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import { dicomXml, NATIVE_DICOM_NAMESPACE } from '#shared/dicom/dicom-xml.ts';
import { readDicomXml } from '#shared/dicom/dicom-xml-reader.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { ArchiveError } from '#shared/errors.ts';
import { dataSets } from '#test/support/data-sets.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';

const model = (content: string): string => `<NativeDicomModel>${content}</NativeDicomModel>`;
const attribute = (tag: string, vr: string, content: string, more = ''): string =>
  `<DicomAttribute tag="${tag}" vr="${vr}"${more}>${content}</DicomAttribute>`;
/** What one attribute with that content is in JSON. */
const read = (vr: string, content: string): JsonElement | undefined =>
  readDicomXml(model(attribute('00091001', vr, content)))['00091001'];

describe('there and back', () => {
  it('gives any data set as it was, and the same bytes', () => {
    fc.assert(
      fc.property(dataSets, (json) => {
        const back = readDicomXml(dicomXml(json));
        expect(back).toEqual(json);
        expect(fromDicomJson(back)).toEqual(fromDicomJson(json));
      }),
      { numRuns: 100 },
    );
  });

  it('gives private attributes back their blocks', () => {
    const creators = fc.array(fc.constantFrom('ACME', 'ACME', 'OTHER & "CO"', '会社'), { minLength: 1, maxLength: 4 });
    const tags = fc.tuple(fc.nat(5), fc.integer({ min: 0, max: 0xff }));
    fc.assert(
      fc.property(creators, fc.array(tags, { maxLength: 12 }), (names, elements) => {
        const json: DicomJson = {};
        for (const [index, creator] of names.entries()) json[`0029001${index}`] = { vr: 'LO', Value: [creator] };
        for (const [block, low] of elements)
          json[`00291${block}${low.toString(16).toUpperCase().padStart(2, '0')}`] = { vr: 'US', Value: [block] };
        expect(readDicomXml(dicomXml(json))).toEqual(json);
      }),
    );
  });

  it('gives any text of a UT back, but for the characters that XML forbids', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (any) => {
        const text = `${any}|`;
        // biome-ignore lint/suspicious/noControlCharactersInRegex: XML forbids them
        const expected = text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd');
        const back = readDicomXml(dicomXml({ '00091001': { vr: 'UT', Value: [text] } }));
        expect(back['00091001']?.Value).toEqual([expected]);
      }),
      { numRuns: 100 },
    );
  });

  const files = samplesFolder() === undefined ? [] : sampleFiles('charsets').concat(sampleFiles('modalities'));
  it.skipIf(files.length === 0)('gives the headers of the samples back as JSON has them', () => {
    const bulkDataUri = (path: string): string => `~/${path}`;
    let compared = 0;
    for (const file of files.filter((path) => path.endsWith('.dcm'))) {
      const json = toDicomJson(readHeader(readFileSync(file)).dataSet, { bulkDataUri });
      const text = JSON.stringify(json);
      if (/\\u00[01]/.test(text)) continue; // characters that XML forbids
      expect(readDicomXml(dicomXml(json)), file).toEqual(json);
      compared++;
    }
    expect(compared).toBeGreaterThan(files.length * 0.7);
  });
});

describe('documents of other writers', () => {
  it('may be laid out, have a prefix, comments and CDATA', () => {
    const xml = `<?xml version="1.0" encoding="utf-8" standalone="yes"?>
      <!-- made by hand --><?style none?>
      <n:NativeDicomModel xmlns:n="${NATIVE_DICOM_NAMESPACE}" xml:space="preserve">
        <n:DicomAttribute keyword="PatientID" tag="00100020" vr="LO">
          <n:Value number="1"><![CDATA[A<B]]> &amp; <!-- c -->C&#x20AC;</n:Value>
        </n:DicomAttribute>
        <n:DicomAttribute tag="0020000d" vr="UI">
          <n:Value number="1">
            1.2.3
          </n:Value>
        </n:DicomAttribute>
      </n:NativeDicomModel>`;
    expect(readDicomXml(xml)).toEqual({
      '00100020': { vr: 'LO', Value: ['A<B & C€'] },
      '0020000D': { vr: 'UI', Value: ['1.2.3'] },
    });
  });

  it('count values by their numbers, in whatever order', () => {
    expect(read('LO', '<Value number="3">c</Value><Value number="1">a</Value>')?.Value).toEqual(['a', null, 'c']);
    expect(read('LO', '<Value>a</Value><Value>b</Value>')?.Value).toEqual(['a', 'b']);
    expect(read('LO', '<Value number="1"/>')).toEqual({ vr: 'LO' });
    expect(read('LO', '')).toEqual({ vr: 'LO' });
    expect(read('SQ', '<Item number="1"/>')).toEqual({ vr: 'SQ', Value: [{}] });
  });

  it.each<[string, string, unknown]>([
    ['DS', '1.50', 1.5],
    ['DS', '1.23456789012345678901', '1.23456789012345678901'],
    ['IS', ' 007 ', 7],
    ['US', '+5', 5],
    ['FD', '1e-3', 0.001],
    ['FL', 'NaN', 'NaN'],
    ['FD', '-INF', '-INF'],
    ['UV', '18446744073709551615', '18446744073709551615'],
    ['AT', ' 00181063', '00181063'],
    ['CS', ' AXIAL \n', 'AXIAL'],
    ['LT', '  two\nlines  ', '  two\nlines'],
    ['UT', '\n x', '\n x'],
  ])('have as %s the value %j', (vr, text, value) => {
    expect(read(vr, `<Value number="1">${text}</Value>`)?.Value).toEqual([value]);
  });

  it('have names with components that were left out', () => {
    const written =
      '<PersonName number="1"><Alphabetic><FamilyName>Doe</FamilyName><NamePrefix>Dr.</NamePrefix></Alphabetic>' +
      '<Ideographic/></PersonName><PersonName number="2"/>';
    expect(read('PN', written)?.Value).toEqual([{ Alphabetic: 'Doe^^^Dr.' }, null]);
  });

  it('have bulk data by uri or by uuid, and base64 in lines', () => {
    expect(read('OW', '<BulkData uri="http://x/1?a=b&amp;c"/>')?.BulkDataURI).toBe('http://x/1?a=b&c');
    expect(read('OW', '<BulkData uuid="0f0f"/>')?.BulkDataURI).toBe('0f0f');
    expect(read('OB', '<InlineBinary>AAEC\r\n  Aw==\n</InlineBinary>')?.InlineBinary).toBe('AAECAw==');
  });

  it('name private attributes by creator alone, in whatever order: a block is found, or made', () => {
    const acme = ' privateCreator="ACME"';
    const xml = model(
      attribute('00290008', 'US', '<Value number="1">1</Value>', acme) +
        attribute('00290008', 'US', '<Value number="1">2</Value>', ' privateCreator="OTHER"') +
        attribute('00291101', 'US', '<Value number="1">3</Value>') +
        attribute('00290012', 'LO', '<Value number="1">ACME</Value>'),
    );
    expect(readDicomXml(xml)).toEqual({
      '00290010': { vr: 'LO', Value: ['OTHER'] },
      '00290012': { vr: 'LO', Value: ['ACME'] },
      '00291008': { vr: 'US', Value: [2] },
      '00291101': { vr: 'US', Value: [3] },
      '00291208': { vr: 'US', Value: [1] },
    });
  });

  it('may leave out the vr of what the dictionary knows', () => {
    expect(readDicomXml(model('<DicomAttribute tag="00280010"><Value number="1">5</Value></DicomAttribute>'))).toEqual({
      '00280010': { vr: 'US', Value: [5] },
    });
  });
});

describe('documents that are refused', () => {
  function refusal(xml: string, code: 'bad-request' | 'limit-exceeded' = 'bad-request'): string {
    try {
      readDicomXml(xml);
    } catch (error) {
      expect(error).toBeInstanceOf(ArchiveError);
      expect((error as ArchiveError).code).toBe(code);
      return (error as ArchiveError).message;
    }
    return expect.unreachable(`was read: ${xml.slice(0, 200)}`);
  }

  const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join('');
  it.each([
    [
      'a billion laughs',
      `<!DOCTYPE x [<!ENTITY l0 "lol">${laughs}]>${model(attribute('00100020', 'LO', '<Value>&l9;</Value>'))}`,
    ],
    ['a file of the machine', `<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>${model('')}`],
    ['a DTD of elsewhere', `<!DOCTYPE NativeDicomModel SYSTEM "http://elsewhere/x.dtd">${model('')}`],
  ])('as document type declaration: %s', (_, xml) => {
    expect(refusal(xml)).toContain('document type declaration');
  });

  it.each([
    ['nothing', ''],
    ['no markup', 'hello'],
    ['JSON', '{"00100020":{"vr":"LO"}}'],
    ['an open end', '<NativeDicomModel><DicomAttribute tag="00100020" vr="LO">'],
    ['a wrong end', '<NativeDicomModel></DicomAttribute>'],
    ['two documents', model('') + model('')],
    ['an unknown entity', model(attribute('00100020', 'LO', '<Value>&nbsp;</Value>'))],
    ['an entity that JavaScript knows', model(attribute('00100020', 'LO', '<Value>&constructor;&__proto__;</Value>'))],
    ['a forbidden character', model(attribute('00100020', 'LO', '<Value>\u0001</Value>'))],
    ['a forbidden reference', model(attribute('00100020', 'LO', '<Value>&#0;</Value>'))],
    ['another document element', '<html/>'],
    ['another namespace', '<NativeDicomModel xmlns="http://www.w3.org/1999/xhtml"/>'],
    ['an unknown element', model('<script/>')],
    ['an element at the wrong place', model('<Value number="1">x</Value>')],
    ['an element within a value', model(attribute('00100020', 'LO', '<Value number="1"><b>x</b></Value>'))],
    ['text outside of values', model(attribute('00100020', 'LO', 'x'))],
    ['another encoding', `<?xml version="1.0" encoding="UTF-16"?>${model('')}`],
    ['no tag', model('<DicomAttribute vr="LO"/>')],
    ['a tag that is none', model(attribute('__proto__', 'LO', ''))],
    ['a vr that is none', model(attribute('00100020', '__proto__', ''))],
    ['an attribute twice', model(attribute('00100020', 'LO', '') + attribute('00100020', 'LO', ''))],
    ['a value twice', model(attribute('00100020', 'LO', '<Value number="1">a</Value><Value number="1">b</Value>'))],
    ['a value without a number', model(attribute('00100020', 'LO', '<Value number="x">a</Value>'))],
    ['number 0', model(attribute('00100020', 'LO', '<Value number="0">a</Value>'))],
    ['values and bulk', model(attribute('00091001', 'OB', '<Value number="1">a</Value><BulkData uri="x"/>'))],
    ['bulk twice', model(attribute('00091001', 'OB', '<InlineBinary/><BulkData uri="x"/>'))],
    ['bulk of nowhere', model(attribute('00091001', 'OB', '<BulkData/>'))],
    ['a value of a sequence', model(attribute('00081140', 'SQ', '<Value number="1">a</Value>'))],
    ['an item of a text', model(attribute('00100020', 'LO', '<Item number="1"/>'))],
    ['very many XML attributes', `<NativeDicomModel ${Array.from({ length: 99 }, (_, i) => `a${i}=""`).join(' ')}/>`],
  ])('for %s', (_, xml) => {
    expect(refusal(xml)).toMatch(/^The metadata are XML that .*\.$/);
  });

  it('for more elements, values or depth than there may be', () => {
    const many = attribute('00081140', 'SQ', '<Item/>'.repeat(1000));
    readDicomXml(model(many), { maximumElements: 1002 });
    expect(() => readDicomXml(model(many), { maximumElements: 1001 })).toThrow('too many elements');
    expect(
      refusal(model(attribute('00100020', 'LO', '<Value number="999999999">a</Value>')), 'limit-exceeded'),
    ).toContain('too many elements');
    const open = '<DicomAttribute tag="0040A730" vr="SQ"><Item number="1">';
    const close = '</Item></DicomAttribute>';
    expect(refusal(model(open.repeat(5000) + close.repeat(5000)), 'limit-exceeded')).toContain('32 deep');
    readDicomXml(model(open.repeat(32) + close.repeat(32)));
  });

  it('for a group with more creators than it has blocks', () => {
    const elements = Array.from({ length: 241 }, (_, i) => attribute('00290001', 'US', '', ` privateCreator="C${i}"`));
    expect(refusal(model(elements.join('')))).toContain('no block');
    expect(Object.keys(readDicomXml(model(elements.slice(1).join(''))))).toHaveLength(480);
  });

  it('without a word of what they hold', () => {
    for (const xml of [
      model(attribute('00100010', 'PN', 'Secret')),
      model(attribute('00100010', 'PN', '<Secret/>')),
      model(attribute('Secret', 'PN', '')),
      model(attribute('00100010', 'PN', '<Value>&Secret;</Value>')),
      model('<DicomAttribute Secret>'),
    ]) {
      expect(refusal(xml)).not.toContain('Secret');
    }
  });

  it('or read, whatever the text: nothing else happens', () => {
    const piece = fc.constantFrom(
      ...['<NativeDicomModel>', '</NativeDicomModel>', '<DicomAttribute tag="00100010" vr="PN">', '</DicomAttribute>'],
      ...['<Item number="1">', '</Item>', '<PersonName number="1">', '<Alphabetic>', '<FamilyName>', '<!DOCTYPE x [', ']>'],
      ...['<Value number="2">', '</Value>', '&amp;', '&', '<![CDATA[', ']]>', '<!--', '-->', '<?', '?>', ' ', 'x', '"', '\0'],
    ); // biome-ignore format: a list
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          readDicomXml(pieces.join(''));
        } catch (error) {
          expect(error).toBeInstanceOf(ArchiveError);
        }
      }),
      { numRuns: 300 },
    );
  });
});
