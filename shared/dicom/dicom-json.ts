/**
 * The DICOM JSON Model (PS3.18 Annex F), both ways: a data set as it was read becomes JSON objects; JSON becomes the bytes of
 * a data set. Text is Unicode, so Specific Character Set reads ISO_IR 192; bulk is named, not held. Numbers are
 * json-numbers.ts, encoding is data-set-writer.ts, character sets charset.ts.
 */
import { byteOrdered } from './byte-order.ts';
import { asciiSlice, decodeText } from './charset.ts';
import type { DataSet, Element, Vr } from './data-set.ts';
import { type BulkSource, encodeDataSet } from './data-set-writer.ts';
import type { DicomJson, JsonElement, JsonValue, PersonName } from './dicom-json-model.ts';
import { binaryNumbers, decimalNumber, integerNumber } from './json-numbers.ts';
import { personNameOf } from './person-name.ts';
import { tagKey } from './tags.ts';

export interface DicomJsonOptions {
  /**
   * Longer values of OB, OD, OF, OL, OV, OW and UN become BulkDataURI, if `bulkDataUri` is there to name them. Default 1024.
   * Binary numbers do so beyond 64 KiB, text beyond 1 MiB, whatever this says.
   */
  readonly inlineLimitBytes?: number;
  /**
   * The URI of a value that stays outside. `path` is tags and item numbers from 0: `00400555/0/0040A30A`. Without this function values
   * that were not held, and Pixel Data, are left out; all others are inline. Served bytes must be little endian (§F.2.7), and
   * the element's are as the source has them.
   */
  readonly bulkDataUri?: (path: string, element: Element) => string;
  /** Only these attributes of the outermost data set, with all that is within them. */
  readonly only?: ReadonlySet<number>;
}

const SPECIFIC_CHARACTER_SET = 0x00080005;
const PIXEL_DATA_GROUP = 0x7fe0;
const DEFAULT_INLINE_LIMIT_BYTES = 1024;
/** Numbers take four times their bytes as text, so tables (PS3.3 §C.11) stay inline and data do not. */
const NUMBERS_INLINE_LIMIT_BYTES = 65_536;
const TEXT_INLINE_LIMIT_BYTES = 1_048_576;

/**
 * A data set in the DICOM JSON Model, in ascending order of tags; group lengths are left out (§F.2.2).
 * Padding is trimmed, empty values have no `Value` (§F.2.5), empty ones among several are null. DS and IS are numbers unless a number
 * would lose digits or they are malformed: then the text as it stands. NaN and infinities of FL and FD, which JSON
 * numbers cannot express, are the strings `NaN`, `Infinity`, `-Infinity`.
 */
export function toDicomJson(dataSet: DataSet, options: DicomJsonOptions = {}): DicomJson {
  return dataSetJson(dataSet, options, '', options.only);
}

function dataSetJson(
  dataSet: DataSet,
  options: DicomJsonOptions,
  prefix: string,
  only: ReadonlySet<number> | undefined,
): DicomJson {
  const json: DicomJson = {};
  for (const element of dataSet.ascending()) {
    const { tag } = element;
    if ((tag & 0xffff) === 0 || (only !== undefined && !only.has(tag))) continue;
    const key = keyOf(tag);
    const converted = elementJson(element, key, dataSet, options, prefix);
    if (converted !== undefined) json[key] = converted;
  }
  return json;
}

/** Making a key and looking it up among all strings costs more than the value behind it, and most files have the same ones. */
const keys = new Map<number, string>();

function keyOf(tag: number): string {
  let key = keys.get(tag);
  if (key === undefined) {
    key = tagKey(tag);
    if (keys.size < 8192) keys.set(tag, key);
  }
  return key;
}

