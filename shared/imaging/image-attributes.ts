/**
 * What rendering needs to know about one frame, taken out of the instance's DICOM JSON once: Image Pixel (PS3.3
 * §C.7.6.3), Modality LUT and VOI LUT (§C.11.1, §C.11.2) or their functional groups (§C.7.6.16.2.9, §C.7.6.16.2.10),
 * palettes, padding and presentation shape. Plain data that can be sent to a worker. Applying it is lut.ts, color.ts.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { cannotRender } from './decoded-frame.ts';
import { type LookupTable, lookupTable, type Palette, paletteOf } from './lookup-table.ts';

export type WindowFunction = 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID';

export interface Window {
  readonly center: number;
  readonly width: number;
  readonly function: WindowFunction;
}

export type ModalityTransform =
  | { readonly kind: 'linear'; readonly slope: number; readonly intercept: number }
  | { readonly kind: 'table'; readonly table: LookupTable };

export interface ImageAttributes {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly photometricInterpretation: string;
  readonly planarConfiguration: number;
  readonly bitsAllocated: number;
  readonly bitsStored: number;
  readonly highBit: number;
  /** Pixel Representation 1. */
  readonly signed: boolean;
  readonly pixelKind: 'integer' | 'float' | 'double';
  /** Matters for 8-bit and one-bit samples of big-endian objects only. */
  readonly pixelDataVr: 'OB' | 'OW';
  readonly modality: ModalityTransform;
  /** In the order of the data set; those that the formulas of §C.11.2.1.2 cannot take are left out. */
  readonly windows: readonly Window[];
  readonly voiTables: readonly LookupTable[];
  /** The last step inverts: MONOCHROME1, or Presentation LUT Shape INVERSE (§C.11.6). */
  readonly inverse: boolean;
  /** The last step of gray instead of `inverse`'s straight line: Presentation LUT Sequence (§C.11.6); absent where there is none. */
  readonly presentationTable?: LookupTable;
  /** Stored values that are not image, both ends included (§C.7.5.1.1.2). */
  readonly padding: { readonly low: number; readonly high: number } | undefined;
  readonly palette: Palette | undefined;
  /** Colours of a gray image's largest values (§C.7.6.19); absent where all of it is gray. */
  readonly supplemental?: SupplementalPalette;
}

export interface SupplementalPalette {
  readonly palette: Palette;
  /** Largest Monochrome Pixel Value: stored values above it are colours. */
  readonly largestGray: number;
}

/** Gives the bytes of a BulkDataURI, little endian; undefined when it does not have them. */
export type BulkReader = (uri: string) => Uint8Array | undefined;

const PIXEL_DATA = '7FE00010';
const LUT_DATA = '00283006';
const OVERLAY_DATA = /^60[01][02468ACE]3000$/;
const PALETTE_DATA = ['00281201', '00281202', '00281203', '00281221', '00281222', '00281223'];

/**
 * @param frameNumber from 1; chooses the per-frame functional group
 * @throws ArchiveError `cannot-render` when the attributes do not describe pixels, or contradict themselves
 */
export function imageAttributesOf(metadata: DicomJson, frameNumber: number, bulk?: BulkReader): ImageAttributes {
  const rows = wholeNumber(metadata, '00280010', 'Rows', 1, 65535);
  const columns = wholeNumber(metadata, '00280011', 'Columns', 1, 65535);
  const samplesPerPixel = wholeNumber(metadata, '00280002', 'Samples per Pixel', 1, 3, 1);
  const pixelKind = metadata['7FE00009'] ? 'double' : metadata['7FE00008'] ? 'float' : 'integer';
  const bitsAllocated = wholeNumber(metadata, '00280100', 'Bits Allocated', 1, 64);
  const widths = { integer: [1, 8, 12, 16, 32], float: [32], double: [64] }[pixelKind];
  if (samplesPerPixel === 2 || !widths.includes(bitsAllocated)) {
    throw cannotRender(`${samplesPerPixel} samples of ${bitsAllocated} bits (${pixelKind}) cannot be rendered`, {
      samplesPerPixel,
      bitsAllocated,
    });
  }
  const bitsStored = wholeNumber(metadata, '00280101', 'Bits Stored', 1, bitsAllocated, bitsAllocated);
  // High Bit below Bits Stored - 1 leaves no room for the value: such files mean Bits Stored - 1.
  const highBit = Math.max(
    bitsStored - 1,
    wholeNumber(metadata, '00280102', 'High Bit', 0, bitsAllocated - 1, bitsStored - 1),
  );
  const signed = pixelKind === 'integer' && bitsAllocated > 1 && numbers(metadata['00280103'])[0] === 1;
  const photometricInterpretation = (
    text(metadata['00280004']) ?? (samplesPerPixel === 3 ? 'RGB' : 'MONOCHROME2')
  ).toUpperCase();
  const groups = functionalGroups(metadata, frameNumber);
  const modality = modalityOf(modalityPlaceOf(metadata, groups), signed, bulk);
  const presentationTable = presentationTableOf(metadata, bulk);
  const supplemental = samplesPerPixel === 1 ? supplementalOf(metadata, groups, signed, bulk) : undefined;
  const voi = firstWith(groups, '00289132', ['00281050', '00281051', '00283010']);
  return {
    rows,
    columns,
    samplesPerPixel,
    photometricInterpretation,
    planarConfiguration: numbers(metadata['00280006'])[0] === 1 ? 1 : 0,
    bitsAllocated,
    bitsStored,
    highBit,
    signed,
    pixelKind,
    pixelDataVr: metadata[PIXEL_DATA]?.vr === 'OW' ? 'OW' : 'OB',
    modality,
    windows: windowsOf(voi),
    voiTables: items(voi['00283010']).flatMap((item) => {
      const table = lookupTable(item, '00283002', LUT_DATA, signedVoiInput(modality, signed), bulk);
      return table === undefined ? [] : [table];
    }),
    inverse: photometricInterpretation === 'MONOCHROME1' || text(metadata['20500020']) === 'INVERSE',
    ...(presentationTable && { presentationTable }),
    padding:
      pixelKind === 'integer'
        ? paddingOf(metadata, bitsAllocated, bitsStored, signed)
        : floatPaddingOf(metadata, pixelKind),
    palette: photometricInterpretation === 'PALETTE COLOR' ? paletteOf(metadata, signed, bulk) : undefined,
    ...(supplemental && { supplemental }),
  };
}

