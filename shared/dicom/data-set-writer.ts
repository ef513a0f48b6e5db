/**
 * Encoding a data set (PS3.5 §7.1): from the DICOM JSON Model to bytes, explicit or implicit VR, little or big endian,
 * sequences and items of defined length, values padded to even length. For what Archipel itself makes: answers,
 * key objects, data sets that came as JSON. What was received as bytes is never encoded again. Values are value-encoding.ts.
 */
import { ArchiveError } from '../errors.ts';
import { byteOrdered } from './byte-order.ts';
import { encodeText } from './charset.ts';
import type { Vr } from './data-set.ts';
import type { DicomJson, JsonElement, JsonValue } from './dicom-json-model.ts';
import { dictionaryVr, tagKey } from './tags.ts';
import { encodeValue, isText, textOf } from './value-encoding.ts';
import { hasLongLength, isVr, vrNumberOf } from './vr.ts';

/** The value of a BulkDataURI, little endian; undefined when there is none. `path` as in toDicomJson. */
export type BulkSource = (uri: string, path: string) => Uint8Array | undefined;

const SPECIFIC_CHARACTER_SET = 0x00080005;
const FILE_META_GROUP = 0x0002;
const ITEM = 0xfffee000;
const UTF8 = ['ISO_IR 192'];
const MAXIMUM_DEPTH = 32;
const MAXIMUM_SHORT_LENGTH = 65_534;
const MAXIMUM_LENGTH = 0xffff_fffe;

/**
 * The bytes of a data set, elements in ascending order; group lengths and File Meta Information (0002,xxxx) are left out.
 * Without `characterSets` text that is not all ASCII becomes UTF-8. With them (Defined Terms of (0008,0005)) it is encoded so, or, if
 * they cannot express all of it, as UTF-8 after all. (0008,0005) says what was done, whatever the JSON says.
 * Errors: `bad-request` for what is not the DICOM JSON Model, for values their VR cannot hold, and for bulk that `bulk` does not answer;
 * `limit-exceeded` for sequences more than 32 deep.
 */
export function encodeDataSet(
  json: DicomJson,
  transferSyntax: { readonly explicitVr: boolean; readonly littleEndian: boolean },
  characterSets?: readonly string[],
  bulk?: BulkSource,
): Uint8Array {
  if (!isObject(json)) throw badJson('', 'is not an object of attributes');
  const writer = new Writer(
    transferSyntax.explicitVr,
    transferSyntax.littleEndian,
    charactersFor(json, characterSets),
    bulk,
  );
  writer.dataSet(json, 0, '');
  return writer.bytes();
}

/** What to write (0008,0005) as; empty when the default repertoire is enough and nothing was asked for. */
function charactersFor(json: DicomJson, wanted: readonly string[] | undefined): readonly string[] {
  const needed = !everyText(json, 0, (text) => isAscii(text));
  if (!needed) return wanted ?? (has(json, tagKey(SPECIFIC_CHARACTER_SET)) ? UTF8 : []);
  const expressible =
    wanted !== undefined && everyText(json, 0, (text, vr) => encodeText(text, wanted, vr) !== undefined);
  return expressible ? wanted : UTF8;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII begins at NUL
const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);

const has = (json: DicomJson, key: string): boolean => Object.hasOwn(json, key);

