/**
 * What a DICOMDIR says of an instance (PS3.3 §F.5): the type of its directory record by its SOP Class, and the keys of each type, out of
 * the instance's metadata.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { dictionaryVr, tagKey } from '../dicom/tags.ts';

const storage = '1.2.840.10008.5.1.4.1.1.';

/** By what follows `storage`; the longest beginning counts. Whatever is not here is an IMAGE if it has pixels. */
const typesByClass: readonly (readonly [beginning: string, type: string])[] = [
  ['4.2', 'SPECTROSCOPY'],
  ['9', 'WAVEFORM'],
  ['9.100', 'PRESENTATION'],
  ['11', 'PRESENTATION'],
  ['66', 'RAW DATA'],
  ['66.1', 'REGISTRATION'],
  ['66.2', 'FIDUCIAL'],
  ['66.3', 'REGISTRATION'],
  ['66.4', 'IMAGE'],
  ['66.5', 'SURFACE'],
  ['66.6', 'TRACT'],
  ['66.7', 'IMAGE'],
  ['66.8', 'IMAGE'],
  ['67', 'VALUE MAP'],
  ['68', 'SURFACE SCAN'],
  ['77.1.5.3', 'STEREOMETRIC'],
  ['78', 'MEASUREMENT'],
  ['80.1', 'MEASUREMENT'],
  ['88', 'SR DOCUMENT'],
  ['88.59', 'KEY OBJECT DOC'],
  ['90.1', 'ASSESSMENT'],
  ['91.1', 'ANNOTATION'],
  ['104', 'ENCAP DOC'],
  ['481.2', 'RT DOSE'],
  ['481.3', 'RT STRUCTURE SET'],
  ['481.4', 'RT TREAT RECORD'],
  ['481.5', 'RT PLAN'],
  ['481.6', 'RT TREAT RECORD'],
  ['481.7', 'RT TREAT RECORD'],
  ['481.8', 'RT PLAN'],
  ['481.9', 'RT TREAT RECORD'],
];

/** PRIVATE for what is neither known nor a picture. */
export function recordTypeOf(sopClassUid: string, isImage: boolean): string {
  const name = sopClassUid.startsWith(storage) ? sopClassUid.slice(storage.length) : undefined;
  const [, type] =
    typesByClass
      .filter(([beginning]) => name === beginning || name?.startsWith(`${beginning}.`) === true)
      .toSorted(([a], [b]) => b.length - a.length)[0] ?? [];
  return type ?? (isImage ? 'IMAGE' : 'PRIVATE');
}

const instanceNumber = 0x00200013;
const contentDateAndTime = [0x00080023, 0x00080033];
/** The Content Identification Macro: number, label, description, creator. */
const contentIdentification = [instanceNumber, 0x00700080, 0x00700081, 0x00700084];
const conceptName = 0x0040a043;

/** Keys that a record has even without a value, beside those that it has where the instance does. */
const keysOfType: Readonly<
  Record<string, { readonly always: readonly number[]; readonly ifThere?: readonly number[] }>
> = {
  PATIENT: { always: [0x00100010, 0x00100020] },
  STUDY: { always: [0x00080020, 0x00080030, 0x00080050, 0x00081030, 0x0020000d, 0x00200010] },
  SERIES: { always: [0x00080060, 0x0020000e, 0x00200011] },
  IMAGE: { always: [instanceNumber], ifThere: [0x00080008] },
  SPECTROSCOPY: {
    always: [
      0x00080008,
      ...contentDateAndTime,
      instanceNumber,
      0x00280008,
      0x00280010,
      0x00280011,
      0x00289001,
      0x00289002,
    ],
  },
  WAVEFORM: { always: [instanceNumber, ...contentDateAndTime] },
  PRESENTATION: { always: [...contentIdentification, 0x00700082, 0x00700083], ifThere: [0x00081115, 0x00700402] },
  'RAW DATA': { always: [instanceNumber, ...contentDateAndTime] },
  'SR DOCUMENT': { always: [instanceNumber, ...contentDateAndTime, conceptName, 0x0040a491, 0x0040a493] },
  'KEY OBJECT DOC': { always: [instanceNumber, ...contentDateAndTime, conceptName] },
  'ENCAP DOC': {
    always: [instanceNumber, ...contentDateAndTime, conceptName, 0x00420010, 0x00420012],
    ifThere: [0x0040e001],
  },
  'RT DOSE': { always: [instanceNumber, 0x3004000a], ifThere: [0x30040006] },
  'RT STRUCTURE SET': { always: [instanceNumber, 0x30060002, 0x30060008, 0x30060009] },
  'RT PLAN': { always: [instanceNumber, 0x300a0002, 0x300a0006, 0x300a0007] },
  'RT TREAT RECORD': { always: [instanceNumber, 0x30080250, 0x30080251] },
  MEASUREMENT: { always: [instanceNumber, ...contentDateAndTime] },
  PRIVATE: { always: [] },
};
/** Registrations, fiducials, surfaces and their like. */
const otherKeys = { always: [...contentIdentification, ...contentDateAndTime], ifThere: [] };

/** Of PATIENT, STUDY and SERIES, and those of instances whose keys the index does not know. */
export function keysOf(type: string, attributes: DicomJson): DicomJson {
  const { always, ifThere = [] } = keysOfType[type] ?? otherKeys;
  const keys: DicomJson = {};
  for (const tag of always) keys[tagKey(tag)] = withValue(attributes[tagKey(tag)]) ?? { vr: dictionaryVr(tag) ?? 'UN' };
  for (const tag of ifThere) {
    const element = withValue(attributes[tagKey(tag)]);
    if (element !== undefined) keys[tagKey(tag)] = element;
  }
  if (type === 'SR DOCUMENT' || type === 'KEY OBJECT DOC') Object.assign(keys, documentKeys(attributes));
  return keys;
}

/** A value that lies elsewhere is none for a directory. */
const withValue = (element: JsonElement | undefined): JsonElement | undefined =>
  element?.Value === undefined ? undefined : element;

/** Concept modifiers of the document's title, and when it was verified last. */
function documentKeys(attributes: DicomJson): DicomJson {
  const itemsOf = (key: string): DicomJson[] =>
    (attributes[key]?.Value ?? []).filter((item) => item !== null) as DicomJson[];
  const modifiers = itemsOf('0040A730').filter((item) => item['0040A010']?.Value?.[0] === 'HAS CONCEPT MOD');
  const verified = itemsOf('0040A073').map((item) => String(item['0040A030']?.Value?.[0] ?? ''));
  const last = verified.toSorted().at(-1) ?? '';
  return {
    ...(modifiers.length === 0 ? {} : { '0040A730': { vr: 'SQ', Value: modifiers } }),
    ...(last === '' ? {} : { '0040A030': { vr: 'DT', Value: [last] } }),
  };
}
