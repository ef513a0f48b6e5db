/**
 * JPEG lossless, processes 14 and 14 selection value 1 (ISO/IEC 10918-1 Annex H): 2 to 16 bits, one to four components,
 * every predictor, point transform and restart intervals. Huffman coding only.
 */
import { cannotRender } from './decoded-frame.ts';
import type { JpegHeader } from './jpeg-codestream.ts';
import { BitReader, emptyTables, type HuffmanTable, readScans, type Scan } from './jpeg-huffman.ts';

/**
 * @param header of the same bytes, already checked against the data set
 * @returns samples interleaved, in bytes up to a precision of 8
 * @throws ArchiveError `cannot-render`
 */
export function decodeJpegLossless(bytes: Uint8Array, header: JpegHeader): Uint8Array | Uint16Array {
  const { rows, columns, components, precision } = header;
  if (precision < 2 || precision > 16) throw cannotRender(`JPEG lossless with ${precision} bits does not exist`);
  if (components.some(({ horizontal, vertical }) => horizontal !== 1 || vertical !== 1)) {
    throw cannotRender('JPEG lossless with subsampled components cannot be rendered');
  }
  const count = rows * columns * components.length;
  const samples = precision <= 8 ? new Uint8Array(count) : new Uint16Array(count);
  const seen = new Set<number>();
  const tables = emptyTables();
  readScans(bytes, 0, tables, (scan) => {
    const planes = scan.components.map(({ id, dcTable }) => {
      const index = components.findIndex((component) => component.id === id);
      const table = tables.huffman[dcTable];
      if (index < 0 || table === undefined || seen.has(index)) {
        throw cannotRender('A JPEG scan names a component or a table that is not there');
      }
      seen.add(index);
      return { index, table };
    });
    decodeScan(scan, planes, header, tables.restartInterval, samples);
  });
  if (seen.size !== components.length) throw cannotRender('The JPEG frame lacks the scan of a component');
  return samples;
}

function decodeScan(
  scan: Scan,
  planes: readonly { readonly index: number; readonly table: HuffmanTable }[],
  header: JpegHeader,
  restartInterval: number,
  samples: Uint8Array | Uint16Array,
): void {
  const { rows, columns, precision, components } = header;
  const predictor = scan.spectralStart;
  const shift = scan.approximationLow;
  if (predictor < 1 || predictor > 7 || shift >= precision)
    throw cannotRender('A JPEG lossless scan header is damaged');
  if (restartInterval % columns !== 0) throw cannotRender('A JPEG restart interval does not end with a row (H.1.1)');
  const rowsPerInterval = restartInterval === 0 ? rows : restartInterval / columns;
  const stride = components.length;
  const rowSamples = columns * stride;
  const initial = 2 ** (precision - shift - 1);
  const [only] = planes;
  const short =
    stride === 1 && predictor === 1 && only !== undefined && samples instanceof Uint16Array
      ? shortCodes(only.table)
      : undefined;
  let reader: BitReader | undefined;
  for (let row = 0; row < rows; row++) {
    const firstRow = row % rowsPerInterval === 0;
    if (firstRow) {
      if (reader?.overrun) throw endsEarly(row);
      const interval = scan.intervals[row / rowsPerInterval];
      if (interval === undefined) throw endsEarly(row);
      reader = new BitReader(interval);
    }
    const start = row * rowSamples;
    if (short !== undefined && samples instanceof Uint16Array) {
      const first = firstRow ? initial : samples[start - rowSamples]!;
      decodeRowFromLeft(reader!, only!.table, short, samples, start, start + rowSamples, first);
    } else decodeRow(reader!, planes, samples, start, rowSamples, stride, firstRow ? 0 : predictor, initial);
    if (reader!.overrun) throw endsEarly(row);
  }
  if (shift > 0) {
    for (const { index } of planes)
      for (let i = index; i < samples.length; i += stride) samples[i] = samples[i]! << shift;
  }
}

