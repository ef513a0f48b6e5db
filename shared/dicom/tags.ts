/**
 * The data dictionary (PS3.6): tag ↔ keyword ↔ VR, and the tags that the code names. The data lies in dictionary.json,
 * which infra/generate-dictionary.ts writes. Private elements are not in it: their VRs belong to their creators.
 */
import type { Vr } from './data-set.ts';
import dictionary from './dictionary.json' with { type: 'json' };
import { vrNames, vrNumberOf } from './vr.ts';

/** Tags that the code names, by keyword. */
export const Tag = {
  FileMetaInformationGroupLength: 0x00020000,
  FileMetaInformationVersion: 0x00020001,
  MediaStorageSOPClassUID: 0x00020002,
  MediaStorageSOPInstanceUID: 0x00020003,
  TransferSyntaxUID: 0x00020010,
  ImplementationClassUID: 0x00020012,
  ImplementationVersionName: 0x00020013,
  SourceApplicationEntityTitle: 0x00020016,
  SpecificCharacterSet: 0x00080005,
  ImageType: 0x00080008,
  SOPClassUID: 0x00080016,
  SOPInstanceUID: 0x00080018,
  StudyDate: 0x00080020,
  SeriesDate: 0x00080021,
  StudyTime: 0x00080030,
  SeriesTime: 0x00080031,
  AccessionNumber: 0x00080050,
  QueryRetrieveLevel: 0x00080052,
  RetrieveAETitle: 0x00080054,
  InstanceAvailability: 0x00080056,
  FailedSOPInstanceUIDList: 0x00080058,
  Modality: 0x00080060,
  ModalitiesInStudy: 0x00080061,
  SOPClassesInStudy: 0x00080062,
  ReferringPhysicianName: 0x00080090,
  TimezoneOffsetFromUTC: 0x00080201,
  StudyDescription: 0x00081030,
  SeriesDescription: 0x0008103e,
  ReferencedSOPClassUID: 0x00081150,
  ReferencedSOPInstanceUID: 0x00081155,
  RetrieveURL: 0x00081190,
  WarningReason: 0x00081196,
  FailureReason: 0x00081197,
  FailedSOPSequence: 0x00081198,
  ReferencedSOPSequence: 0x00081199,
  OtherFailuresSequence: 0x0008119a,
  PatientName: 0x00100010,
  PatientID: 0x00100020,
  PatientBirthDate: 0x00100030,
  PatientSex: 0x00100040,
  StudyInstanceUID: 0x0020000d,
  SeriesInstanceUID: 0x0020000e,
  StudyID: 0x00200010,
  SeriesNumber: 0x00200011,
  InstanceNumber: 0x00200013,
  ImagePositionPatient: 0x00200032,
  ImageOrientationPatient: 0x00200037,
  FrameOfReferenceUID: 0x00200052,
  NumberOfStudyRelatedSeries: 0x00201206,
  NumberOfStudyRelatedInstances: 0x00201208,
  NumberOfSeriesRelatedInstances: 0x00201209,
  SamplesPerPixel: 0x00280002,
  PhotometricInterpretation: 0x00280004,
  PlanarConfiguration: 0x00280006,
  NumberOfFrames: 0x00280008,
  Rows: 0x00280010,
  Columns: 0x00280011,
  PixelSpacing: 0x00280030,
  BitsAllocated: 0x00280100,
  BitsStored: 0x00280101,
  HighBit: 0x00280102,
  PixelRepresentation: 0x00280103,
  PixelPaddingValue: 0x00280120,
  WindowCenter: 0x00281050,
  WindowWidth: 0x00281051,
  RescaleIntercept: 0x00281052,
  RescaleSlope: 0x00281053,
  RequestAttributesSequence: 0x00400275,
  ExtendedOffsetTable: 0x7fe00001,
  ExtendedOffsetTableLengths: 0x7fe00002,
  FloatPixelData: 0x7fe00008,
  DoubleFloatPixelData: 0x7fe00009,
  PixelData: 0x7fe00010,
  DataSetTrailingPadding: 0xfffcfffc,
  Item: 0xfffee000,
  ItemDelimitationItem: 0xfffee00d,
  SequenceDelimitationItem: 0xfffee0dd,
} as const;

/** Beside the VR numbers: US or SS, as Pixel Representation (0028,0103) says (PS3.5 §A.1). */
export const US_OR_SS = 64;
/** No such element in the dictionary. */
export const NOT_IN_DICTIONARY = 255;

const usNumber = vrNumberOf('US');
const loNumber = vrNumberOf('LO');
const ulNumber = vrNumberOf('UL');

