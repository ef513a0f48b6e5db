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

/** @throws ArchiveError `cannot-render` when one of the three palettes is missing or damaged */
export function paletteOf(metadata: DicomJson, signedInput: boolean, bulk: BulkReader | undefined): Palette {
  const [red, green, blue] = [1, 2, 3].map((channel) => {
    const descriptorTag = `0028110${channel}`;
    const plain = lookupTable(metadata, descriptorTag, `0028120${channel}`, signedInput, bulk);
    const table = plain ?? segmentedTable(metadata, descriptorTag, `0028122${channel}`, signedInput, bulk);
    if (table === undefined) throw cannotRender('PALETTE COLOR needs three palettes, and one is missing');
    return table;
  });
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
  const bytes =
    element.InlineBinary !== undefined
      ? new Uint8Array(Buffer.from(element.InlineBinary, 'base64'))
      : element.BulkDataURI !== undefined
        ? bulk?.(element.BulkDataURI)
        : undefined;
  if (bytes === undefined) return undefined;
  if (bytes.length < count * 2 && bytes.length >= count) return Uint16Array.from(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint16Array(bytes.length >> 1);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint16(2 * i, true);
  return words;
}

/** §C.7.9.2: discrete (0), linear (1) and indirect (2) segments, expanded up to the count that the descriptor names. */
function segmentedTable(
  metadata: DicomJson,
  descriptorTag: string,
  dataTag: string,
  signedInput: boolean,
  bulk: BulkReader | undefined,
): LookupTable | undefined {
  const descriptor = descriptorOf(metadata[descriptorTag], signedInput);
  const data = metadata[dataTag];
  const segments = data === undefined ? undefined : wordsOf(data, bulk, 0);
  if (descriptor === undefined || segments === undefined) return undefined;
  const entries = new Uint16Array(descriptor.count);
  let filled = 0;
  const expand = (from: number, segmentCount: number, nested: boolean): number => {
    let at = from;
    for (let done = 0; done < segmentCount && at + 1 < segments.length && filled < entries.length; done++) {
      const opcode = segments[at]!;
      const length = segments[at + 1]!;
      at += 2;
      if (opcode === 0) {
        for (let i = 0; i < length && filled < entries.length; i++) entries[filled++] = segments[at + i] ?? 0;
        at += length;
      } else if (opcode === 1) {
        const start = filled === 0 ? 0 : entries[filled - 1]!;
        const end = segments[at++] ?? 0;
        for (let i = 1; i <= length && filled < entries.length; i++) {
          entries[filled++] = Math.round(start + ((end - start) * i) / length);
        }
      } else if (opcode === 2 && !nested) {
        const target = (segments[at] ?? 0) + 65536 * (segments[at + 1] ?? 0);
        at += 2;
        expand(target / 2, length, true);
      } else {
        throw cannotRender('A segmented palette holds a segment that PS3.3 C.7.9.2 does not know', { opcode });
      }
    }
    return at;
  };
  expand(0, Number.POSITIVE_INFINITY, false);
  if (filled < entries.length) throw tooShort(descriptor.count, filled);
  return { firstMapped: descriptor.firstMapped, entries, bits: descriptor.bits };
}

function tooShort(needed: number, found: number) {
  return cannotRender(`A lookup table has ${found} entries where its descriptor says ${needed}`, { needed, found });
}