function elementJson(
  element: Element,
  key: string,
  dataSet: DataSet,
  options: DicomJsonOptions,
  prefix: string,
): JsonElement | undefined {
  const { vr, items, value } = element;
  if (items !== undefined) {
    if (items.length === 0) return { vr: 'SQ' };
    return {
      vr: 'SQ',
      Value: items.map((item, index) => dataSetJson(item, options, `${prefix}${key}/${index}/`, undefined)),
    };
  }
  if (element.tag === SPECIFIC_CHARACTER_SET) return { vr: 'CS', Value: ['ISO_IR 192'] };
  if (vr === 'SQ') return { vr };
  if (value === undefined || isOutside(element, value, options)) {
    const uri = options.bulkDataUri?.(prefix + key, element);
    return uri === undefined ? undefined : { vr, BulkDataURI: uri };
  }
  if (value.length === 0) return { vr };
  if (isBytes(vr)) {
    return { vr, InlineBinary: base64(byteOrdered(value, vr, dataSet.littleEndian)) };
  }
  const Value = valuesOf(value, vr, dataSet);
  return Value === undefined ? { vr } : { vr, Value };
}

function isOutside(element: Element, value: Uint8Array, options: DicomJsonOptions): boolean {
  if (element.tag >>> 16 === PIXEL_DATA_GROUP) return true;
  if (options.bulkDataUri === undefined) return false;
  if (isBytes(element.vr)) return value.length > (options.inlineLimitBytes ?? DEFAULT_INLINE_LIMIT_BYTES);
  return value.length > (isBinaryNumber(element.vr) ? NUMBERS_INLINE_LIMIT_BYTES : TEXT_INLINE_LIMIT_BYTES);
}

const isBytes = (vr: Vr): boolean => vr === 'UN' || vr.charCodeAt(0) === 0x4f;
const binaryNumberVrs: ReadonlySet<Vr> = new Set<Vr>(['FD', 'FL', 'SL', 'SS', 'SV', 'UL', 'US', 'UV', 'AT']);
const isBinaryNumber = (vr: Vr): boolean => binaryNumberVrs.has(vr);

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');

/** Undefined when nothing is left of the value without its padding. */
function valuesOf(value: Uint8Array, vr: Vr, dataSet: DataSet): JsonValue[] | undefined {
  switch (vr) {
    case 'AT':
    case 'FD':
    case 'FL':
    case 'SL':
    case 'SS':
    case 'SV':
    case 'UL':
    case 'US':
    case 'UV':
      return binaryNumbers(value, vr, dataSet.littleEndian);
    case 'LT':
    case 'ST':
    case 'UR':
    case 'UT': {
      const text = trimEnd(decodeText(value, dataSet.characterSets, vr));
      return text === '' ? undefined : [text];
    }
    default:
      return textValues(value, vr, dataSet.characterSets);
  }
}

const BACKSLASH = 0x5c;
const ESCAPE = 0x1b;
const TILDE = 0x7e;

/** Values of a VR whose values backslashes separate. One scan finds out that most are short, single and ASCII. */
function textValues(value: Uint8Array, vr: Vr, characterSets: readonly string[]): JsonValue[] | undefined {
  let end = value.length;
  while (end > 0 && isPadding(value[end - 1]!)) end--;
  if (end === 0) return undefined;
  let plain = true;
  let single = true;
  for (let at = 0; at < end; at++) {
    const byte = value[at]!;
    if (byte === BACKSLASH) single = false;
    // 7E: the overline of JIS X 0201.
    else if (byte >= TILDE || byte === ESCAPE) plain = false;
  }
  if (plain && single) {
    const only = oneValue(value, 0, end, vr);
    return only === null ? undefined : [only];
  }
  if (!plain) {
    const text = decodeText(value.subarray(0, end), characterSets, vr);
    return text.split('\\').map((part) => textValue(part, vr));
  }
  const values: JsonValue[] = [];
  for (let start = 0; start <= end; ) {
    const next = value.indexOf(BACKSLASH, start);
    const stop = next < 0 || next > end ? end : next;
    values.push(oneValue(value, start, stop, vr));
    start = stop + 1;
  }
  return values;
}

/** Of ASCII bytes; numbers are read without making a string of them. */
function oneValue(value: Uint8Array, start: number, end: number, vr: Vr): JsonValue {
  if (vr === 'IS') return integerNumber(value, start, end) ?? textValue(asciiSlice(value, start, end), vr);
  if (vr === 'DS') return decimalNumber(value, start, end) ?? textValue(asciiSlice(value, start, end), vr);
  return textValue(asciiSlice(value, start, end), vr);
}