/** The BulkDataURIs of the LUTs, palettes and overlays that `imageAttributesOf` and `overlaysOf` will ask for; usually none. */
export function bulkNeededForRendering(metadata: DicomJson): string[] {
  const uris = new Set<string>();
  const note = (element: JsonElement | undefined) => {
    if (element?.BulkDataURI !== undefined) uris.add(element.BulkDataURI);
  };
  const noteTables = (item: DicomJson) => {
    for (const sequence of ['00283000', '00283010', '20500010']) {
      for (const table of items(item[sequence])) note(table[LUT_DATA]);
    }
  };
  for (const tag of PALETTE_DATA) note(metadata[tag]);
  for (const tag of Object.keys(metadata)) if (OVERLAY_DATA.test(tag)) note(metadata[tag]);
  noteTables(metadata);
  for (const group of [...items(metadata['52009229']), ...items(metadata['52009230'])]) {
    for (const macro of ['00289145', '00289132']) for (const item of items(group[macro])) noteTables(item);
  }
  return [...uris];
}

export function items(element: JsonElement | undefined): DicomJson[] {
  if (element?.vr !== 'SQ') return [];
  return (element.Value ?? []).filter((item): item is DicomJson => typeof item === 'object' && item !== null);
}

/** Numbers of a US, SS, DS, IS … element; what is not a number is NaN, so that positions stay. */
export function numbers(element: JsonElement | undefined): number[] {
  return (element?.Value ?? []).map((value) =>
    typeof value === 'number' || (typeof value === 'string' && value.trim() !== '') ? Number(value) : Number.NaN,
  );
}

function text(element: JsonElement | undefined): string | undefined {
  const value = element?.Value?.[0];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}

function wholeNumber(
  metadata: DicomJson,
  tag: string,
  name: string,
  least: number,
  most: number,
  otherwise?: number,
): number {
  const value = numbers(metadata[tag])[0] ?? otherwise;
  if (value === undefined) throw cannotRender(`The instance has no ${name}, so it holds no image to render`);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw cannotRender(`${name} is not between ${least} and ${most}`, { attribute: name });
  }
  return value;
}

/** Where an attribute of this frame may stand, nearest first: per-frame group, shared group, the data set itself. */
export function functionalGroups(metadata: DicomJson, frameNumber: number): DicomJson[] {
  const perFrame = metadata['52009230']?.Value?.[frameNumber - 1];
  const shared = items(metadata['52009229'])[0];
  const found = typeof perFrame === 'object' && perFrame !== null ? [perFrame as DicomJson] : [];
  return [...found, ...(shared === undefined ? [] : [shared]), metadata];
}

/** The first place that has any of the attributes: an item of the macro's sequence, or the data set's top level. */
export function firstWith(groups: readonly DicomJson[], macro: string, tags: readonly string[]): DicomJson {
  for (const group of groups) {
    for (const place of [items(group[macro])[0], group]) {
      if (place !== undefined && tags.some((tag) => (place[tag]?.Value?.length ?? 0) > 0)) return place;
    }
  }
  return {};
}

function modalityOf(place: DicomJson, signed: boolean, bulk: BulkReader | undefined): ModalityTransform {
  const item = items(place['00283000'])[0];
  const table = item === undefined ? undefined : lookupTable(item, '00283002', LUT_DATA, signed, bulk);
  if (table !== undefined) return { kind: 'table', table };
  const slope = numbers(place['00281053'])[0] ?? 1;
  const intercept = numbers(place['00281052'])[0] ?? 0;
  // A slope of 0 would make every pixel the same; the field sends it to say "none".
  return {
    kind: 'linear',
    slope: Number.isFinite(slope) && slope !== 0 ? slope : 1,
    intercept: Number.isFinite(intercept) ? intercept : 0,
  };
}

