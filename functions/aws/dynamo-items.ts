/**
 * Items as plain objects, and the attributes of records as few bytes: DICOM JSON, deflated against a dictionary of what every record
 * says. An instance is then one write unit instead of three, and a series is read for a third. The first byte says how the rest was written.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { ArchiveError } from '#shared/errors.ts';

/** A value of an item; undefined: it has none. */
export type Value = string | number | Uint8Array | readonly string[] | undefined;
export type Item = Readonly<Record<string, Value>>;
export type StoredItem = Record<string, AttributeValue>;

export function toStored(item: Item): StoredItem {
  const stored: StoredItem = {};
  for (const [name, value] of Object.entries(item)) if (value !== undefined) stored[name] = storedValue(value);
  return stored;
}

export function storedValue(value: NonNullable<Value>): AttributeValue {
  if (typeof value === 'string') return { S: value };
  if (typeof value === 'number') return { N: String(value) };
  if (value instanceof Uint8Array) return { B: value };
  return { L: value.map((text) => ({ S: text })) };
}

/** `T` says what whoever wrote it has put in. */
export function fromStored<T>(stored: StoredItem): T {
  const item: Record<string, Value> = {};
  for (const [name, value] of Object.entries(stored)) item[name] = plainValue(value);
  return item as T;
}

function plainValue(value: AttributeValue): Value {
  if (value.S !== undefined) return value.S;
  if (value.N !== undefined) return Number(value.N);
  if (value.B !== undefined) return value.B;
  return (value.L ?? []).map((member) => member.S ?? '');
}

/** Stays as it is for ever: what was written with it can be read with nothing else. Another one gets another FORMAT. */
const dictionary = Buffer.from(
  [
    '"00280008":{"vr":"IS","Value":[1]},"00280010":{"vr":"US","Value":[512]},"00280011":{"vr":"US","Value":[512]},',
    '"0040A043":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["',
    '"0040A491":{"vr":"CS","Value":["COMPLETE"]},"0040A493":{"vr":"CS","Value":["VERIFIED"]},"00700080":{"vr":"CS","Value":["',
    '"00080051":{"vr":"SQ","Value":[{"00400031":{"vr":"UT","Value":["',
    '"00081032":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["","00080102":{"vr":"SH","Value":["DCM"]},"00080104":{"vr":"LO","Value":["',
    '"00400244":{"vr":"DA","Value":["20"00400245":{"vr":"TM","Value":["',
    '"00400275":{"vr":"SQ","Value":[{"00400007":{"vr":"LO"},"00400009":{"vr":"SH","Value":["00401001":{"vr":"SH","Value":["',
    '"00081050":{"vr":"PN","Value":[{"Alphabetic":"","Ideographic":"","Phonetic":"","00081060":{"vr":"PN"},"00081070":{"vr":"PN"},',
    '"00080008":{"vr":"CS","Value":["DERIVED","SECONDARY","ORIGINAL","PRIMARY","AXIAL"]},',
    '"00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]},"00080018":{"vr":"UI","Value":["1.',
    '"00080020":{"vr":"DA","Value":["2024"]},"00080021":{"vr":"DA","Value":["20"]},"00080022":{"vr":"DA","Value":["20"]},"00080023":{"vr":"DA","Value":["20"]},',
    '"00080030":{"vr":"TM","Value":["1"]},"00080031":{"vr":"TM","Value":["1"]},"00080032":{"vr":"TM","Value":["1"]},"00080033":{"vr":"TM","Value":["1"]},',
    '"00080050":{"vr":"SH","Value":[""]},"00080060":{"vr":"CS","Value":["MR"]},"00080060":{"vr":"CS","Value":["CT"]},"00080070":{"vr":"LO","Value":["SIEMENS"]},',
    '"00080080":{"vr":"LO","Value":[""]},"00080090":{"vr":"PN","Value":[{"Alphabetic":""}]},"00080201":{"vr":"SH","Value":["+0',
    '"00081010":{"vr":"SH","Value":[""]},"00081030":{"vr":"LO","Value":[""]},"0008103E":{"vr":"LO","Value":[""]},',
    '"00100010":{"vr":"PN","Value":[{"Alphabetic":"^"}]},"00100020":{"vr":"LO","Value":[""]},"00100021":{"vr":"LO"},"00100030":{"vr":"DA","Value":["19"]},',
    '"00100040":{"vr":"CS","Value":["F"]},"00100040":{"vr":"CS","Value":["M"]},"00101010":{"vr":"AS","Value":["0Y"]},',
    '"00180015":{"vr":"CS","Value":["CHEST"]},"00181030":{"vr":"LO","Value":[""]},',
    '"0020000D":{"vr":"UI","Value":["1.2.840."]},"0020000E":{"vr":"UI","Value":["1.3.12.2.1107.5."]},"00200010":{"vr":"SH","Value":[""]},',
    '"00200011":{"vr":"IS","Value":[1]},"00200012":{"vr":"IS","Value":[1]},"00200013":{"vr":"IS","Value":[1]},',
    '"00200052":{"vr":"UI","Value":["1.2.840."]},"00200060":{"vr":"CS"},"00280100":{"vr":"US","Value":[16]}}',
  ].join(''),
);
const FORMAT = 1;
/** Far more than the indexed attributes of one record can be (instance-reader.ts). */
const MAXIMUM_JSON_BYTES = 64 * 1024 * 1024;

export function packAttributes(attributes: DicomJson): Uint8Array {
  return Buffer.concat([Buffer.of(FORMAT), deflateRawSync(JSON.stringify(attributes), { dictionary })]);
}

/** Error `damaged` for what packAttributes has not made. */
export function unpackAttributes(data: Uint8Array | undefined): DicomJson {
  if (data === undefined) return {};
  try {
    if (data[0] !== FORMAT) throw new RangeError(`format ${data[0]}`);
    const text = inflateRawSync(data.subarray(1), { dictionary, maxOutputLength: MAXIMUM_JSON_BYTES }).toString();
    return JSON.parse(text) as DicomJson;
  } catch (cause) {
    throw new ArchiveError(
      'damaged',
      'A record of the index cannot be read; recount its series from the packs.',
      {},
      cause,
    );
  }
}

/** Attributes are unpacked when they are first looked at: most who read records want only to know where the bytes lie. */
export function withAttributes<T extends object>(
  record: T,
  data: Uint8Array | undefined,
): T & { readonly attributes: DicomJson } {
  let attributes: DicomJson | undefined;
  return Object.defineProperty(record, 'attributes', {
    enumerable: true,
    configurable: true,
    get: () => {
      attributes ??= unpackAttributes(data);
      return attributes;
    },
  }) as T & { readonly attributes: DicomJson };
}
