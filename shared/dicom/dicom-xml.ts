/**
 * The Native DICOM Model (PS3.19 Annex A.1), written: a data set in the DICOM JSON Model as one XML document. Everything that
 * the JSON says is said, with keywords and private creators added. Reading is dicom-xml-reader.ts.
 */
import type { DicomJson, JsonElement, JsonValue, PersonName } from './dicom-json-model.ts';
import { groupNames } from './person-name.ts';
import { privateBlocks } from './private-blocks.ts';
import { keywordOf } from './tags.ts';

export const NATIVE_DICOM_NAMESPACE = 'http://dicom.nema.org/PS3.19/models/NativeDICOM';

/** Components of a group of a person name, in order (PS3.5 §6.2.1). */
export const nameComponents: readonly string[] = ['FamilyName', 'GivenName', 'MiddleName', 'NamePrefix', 'NameSuffix'];

const opening = `<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xmlns="${NATIVE_DICOM_NAMESPACE}" xml:space="preserve">`;

/**
 * One document, attributes in ascending order. A private attribute whose block has a creator is named by it, and the block is
 * written as 00: (0029,1008) of SIEMENS CSA HEADER as 00290008. Empty values among several are empty elements.
 * A character that XML 1.0 forbids (controls except tab, line feed and carriage return, lone surrogates, U+FFFE, U+FFFF)
 * becomes U+FFFD; all others come back from a reader as they are.
 */
export function dicomXml(attributes: DicomJson): string {
  return `${opening}${dataSetXml(attributes)}</NativeDicomModel>\n`;
}

function dataSetXml(json: DicomJson): string {
  const blockOf = privateBlocks(json);
  let xml = '';
  for (const key of Object.keys(json).sort()) {
    const element = json[key]!;
    const tag = Number.parseInt(key, 16);
    const block = blockOf(tag);
    // A creator that has two blocks would not say which of them is meant.
    const written = block?.isOnly === true ? `${key.slice(0, 4)}00${key.slice(6)}` : key;
    const keyword = keywordOf(tag);
    const names =
      (keyword === undefined ? '' : ` keyword="${keyword}"`) +
      (block === undefined ? '' : ` privateCreator="${escaped(block.creator)}"`);
    const content = contentXml(element);
    const start = `<DicomAttribute tag="${written}" vr="${element.vr}"${names}`;
    xml += content === '' ? `${start}/>` : `${start}>${content}</DicomAttribute>`;
  }
  return xml;
}

function contentXml({ vr, Value, InlineBinary, BulkDataURI }: JsonElement): string {
  if (InlineBinary !== undefined) return `<InlineBinary>${escaped(InlineBinary)}</InlineBinary>`;
  if (BulkDataURI !== undefined) return `<BulkData uri="${escaped(BulkDataURI)}"/>`;
  let xml = '';
  for (const [index, value] of (Value ?? []).entries()) xml += valueXml(value, index + 1, vr);
  return xml;
}

function valueXml(value: JsonValue, number: number, vr: string): string {
  if (vr === 'SQ') return elementXml('Item', number, dataSetXml((value ?? {}) as DicomJson));
  if (vr === 'PN') return elementXml('PersonName', number, personNameXml((value ?? {}) as PersonName));
  return elementXml('Value', number, value === null ? '' : escaped(String(value)));
}

const elementXml = (name: string, number: number, content: string): string =>
  content === '' ? `<${name} number="${number}"/>` : `<${name} number="${number}">${content}</${name}>`;

function personNameXml(name: PersonName): string {
  let xml = '';
  for (const group of groupNames) {
    const text = name[group];
    if (text !== undefined) xml += `<${group}>${componentsXml(text)}</${group}>`;
  }
  return xml;
}

/** The last component takes what is too much. An empty one is written where the name ends with it, so that no caret is lost. */
function componentsXml(text: string): string {
  const parts = text.split('^');
  const excess = parts.splice(nameComponents.length);
  if (excess.length > 0) parts.push([parts.pop(), ...excess].join('^'));
  let xml = '';
  for (const [index, part] of parts.entries()) {
    const name = nameComponents[index];
    if (part !== '') xml += `<${name}>${escaped(part)}</${name}>`;
    else if (index > 0 && index === parts.length - 1) xml += `<${name}/>`;
  }
  return xml;
}

/** Markup, what XML forbids, and what a reader would take for another character: line ends, and spaces in attributes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const special = /[&<>"\u0000-\u001f\ud800-\udfff\ufffe\uffff]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const eachSpecial = /[&<>"\u0000-\u001f\ufffe\uffff]/g;
const references: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};

function escaped(text: string): string {
  if (!special.test(text)) return text;
  return text.toWellFormed().replace(eachSpecial, (character) => references[character] ?? '\ufffd');
}