/** @param predictor 1 to 7, or 0 for the first row of an interval, which predicts from the left only (H.1.2.1) */
function decodeRow(
  reader: BitReader,
  planes: readonly { readonly index: number; readonly table: HuffmanTable }[],
  samples: Uint8Array | Uint16Array,
  start: number,
  rowSamples: number,
  stride: number,
  predictor: number,
  initial: number,
): void {
  const end = start + rowSamples;
  for (let pixel = start; pixel < end; pixel += stride) {
    for (const { index, table } of planes) {
      const at = pixel + index;
      let prediction: number;
      if (pixel === start) prediction = predictor === 0 ? initial : samples[at - rowSamples]!;
      else if (predictor <= 1) prediction = samples[at - stride]!;
      else {
        const above = at - rowSamples;
        prediction = predict(predictor, samples[at - stride]!, samples[above]!, samples[above - stride]!);
      }
      samples[at] = prediction + difference(reader, table);
    }
  }
}

function difference(reader: BitReader, table: HuffmanTable): number {
  const category = reader.symbol(table);
  return category < 16 ? reader.signedBits(category) : 32768;
}

const SHORT_BITS = 11;

/**
 * Codes that are short with all their further bits, which nearly all are: the difference above 8 bits with the length, for every
 * beginning of SHORT_BITS; 0 where it takes more of them. Small enough to stay in the processor's nearest memory.
 */
function shortCodes(table: HuffmanTable): Int32Array {
  const codes = new Int32Array(1 << SHORT_BITS);
  for (let window = 0; window < codes.length; window++) {
    const entry = table[window << (16 - SHORT_BITS)]!;
    const category = entry & 0xff;
    const length = (entry >>> 8) + category;
    if (entry === 0 || length > SHORT_BITS) continue;
    const extra = (window >>> (SHORT_BITS - length)) & ((1 << category) - 1);
    const difference = category > 0 && extra < 1 << (category - 1) ? extra - (1 << category) + 1 : extra;
    codes[window] = (difference << 8) | length;
  }
  return codes;
}

/** The row of nearly every DICOM frame (selection value 1, one component): code and extra bits from one 32-bit window. */
function decodeRowFromLeft(
  reader: BitReader,
  table: HuffmanTable,
  short: Int32Array,
  samples: Uint16Array,
  start: number,
  end: number,
  first: number,
): void {
  const { bytes } = reader;
  let bit = reader.bit;
  let value = first;
  for (let i = start; i < end; i++) {
    const at = bit >>> 3;
    const window = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) << (bit & 7);
    const known = short[window >>> (32 - SHORT_BITS)]!;
    if (known !== 0) {
      value = (value + (known >> 8)) & 0xffff;
      bit += known & 0xff;
      samples[i] = value;
      continue;
    }
    const entry = table[window >>> 16]!;
    const length = entry >>> 8;
    const category = entry & 0xff;
    if (entry === 0 || category > 15 || length + category > 24) {
      reader.bit = bit;
      value = (value + difference(reader, table)) & 0xffff;
      bit = reader.bit;
    } else {
      if (category !== 0) {
        const extra = (window << length) >>> (32 - category);
        value = (value + (extra < 1 << (category - 1) ? extra - (1 << category) + 1 : extra)) & 0xffff;
      }
      bit += length + category;
    }
    samples[i] = value;
  }
  reader.bit = bit;
}

/** Table H.1, `a` left, `b` above, `c` above left. */
function predict(predictor: number, a: number, b: number, c: number): number {
  switch (predictor) {
    case 2:
      return b;
    case 3:
      return c;
    case 4:
      return a + b - c;
    case 5:
      return a + ((b - c) >> 1);
    case 6:
      return b + ((a - c) >> 1);
    default:
      return (a + b) >> 1;
  }
}

function endsEarly(row: number) {
  return cannotRender(`The JPEG data ends in row ${row + 1}`, { row: row + 1 });
}