function everyText(json: DicomJson, depth: number, test: (text: string, vr: Vr) => boolean): boolean {
  checkDepth(depth);
  for (const [key, element] of Object.entries(json)) {
    if (!isObject(element) || !Array.isArray(element.Value) || Number.parseInt(key, 16) === SPECIFIC_CHARACTER_SET)
      continue;
    for (const value of element.Value) {
      if (element.vr === 'SQ') {
        if (isObject(value) && !everyText(value as DicomJson, depth + 1, test)) return false;
      } else if (isText(element.vr) && !test(textOf(value, element.vr) ?? '', element.vr)) return false;
    }
  }
  return true;
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function checkDepth(depth: number): void {
  if (depth > MAXIMUM_DEPTH) {
    throw new ArchiveError('limit-exceeded', `Sequences may be nested ${MAXIMUM_DEPTH} deep at most.`, {
      MAXIMUM_DEPTH,
    });
  }
}

class Writer {
  private readonly explicitVr: boolean;
  private readonly littleEndian: boolean;
  private readonly characterSets: readonly string[];
  private readonly bulk: BulkSource | undefined;
  private buffer: Uint8Array;
  private view: DataView;
  private length = 0;

  constructor(
    explicitVr: boolean,
    littleEndian: boolean,
    characterSets: readonly string[],
    bulk: BulkSource | undefined,
  ) {
    this.explicitVr = explicitVr;
    this.littleEndian = littleEndian;
    this.characterSets = characterSets;
    this.bulk = bulk;
    this.buffer = new Uint8Array(4096);
    this.view = new DataView(this.buffer.buffer);
  }

  bytes(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }

  dataSet(json: DicomJson, depth: number, prefix: string): void {
    checkDepth(depth);
    if (!isObject(json)) throw badJson(prefix, 'is not an object of attributes');
    const elements = new Map<number, JsonElement>();
    for (const [key, element] of Object.entries(json)) {
      if (!/^[0-9A-Fa-f]{8}$/.test(key))
        throw badJson(prefix, 'has a key that is not a tag of eight hexadecimal digits');
      if (!isObject(element)) throw badJson(prefix + key, 'is not an object with a vr');
      elements.set(Number.parseInt(key, 16), element);
    }
    elements.delete(SPECIFIC_CHARACTER_SET);
    if (depth === 0 && this.characterSets.length > 0) {
      elements.set(SPECIFIC_CHARACTER_SET, { vr: 'CS', Value: [...this.characterSets] });
    }
    for (const tag of [...elements.keys()].sort((a, b) => a - b)) {
      if ((tag & 0xffff) === 0 || tag >>> 16 === FILE_META_GROUP) continue;
      this.element(tag, elements.get(tag)!, depth, prefix);
    }
  }

  private element(tag: number, element: JsonElement, depth: number, prefix: string): void {
    const path = prefix + tagKey(tag);
    const vr: unknown = element.vr ?? dictionaryVr(tag) ?? 'UN';
    if (typeof vr !== 'string' || !isVr(vr)) throw badJson(path, 'has a vr that is none of PS3.5');
    if (element.Value !== undefined && !Array.isArray(element.Value))
      throw badJson(path, 'has a Value that is not an array');
    if (vr === 'SQ') {
      this.sequence(tag, element.Value ?? [], depth, path);
      return;
    }
    const value = this.valueOf(element, vr, path);
    this.header(tag, vr, value.length + (value.length & 1), path);
    this.value(value, vr);
  }

  private sequence(tag: number, items: readonly JsonValue[], depth: number, path: string): void {
    this.header(tag, 'SQ', 0, path);
    const start = this.length;
    for (const [index, item] of items.entries()) {
      this.tag(ITEM);
      this.uint32(0);
      const itemStart = this.length;
      this.dataSet((item ?? {}) as DicomJson, depth + 1, `${path}/${index}/`);
      this.setLength(itemStart, path);
    }
    this.setLength(start, path);
  }

  private valueOf(element: JsonElement, vr: Vr, path: string): Uint8Array {
    const { Value, InlineBinary, BulkDataURI } = element;
    if (Value !== undefined || (InlineBinary === undefined && BulkDataURI === undefined)) {
      const encoding = { littleEndian: this.littleEndian, characterSets: this.characterSets };
      return encodeValue(Value ?? [], vr, encoding, (what) => badJson(path, what));
    }
    if (InlineBinary !== undefined) {
      if (!isBase64(InlineBinary)) throw badJson(path, 'has an InlineBinary that is not Base64');
      return byteOrdered(Buffer.from(InlineBinary, 'base64'), vr, this.littleEndian);
    }
    const bytes = typeof BulkDataURI === 'string' ? this.bulk?.(BulkDataURI, path) : undefined;
    if (bytes === undefined) throw badJson(path, 'names bulk data that did not come with it');
    return byteOrdered(bytes, vr, this.littleEndian);
  }
  /** PS3.5 §7.1.2, §7.1.3. A VR whose length has 16 bits gives way to UN where the value is longer (§6.2.2). */
  private header(tag: number, vr: Vr, lengthBytes: number, path: string): void {
    if (lengthBytes > MAXIMUM_LENGTH) throw badJson(path, 'is longer than 4 GiB');
    this.tag(tag);
    if (!this.explicitVr) {
      this.uint32(lengthBytes);
      return;
    }
    const long = hasLongLength[vrNumberOf(vr)] === 1;
    const written = long || lengthBytes <= MAXIMUM_SHORT_LENGTH ? vr : 'UN';
    this.reserve(8);
    this.buffer[this.length++] = written.charCodeAt(0);
    this.buffer[this.length++] = written.charCodeAt(1);
    if (written === vr && !long) {
      this.uint16(lengthBytes);
    } else {
      this.uint16(0);
      this.uint32(lengthBytes);
    }
  }

  /** Of a sequence or an item that began at `start`, now that its end is known. */
  private setLength(start: number, path: string): void {
    if (this.length - start > MAXIMUM_LENGTH) throw badJson(path, 'is longer than 4 GiB');
    this.view.setUint32(start - 4, this.length - start, this.littleEndian);
  }

  private value(value: Uint8Array, vr: Vr): void {
    this.reserve(value.length + 1);
    this.buffer.set(value, this.length);
    this.length += value.length;
    // PS3.5 §6.2: UI and bytes are padded with NUL, characters with a space.
    if ((value.length & 1) === 1) this.buffer[this.length++] = isText(vr) && vr !== 'UI' ? 0x20 : 0;
  }

  private tag(tag: number): void {
    this.uint16(tag >>> 16);
    this.uint16(tag & 0xffff);
  }

  private uint16(number: number): void {
    this.reserve(2);
    this.view.setUint16(this.length, number, this.littleEndian);
    this.length += 2;
  }

  private uint32(number: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, number, this.littleEndian);
    this.length += 4;
  }

  private reserve(lengthBytes: number): void {
    if (this.length + lengthBytes <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(this.buffer.length * 2, this.length + lengthBytes));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }
}

const isBase64 = (text: unknown): text is string =>
  typeof text === 'string' && text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);

/** Never repeats a value: it may be a patient's. */
function badJson(path: string, what: string): ArchiveError {
  return new ArchiveError('bad-request', `The attribute ${path || 'object'} of the DICOM JSON ${what}.`, { path });
}
