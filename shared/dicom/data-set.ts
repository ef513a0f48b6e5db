/**
 * A data set as the reader leaves it: elements in the order of the encoding, values as encoded bytes, nothing decoded
 * that nobody asked for. Values too long to hold (bulk) and Pixel Data stay where they lie and are described by offset
 * and length. PS3.5 §7. Reading is part10.ts; text is charset.ts; JSON is dicom-json.ts.
 */

/** Bytes as characters of ISO 8859-1, of which the default repertoire (PS3.5 §6.1.1) is a part. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > 48) return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
  let text = '';
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/** Value Representations of PS3.5 §6.2. */
export type Vr =
  | 'AE' | 'AS' | 'AT' | 'CS' | 'DA' | 'DS' | 'DT' | 'FD' | 'FL' | 'IS' | 'LO' | 'LT' | 'OB' | 'OD' | 'OF' | 'OL' | 'OV'
  | 'OW' | 'PN' | 'SH' | 'SL' | 'SQ' | 'SS' | 'ST' | 'SV' | 'TM' | 'UC' | 'UI' | 'UL' | 'UN' | 'UR' | 'US' | 'UT' | 'UV'; // biome-ignore format: a table reads better

export interface Element {
  /** 0xGGGGEEEE, unsigned. */
  readonly tag: number;
  readonly vr: Vr;
  /** Of the first byte of the value, counted from the first byte of the source (for deflated data sets: of the inflated data set). */
  readonly offsetBytes: number;
  /** Of the value as encoded; for undefined lengths, up to the delimiter, which is not counted. */
  readonly lengthBytes: number;
  /** The encoded value; undefined for sequences and for bulk values that were left where they lie. */
  readonly value: Uint8Array | undefined;
  /** Sequence items; undefined for everything that is not a sequence. */
  readonly items: readonly DataSet[] | undefined;
}

export class DataSet {
  readonly littleEndian: boolean;
  /** Specific Character Set (0008,0005) in force: its own, or the enclosing data set's (PS3.5 §6.1.2.5). Defined Terms, trimmed. */
  characterSets: readonly string[];

  /** In the order of the encoding; ascending as long as there is no map. */
  readonly #list: Element[] = [];
  /** Made when somebody asks for it, or when a tag is out of order; then it, not the list, is what counts. */
  #map: Map<number, Element> | undefined;
  #highestTag = -1;

  constructor(littleEndian: boolean, characterSets: readonly string[] = []) {
    this.littleEndian = littleEndian;
    this.characterSets = characterSets;
  }

  /** By tag, in the order of the encoding. Where one or two elements are wanted, `get` is cheaper. */
  get elements(): Map<number, Element> {
    this.#map ??= new Map(this.#list.map((element) => [element.tag, element]));
    return this.#map;
  }

  /** All elements in ascending order of tags, which is nearly always that of the encoding. */
  ascending(): readonly Element[] {
    return this.#map === undefined ? this.#list : [...this.#map.values()].sort((a, b) => a.tag - b.tag);
  }

  /** Adds an element behind the others. False, and nothing is added, when there is one with its tag already. */
  append(element: Element): boolean {
    const ascending = element.tag > this.#highestTag;
    if (ascending) this.#highestTag = element.tag;
    if (ascending && this.#map === undefined) {
      this.#list.push(element);
      return true;
    }
    const map = this.elements;
    if (map.has(element.tag)) return false;
    map.set(element.tag, element);
    return true;
  }

  /** Of the elements so far; -1 while there are none. */
  get highestTag(): number {
    return this.#highestTag;
  }

  get(tag: number): Element | undefined {
    if (this.#map !== undefined) return this.#map.get(tag);
    const list = this.#list;
    let low = 0;
    let high = list.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const element = list[middle] as Element;
      if (element.tag === tag) return element;
      if (element.tag < tag) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  /** The value as characters of the default repertoire, padding trimmed, undefined when absent or empty: for UI, CS, DA, TM, IS, DS, AE. */
  ascii(tag: number): string | undefined {
    const value = this.get(tag)?.value;
    if (value === undefined) return undefined;
    let start = 0;
    let end = value.length;
    while (end > start && (value[end - 1] === 0x20 || value[end - 1] === 0)) end--;
    while (start < end && value[start] === 0x20) start++;
    if (start === end) return undefined;
    return latin1(value, start, end);
  }

  /** The first number of a US, SS, UL, SL, FL, FD, IS or DS value; undefined when absent, empty or not a number. */
  number(tag: number): number | undefined {
    const element = this.get(tag);
    const value = element?.value;
    if (element === undefined || value === undefined || value.length === 0) return undefined;
    const width = numericWidth[element.vr];
    if (width === undefined) {
      const number = Number.parseFloat((this.ascii(tag) ?? '').split('\\')[0] ?? '');
      return Number.isFinite(number) ? number : undefined;
    }
    if (value.length < width) return undefined;
    if (element.vr === 'US') return this.littleEndian ? value[0]! | (value[1]! << 8) : value[1]! | (value[0]! << 8);
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    switch (element.vr) {
      case 'SS':
        return view.getInt16(0, this.littleEndian);
      case 'UL':
        return view.getUint32(0, this.littleEndian);
      case 'SL':
        return view.getInt32(0, this.littleEndian);
      case 'FL':
        return view.getFloat32(0, this.littleEndian);
      default:
        return view.getFloat64(0, this.littleEndian);
    }
  }
}

const numericWidth: Partial<Record<Vr, number>> = { US: 2, SS: 2, UL: 4, SL: 4, FL: 4, FD: 8 };
