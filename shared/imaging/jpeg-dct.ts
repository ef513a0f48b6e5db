/**
 * JPEG with the discrete cosine transform, sequential and progressive, 8 and 12 bits (ISO/IEC 10918-1 Annex F and G):
 * the 12-bit extended and the progressive processes that DICOM has and 8-bit libraries lack. Huffman coding only.
 * Colours stay as they are coded; the inverse transform is jpeg-idct.ts.
 */
import { cannotRender } from './decoded-frame.ts';
import type { JpegHeader } from './jpeg-codestream.ts';
import { BitReader, emptyTables, type HuffmanTable, type JpegTables, readScans, type Scan } from './jpeg-huffman.ts';
import { inverseTransform, ZIGZAG } from './jpeg-idct.ts';

interface Plane {
  readonly id: number;
  readonly horizontal: number;
  readonly vertical: number;
  readonly quantTable: number;
  /** Blocks that hold image, and blocks with the padding that interleaved scans carry. */
  readonly blockColumns: number;
  readonly blockRows: number;
  readonly paddedColumns: number;
  readonly coefficients: Int16Array;
  quantisation: Uint16Array | undefined;
  prediction: number;
}

interface ScanPlane {
  readonly plane: Plane;
  readonly dc: HuffmanTable | undefined;
  readonly ac: HuffmanTable | undefined;
}

type BlockDecoder = (reader: BitReader, of: ScanPlane, at: number) => void;

/**
 * @param header of the same bytes, already checked against the data set
 * @returns samples interleaved, chroma repeated up to the size of luma; bytes for a precision of 8
 * @throws ArchiveError `cannot-render`
 */
export function decodeJpegDct(bytes: Uint8Array, header: JpegHeader): Uint8Array | Uint16Array {
  const { rows, columns, components, precision } = header;
  if (precision !== 8 && precision !== 12)
    throw cannotRender(`A JPEG process with DCT has 8 or 12 bits, not ${precision}`);
  const widest = Math.max(...components.map((component) => component.horizontal));
  const tallest = Math.max(...components.map((component) => component.vertical));
  const unitColumns = Math.ceil(columns / (8 * widest));
  const unitRows = Math.ceil(rows / (8 * tallest));
  const planes = components.map(({ id, horizontal, vertical, quantTable }): Plane => {
    const paddedColumns = unitColumns * horizontal;
    return {
      id,
      horizontal,
      vertical,
      quantTable,
      blockColumns: Math.ceil((columns * horizontal) / widest / 8),
      blockRows: Math.ceil((rows * vertical) / tallest / 8),
      paddedColumns,
      coefficients: new Int16Array(64 * paddedColumns * unitRows * vertical),
      quantisation: undefined,
      prediction: 0,
    };
  });
  const tables = emptyTables();
  readScans(bytes, 0, tables, (scan) => {
    decodeScan(scan, scanPlanes(scan, planes, tables), header.process === 0xc2, tables, unitColumns, unitRows);
  });
  const count = components.length;
  const samples = precision === 8 ? new Uint8Array(rows * columns * count) : new Uint16Array(rows * columns * count);
  planes.forEach((plane, index) => {
    if (plane.quantisation === undefined) throw cannotRender('The JPEG frame lacks the scan of a component');
    const stepX = widest / plane.horizontal;
    const stepY = tallest / plane.vertical;
    const values = inverseTransform(plane.coefficients, plane.quantisation, plane.paddedColumns, precision);
    const width = plane.paddedColumns * 8;
    for (let row = 0; row < rows; row++) {
      const from = Math.floor(row / stepY) * width;
      let to = row * columns * count + index;
      for (let column = 0; column < columns; column++, to += count) {
        samples[to] = values[from + (stepX === 1 ? column : Math.floor(column / stepX))]!;
      }
    }
  });
  return samples;
}

/** A component's quantisation table is the one in force at its first scan. */
function scanPlanes(scan: Scan, planes: readonly Plane[], tables: JpegTables): ScanPlane[] {
  return scan.components.map(({ id, dcTable, acTable }) => {
    const plane = planes.find((candidate) => candidate.id === id);
    if (plane === undefined) throw cannotRender('A JPEG scan names a component that is not there');
    plane.quantisation ??= tables.quantisation[plane.quantTable];
    if (plane.quantisation === undefined) throw cannotRender('A JPEG component has no quantisation table');
    return { plane, dc: tables.huffman[dcTable], ac: tables.huffman[acTable] };
  });
}

