/**
 * Lookup tables as the data set carries them: LUT Descriptor and LUT Data of Modality and VOI LUTs (PS3.3 §C.11.1.1),
 * and the three palettes with their segmented form (§C.7.6.3.1.5, §C.7.9.2). Only reading: applying is lut.ts, color.ts.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { cannotRender } from './decoded-frame.ts';
import type { BulkReader } from './image-attributes.ts';

export interface LookupTable {
  /** The input value that gives the first entry; lower ones give it too, higher ones than the last give the last. */
  readonly firstMapped: number;
  readonly entries: Uint16Array;
  /** Of an entry: the output is 0 to 2^bits - 1. */
  readonly bits: number;
}

export interface Palette {
  readonly red: LookupTable;
  readonly green: LookupTable;
  readonly blue: LookupTable;
}

interface Descriptor {
  readonly count: number;
  readonly firstMapped: number;
  readonly bits: number;
}

/**
 * @param signedInput whether First Stored Pixel Value Mapped is to be read as SS
 * @returns undefined when the item holds no table
 * @throws ArchiveError `cannot-render` for a descriptor that cannot be, or data shorter than it says
 */
export function lookupTable(
  item: DicomJson,
  descriptorTag: string,
  dataTag: string,
  signedInput: boolean,
  bulk: BulkReader | undefined,
): LookupTable | undefined {
  const descriptor = descriptorOf(item[descriptorTag], signedInput);
  const data = item[dataTag];
  if (descriptor === undefined || data === undefined) return undefined;
  const words = wordsOf(data, bulk, descriptor.count);
  if (words === undefined || words.length < descriptor.count) throw tooShort(descriptor.count, words?.length ?? 0);
  const entries = words.slice(0, descriptor.count);
  // Some writers give 16-bit entries and say 8: the entries are what was meant.
  let most = 0;
  for (const entry of entries) if (entry > most) most = entry;
  const bits = Math.max(descriptor.bits, most === 0 ? 1 : 32 - Math.clz32(most));
  return { firstMapped: descriptor.firstMapped, entries, bits };
}

/**
 * The three palettes of a data set, plain or segmented.
 * @throws ArchiveError `cannot-render` when one of the three palettes is missing or damaged
 */
export function paletteOf(metadata: DicomJson, signedInput: boolean, bulk: BulkReader | undefined): Palette {
  const [red, green, blue] = ([1, 2, 3] as const).map((channel) => {
    const descriptorTag = `0028110${channel}`;
    const plain = lookupTable(metadata, descriptorTag, `0028120${channel}`, signedInput, bulk);
    const table = plain ?? segmentedTable(metadata, descriptorTag, `0028122${channel}`, signedInput, bulk);
    if (table === undefined) throw cannotRender('PALETTE COLOR needs three palettes, and one is missing');
    return table;
  });
  return asWide({ red: red!, green: green!, blue: blue! });
}

/** Some writers give 8-bit entries and say 16: taken at their word, the whole image would be black. */
function asWide(palette: Palette): Palette {
  const channels = [palette.red, palette.green, palette.blue];
  const isNarrow = channels.every(({ bits, entries }) => bits > 8 && entries.every((entry) => entry < 256));
  if (!isNarrow) return palette;
  const [red, green, blue] = channels.map((table) => ({ ...table, bits: 8 }));
  return { red: red!, green: green!, blue: blue! };
}

function descriptorOf(element: JsonElement | undefined, signedInput: boolean): Descriptor | undefined {
  const [count, first, bits] = (element?.Value ?? []).map(Number);
  if (count === undefined || first === undefined || bits === undefined) return undefined;
  if (![count, first, bits].every(Number.isInteger) || bits < 1 || bits > 16 || Math.abs(count) > 65536) {
    throw cannotRender('A LUT Descriptor is not three whole numbers with 1 to 16 bits per entry');
  }
  // 65536 entries are written as 0; a count that was read as SS has wrapped (§C.11.1.1).
  const entries = count === 0 ? 65536 : count < 0 ? count + 65536 : count;
  return { count: entries, firstMapped: signedInput && first > 32767 ? first - 65536 : first, bits };
}