const ascii = new TextEncoder();

function textValue(text: string, vr: Vr): JsonValue {
  switch (vr) {
    case 'PN': {
      // A group is padded too: of `\0=` nothing is left.
      const name = personNameOf(text.includes('=') ? text.split('=').map(trimEnd).join('=') : trimEnd(text));
      return Object.keys(name).length === 0 ? null : name;
    }
    case 'UC':
      return trimEnd(text) || null;
    case 'IS':
    case 'DS': {
      const trimmed = trimStart(trimEnd(text));
      const bytes = ascii.encode(trimmed);
      return (
        (vr === 'IS' ? integerNumber(bytes, 0, bytes.length) : decimalNumber(bytes, 0, bytes.length)) ??
        (trimmed || null)
      );
    }
    default:
      return trimStart(trimEnd(text)) || null;
  }
}

/** Spaces, and the NULs that many send for them. */
const isPadding = (byte: number): boolean => byte === 0x20 || byte === 0;

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isPadding(text.charCodeAt(end - 1))) end--;
  return end === text.length ? text : text.slice(0, end);
}

function trimStart(text: string): string {
  let start = 0;
  while (start < text.length && text.charCodeAt(start) === 0x20) start++;
  return start === 0 ? text : text.slice(start);
}

/**
 * The text of a DICOM JSON object, with the attributes in ascending order as §F.2.2 wants them: JSON.stringify puts keys like
 * `30060020`, which look like array indices, before all others. Lone surrogates become U+FFFD, as UTF-8 has none.
 */
export function dicomJsonText(json: DicomJson): string {
  let text = '{';
  for (const key of ascendingKeys(json)) text += `${text.length === 1 ? '' : ','}"${key}":${elementText(json[key]!)}`;
  return `${text}}`;
}

function ascendingKeys(json: DicomJson): string[] {
  const keys = Object.keys(json);
  for (let i = 1; i < keys.length; i++) if (keys[i]! < keys[i - 1]!) return keys.sort();
  return keys;
}

function elementText(element: JsonElement): string {
  const { vr, Value, InlineBinary, BulkDataURI } = element;
  let text = `{"vr":"${vr}"`;
  if (Value !== undefined) {
    text += ',"Value":[';
    for (let i = 0; i < Value.length; i++) {
      if (i > 0) text += ',';
      text += valueText(Value[i]!, vr);
    }
    text += ']';
  }
  if (InlineBinary !== undefined) text += `,"InlineBinary":"${InlineBinary}"`;
  if (BulkDataURI !== undefined) text += `,"BulkDataURI":${quoted(BulkDataURI)}`;
  return `${text}}`;
}

function valueText(value: JsonValue, vr: Vr): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'number') return String(value);
  if (value === null) return 'null';
  if (vr === 'SQ') return dicomJsonText(value as DicomJson);
  const groups = Object.entries(value as PersonName).map(([group, name]) => `"${group}":${quoted(name)}`);
  return `{${groups.join(',')}}`;
}

/** What must be escaped: quotation marks, backslashes, controls; surrogates are looked at closely. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON does not allow them
const special = /["\\\u0000-\u001f\ud800-\udfff]/;

const quoted = (text: string): string => (special.test(text) ? JSON.stringify(text.toWellFormed()) : `"${text}"`);

/**
 * The bytes of a data set, explicit VR little endian, without preamble and File Meta. Text is encoded as UTF-8 if it is not all
 * ASCII, and (0008,0005) says so. `bulk` answers the value of a BulkDataURI.
 * Errors: `bad-request` for what is not the DICOM JSON Model or cannot be a value of its VR, `limit-exceeded`.
 */
export function fromDicomJson(json: DicomJson, options: { bulk?: BulkSource } = {}): Uint8Array {
  return encodeDataSet(json, { explicitVr: true, littleEndian: true }, undefined, options.bulk);
}