function decodeScan(
  scan: Scan,
  scanned: readonly ScanPlane[],
  progressive: boolean,
  tables: JpegTables,
  unitColumns: number,
  unitRows: number,
): void {
  const { spectralStart, spectralEnd, approximationHigh, approximationLow } = scan;
  if (spectralStart > spectralEnd || spectralEnd > 63 || approximationLow > 13) {
    throw cannotRender('A JPEG scan header is damaged');
  }
  if (progressive && spectralStart > 0 && scanned.length > 1) {
    throw cannotRender('A progressive JPEG scan of AC coefficients has more than one component');
  }
  const decodeBlock = progressive
    ? progressiveBlock(spectralStart, spectralEnd, approximationHigh, approximationLow)
    : sequentialBlock;
  const [only] = scanned;
  const single = scanned.length === 1 && only !== undefined;
  const units = single ? only.plane.blockColumns * only.plane.blockRows : unitColumns * unitRows;
  const perInterval = tables.restartInterval === 0 ? units : tables.restartInterval;
  let unit = 0;
  for (const interval of scan.intervals) {
    if (unit >= units) break;
    const reader = new BitReader(interval);
    for (const { plane } of scanned) plane.prediction = 0;
    decodeBlock.restart?.();
    for (const stop = Math.min(unit + perInterval, units); unit < stop; unit++) {
      if (single) {
        const { blockColumns, paddedColumns } = only.plane;
        decodeBlock.decode(
          reader,
          only,
          64 * (Math.floor(unit / blockColumns) * paddedColumns + (unit % blockColumns)),
        );
      } else {
        const unitRow = Math.floor(unit / unitColumns);
        const unitColumn = unit % unitColumns;
        for (const of of scanned) {
          const { horizontal, vertical, paddedColumns } = of.plane;
          for (let v = 0; v < vertical; v++) {
            const first = (unitRow * vertical + v) * paddedColumns + unitColumn * horizontal;
            for (let h = 0; h < horizontal; h++) decodeBlock.decode(reader, of, 64 * (first + h));
          }
        }
      }
      if (reader.overrun) throw cannotRender('The JPEG data ends before the last block');
    }
  }
  if (unit < units) throw cannotRender('The JPEG data ends before the last block');
}

interface BlockCoding {
  readonly decode: BlockDecoder;
  readonly restart?: () => void;
}

function tableOf(table: HuffmanTable | undefined): HuffmanTable {
  if (table === undefined) throw cannotRender('A JPEG scan names a Huffman table that is not there');
  return table;
}

const sequentialBlock: BlockCoding = {
  decode(reader, { plane, dc, ac }, at) {
    const { coefficients } = plane;
    const acTable = tableOf(ac);
    plane.prediction += reader.signedBits(reader.symbol(tableOf(dc)) & 15);
    coefficients[at] = plane.prediction;
    for (let k = 1; k < 64; k++) {
      const symbol = reader.symbol(acTable);
      const size = symbol & 15;
      const run = symbol >> 4;
      if (size === 0) {
        if (run !== 15) return;
        k += 15;
        continue;
      }
      k += run;
      if (k > 63) throw cannotRender('A JPEG block has more than 64 coefficients');
      coefficients[at + ZIGZAG[k]!] = reader.signedBits(size);
    }
  },
};

/** Annex G: spectral selection and successive approximation. */
function progressiveBlock(start: number, end: number, high: number, low: number): BlockCoding {
  let endOfBandRun = 0;
  const restart = () => {
    endOfBandRun = 0;
  };
  if (start === 0) {
    if (high === 0) {
      return {
        decode(reader, { plane, dc }, at) {
          plane.prediction += reader.signedBits(reader.symbol(tableOf(dc)) & 15);
          plane.coefficients[at] = plane.prediction << low;
        },
      };
    }
    return {
      decode(reader, { plane }, at) {
        if (reader.bits(1)) plane.coefficients[at] = plane.coefficients[at]! | (1 << low);
      },
    };
  }
  if (high === 0) {
    return {
      restart,
      decode(reader, { plane, ac }, at) {
        if (endOfBandRun > 0) {
          endOfBandRun--;
          return;
        }
        const table = tableOf(ac);
        for (let k = start; k <= end; k++) {
          const symbol = reader.symbol(table);
          const size = symbol & 15;
          const run = symbol >> 4;
          if (size === 0 && run < 15) {
            endOfBandRun = (1 << run) - 1 + reader.bits(run);
            return;
          }
          k += run;
          if (size === 0) continue;
          if (k > end) throw cannotRender('A JPEG block has more than 64 coefficients');
          plane.coefficients[at + ZIGZAG[k]!] = reader.signedBits(size) << low;
        }
      },
    };
  }
  const refine = (reader: BitReader, coefficients: Int16Array, at: number) => {
    const value = coefficients[at]!;
    if (reader.bits(1) && (Math.abs(value) & (1 << low)) === 0) {
      coefficients[at] = value + (value < 0 ? -(1 << low) : 1 << low);
    }
  };
  return {
    restart,
    decode(reader, { plane, ac }, at) {
      const { coefficients } = plane;
      const table = tableOf(ac);
      let k = start;
      if (endOfBandRun === 0) {
        for (; k <= end; k++) {
          const symbol = reader.symbol(table);
          const size = symbol & 15;
          let run = symbol >> 4;
          let value = 0;
          if (size === 0) {
            if (run < 15) {
              endOfBandRun = (1 << run) + reader.bits(run);
              break;
            }
          } else value = reader.bits(1) ? 1 << low : -(1 << low);
          // Coefficients with a history are refined on the way; only those without one count as zeros of the run.
          for (; k <= end; k++) {
            const to = at + ZIGZAG[k]!;
            if (coefficients[to] !== 0) refine(reader, coefficients, to);
            else if (run-- === 0) {
              if (value !== 0) coefficients[to] = value;
              break;
            }
          }
        }
      }
      if (endOfBandRun > 0) {
        for (; k <= end; k++) {
          const to = at + ZIGZAG[k]!;
          if (coefficients[to] !== 0) refine(reader, coefficients, to);
        }
        endOfBandRun--;
      }
    },
  };
}