/** Entries as words, whatever the VR: US values, or OW bytes of which 8-bit entries may be packed two to a word. */
function wordsOf(element: JsonElement, bulk: BulkReader | undefined, count: number): Uint16Array | undefined {
  if (element.Value !== undefined) return Uint16Array.from(element.Value, Number);
  const bytes = bytesOf(element, bulk);
  if (bytes === undefined) return undefined;
  if (bytes.length < count * 2 && bytes.length >= count) return Uint16Array.from(bytes);
  return littleEndianWords(bytes);
}

function bytesOf(element: JsonElement, bulk: BulkReader | undefined): Uint8Array | undefined {
  if (element.InlineBinary !== undefined) return new Uint8Array(Buffer.from(element.InlineBinary, 'base64'));
  return element.BulkDataURI === undefined ? undefined : bulk?.(element.BulkDataURI);
}

function littleEndianWords(bytes: Uint8Array): Uint16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint16Array(bytes.length >> 1);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint16(2 * i, true);
  return words;
}

/**
 * §C.7.9.2: discrete (0), linear (1) and indirect (2) segments, expanded up to the count that the descriptor names. All of a
 * segment, operation code and lengths too, is in bytes where the entries are of 8 bits, and in words where they are of 16.
 */
function segmentedTable(
  metadata: DicomJson,
  descriptorTag: string,
  dataTag: string,
  signedInput: boolean,
  bulk: BulkReader | undefined,
): LookupTable | undefined {
  const descriptor = descriptorOf(metadata[descriptorTag], signedInput);
  const data = metadata[dataTag];
  const bytes = data === undefined ? undefined : bytesOf(data, bulk);
  if (descriptor === undefined || bytes === undefined) return undefined;
  const { count, firstMapped, bits } = descriptor;
  // Writers that put 8-bit entries into words are told by how the bytes expand: only one of the two ways gives the count.
  const entries =
    bits > 8
      ? expandSegments(littleEndianWords(bytes), count, 65536)
      : (expandSegments(bytes, count, 256) ?? expandSegments(littleEndianWords(bytes), count, 65536));
  if (entries === undefined) {
    throw cannotRender(`A segmented palette does not expand to the ${count} entries that its descriptor says`, {
      needed: count,
    });
  }
  return { firstMapped, entries, bits };
}

/**
 * @param unit one more than the largest value of a unit, of which an offset has four (bytes) or two (words)
 * @returns undefined when the segments are none that §C.7.9.2 knows, or give fewer entries
 */
function expandSegments(units: Uint8Array | Uint16Array, count: number, unit: 256 | 65536): Uint16Array | undefined {
  const entries = new Uint16Array(count);
  const offsetUnits = unit === 256 ? 4 : 2;
  let filled = 0;
  /** @returns where the next segment begins; -1 for what is no segment */
  const expandOne = (at: number, nested: boolean): number => {
    const opcode = units[at]!;
    const length = units[at + 1]!;
    const from = at + 2;
    // No segment is empty: it is the upper half of a word.
    if (length === 0) return -1;
    if (opcode === 0) {
      if (from + length > units.length) return -1;
      for (let i = 0; i < length && filled < count; i++) entries[filled++] = units[from + i]!;
      return from + length;
    }
    if (opcode === 1) {
      if (from >= units.length || filled === 0) return -1;
      const start = entries[filled - 1]!;
      const end = units[from]!;
      for (let i = 1; i <= length && filled < count; i++) {
        entries[filled++] = Math.round(start + ((end - start) * i) / length);
      }
      return from + 1;
    }
    if (opcode !== 2 || nested || from + offsetUnits > units.length) return -1;
    let offsetBytes = 0;
    for (let i = offsetUnits - 1; i >= 0; i--) offsetBytes = offsetBytes * unit + units[from + i]!;
    return expandRun((offsetBytes * offsetUnits) / 4, length, true) < 0 ? -1 : from + offsetUnits;
  };
  const expandRun = (from: number, segmentCount: number, nested: boolean): number => {
    let at = from;
    for (let done = 0; done < segmentCount && filled < count; done++) {
      if (at + 1 >= units.length || !Number.isInteger(at)) return -1;
      at = expandOne(at, nested);
      if (at < 0) return -1;
    }
    return at;
  };
  expandRun(0, Number.POSITIVE_INFINITY, false);
  return filled === count ? entries : undefined;
}

function tooShort(needed: number, found: number) {
  return cannotRender(`A lookup table has ${found} entries where its descriptor says ${needed}`, { needed, found });
}