// A hash table of our own, open addressing: the reader of implicit VR asks it for every element, and a Map of
// numbers takes several times as long.
const slotBits = 14;
const slotMask = (1 << slotBits) - 1;
const slotTags = new Int32Array(1 << slotBits);
const slotVrs = new Uint8Array(1 << slotBits).fill(NOT_IN_DICTIONARY);
const slotKeywords: string[] = new Array(1 << slotBits).fill('');

function slotOf(tag: number): number {
  let slot = Math.imul(tag, 0x9e3779b1) >>> (32 - slotBits);
  while (slotVrs[slot] !== NOT_IN_DICTIONARY && slotTags[slot] !== (tag | 0)) slot = (slot + 1) & slotMask;
  return slot;
}

for (const [group, elements] of Object.entries(dictionary)) {
  for (const text of elements.split(',')) {
    const tag = ((Number.parseInt(group, 16) << 16) | Number.parseInt(text.slice(0, 4), 16)) >>> 0;
    const vr = text.slice(4, 6);
    const slot = slotOf(tag);
    slotTags[slot] = tag;
    slotVrs[slot] = vr === 'xs' ? US_OR_SS : vrNumberOf(vr as Vr);
    slotKeywords[slot] = text.slice(6);
  }
}

/** Repeating groups (PS3.5 §7.6: 50xx, 60xx; retired 7Fxx) and repeating elements stand in the dictionary once, under their first tag. */
function representative(tag: number): number {
  const group = tag >>> 16;
  if (group >= 0x6000 ? group <= 0x60ff : group >= 0x5000 && group <= 0x50ff) return (tag & 0xff00ffff) >>> 0;
  if (group >= 0x7f00 && group <= 0x7fff && group !== 0x7fe0) return (tag & 0xff00ffff) >>> 0;
  if (group === 0x0020 && (tag & 0xff00) === 0x3100) return 0x00203100;
  return tag;
}

/**
 * The number of a standard element's VR (see vr.ts), US_OR_SS, or NOT_IN_DICTIONARY. Group lengths are UL and private
 * creators LO whatever their group (PS3.5 §7.2, §7.8.1).
 */
export function dictionaryVrNumber(tag: number): number {
  if ((tag & 0x10000) !== 0) {
    const element = tag & 0xffff;
    if (element === 0) return ulNumber;
    return element >= 0x10 && element <= 0xff ? loNumber : NOT_IN_DICTIONARY;
  }
  const found = slotVrs[slotOf(tag)] as number;
  if (found !== NOT_IN_DICTIONARY) return found;
  if ((tag & 0xffff) === 0) return ulNumber;
  const common = representative(tag);
  return common === tag ? found : (slotVrs[slotOf(common)] as number);
}

/** The VR of a standard element; US where US or SS is possible, OW where OB or OW is. Undefined: private or unknown. */
export function dictionaryVr(tag: number): Vr | undefined {
  const number = dictionaryVrNumber(tag);
  return number === NOT_IN_DICTIONARY ? undefined : vrNames[number === US_OR_SS ? usNumber : number];
}

/** PS3.6 keyword; undefined for private and unknown elements. For repeating groups that of the first (`OverlayRows`). */
export function keywordOf(tag: number): string | undefined {
  if ((tag & 0x10000) !== 0) return undefined;
  return slotKeywords[slotOf(tag)] || slotKeywords[slotOf(representative(tag))] || undefined;
}

let tagsByKeyword: Map<string, number> | undefined;

/** The tag of a PS3.6 keyword; where a retired element shares it with a current one, the lower tag. */
export function tagOf(keyword: string): number | undefined {
  if (tagsByKeyword === undefined) {
    tagsByKeyword = new Map();
    for (let slot = 0; slot <= slotMask; slot++) {
      const name = slotKeywords[slot] as string;
      if (name === '') continue;
      const tag = (slotTags[slot] as number) >>> 0;
      const other = tagsByKeyword.get(name);
      if (other === undefined || tag < other) tagsByKeyword.set(name, tag);
    }
  }
  return tagsByKeyword.get(keyword);
}

/** Eight upper-case hexadecimal digits, as in the DICOM JSON Model (PS3.18 §F.2.2). */
export function tagKey(tag: number): string {
  return tag.toString(16).toUpperCase().padStart(8, '0');
}

/** `(0010,0010)`, for messages. */
export function tagText(tag: number): string {
  const key = tagKey(tag);
  return `(${key.slice(0, 4)},${key.slice(4)})`;
}

/** The tag that eight hexadecimal digits or a keyword name; undefined when it is neither. */
export function parseTag(text: string): number | undefined {
  return /^[0-9A-Fa-f]{8}$/.test(text) ? Number.parseInt(text, 16) : tagOf(text);
}