/** §C.11.2.1.1: First Stored Pixel Value Mapped is SS when the Modality LUT can give negative values. */
function signedVoiInput(modality: ModalityTransform, signed: boolean): boolean {
  return modality.kind === 'linear' && (signed || modality.intercept < 0 || modality.slope < 0);
}

function windowsOf(place: DicomJson): Window[] {
  const centers = numbers(place['00281050']);
  const widths = numbers(place['00281051']);
  const name = text(place['00281056']);
  const stated: WindowFunction = name === 'SIGMOID' || name === 'LINEAR_EXACT' ? name : 'LINEAR';
  const windows: Window[] = [];
  for (let i = 0; i < Math.min(centers.length, widths.length); i++) {
    const center = centers[i]!;
    const width = widths[i]!;
    if (!Number.isFinite(center) || !Number.isFinite(width) || width <= 0) continue;
    // LINEAR wants a width of at least 1; narrower ones come with fractional values and mean LINEAR_EXACT.
    windows.push({ center, width, function: stated === 'LINEAR' && width < 1 ? 'LINEAR_EXACT' : stated });
  }
  return windows;
}

const XRAY_CLASSES = /^1\.2\.840\.10008\.5\.1\.4\.1\.1\.12\.[12](\.1)?$/;

/**
 * Where the Modality LUT stands. Of angiograms with logarithmic or display values it leads back to X-ray intensities, for
 * subtraction: pictures are made of the values as they are (Pixel Intensity Relationship, §C.8.7.1.1.2).
 */
function modalityPlaceOf(metadata: DicomJson, groups: readonly DicomJson[]): DicomJson {
  const place = firstWith(groups, '00289145', ['00281052', '00281053', '00283000']);
  const isXray = XRAY_CLASSES.test(text(metadata['00080016']) ?? '');
  const relationship = text(metadata['00281040']);
  if (!isXray || (relationship !== 'LOG' && relationship !== 'DISP')) return place;
  const { '00283000': _table, ...others } = place;
  return others;
}

function presentationTableOf(metadata: DicomJson, bulk: BulkReader | undefined): LookupTable | undefined {
  const item = items(metadata['20500010'])[0];
  return item && lookupTable(item, '00283002', LUT_DATA, false, bulk);
}

/** Only where Pixel Presentation says that colours are meant: scanners put palettes beside plain gray slices, too. */
function supplementalOf(
  metadata: DicomJson,
  groups: readonly DicomJson[],
  signed: boolean,
  bulk: BulkReader | undefined,
): SupplementalPalette | undefined {
  if (text(metadata['00280004'])?.toUpperCase() !== 'MONOCHROME2') return undefined;
  const ofFrame = groups.flatMap((group) => frameTypeMacros.flatMap((macro) => items(group[macro])));
  const stated = [...ofFrame, metadata].map((place) => text(place['00089205'])).find((value) => value !== undefined);
  if (stated !== 'COLOR' && stated !== 'MIXED') return undefined;
  if (metadata['00281101'] === undefined) return undefined;
  const palette = paletteOf(metadata, signed, bulk);
  const largest = numbers(metadata['00289099'])[0];
  return { palette, largestGray: largest ?? palette.red.firstMapped - 1 };
}

/** CT, MR, PET, X-ray and ultrasound image frame type: each may say Pixel Presentation of a frame. */
const frameTypeMacros = ['00189329', '00189226', '00189751', '00189504', '00189806'];

function paddingOf(
  metadata: DicomJson,
  bitsAllocated: number,
  bitsStored: number,
  signed: boolean,
): ImageAttributes['padding'] {
  const least = signed ? -(2 ** (bitsStored - 1)) : 0;
  const most = signed ? 2 ** (bitsStored - 1) - 1 : 2 ** bitsStored - 1;
  const [value, limit] = [metadata['00280120'], metadata['00280121']].map((element) => {
    const stated = numbers(element)[0];
    if (stated === undefined || Number.isNaN(stated)) return undefined;
    // Written as US over signed pixels, or as SS over unsigned ones, it is the same bits, read the other way.
    if (signed && stated >= 2 ** (bitsAllocated - 1)) return stated - 2 ** bitsAllocated;
    if (signed && stated > most && stated < 2 ** bitsStored) return stated - 2 ** bitsStored;
    return !signed && stated < 0 ? stated + 2 ** bitsAllocated : stated;
  });
  if (value === undefined) return undefined;
  const low = Math.min(value, limit ?? value);
  const high = Math.max(value, limit ?? value);
  return high < least || low > most ? undefined : { low, high };
}

/** Float and Double Float Pixel Padding Value and Range Limit (§C.7.6.24, §C.7.6.25). */
function floatPaddingOf(metadata: DicomJson, kind: 'float' | 'double'): ImageAttributes['padding'] {
  const tags = kind === 'float' ? ['00280122', '00280124'] : ['00280123', '00280125'];
  const [value, limit] = tags.map((tag) => numbers(metadata[tag])[0]);
  if (value === undefined || Number.isNaN(value)) return undefined;
  const other = limit === undefined || Number.isNaN(limit) ? value : limit;
  return { low: Math.min(value, other), high: Math.max(value, other) };
}
