/**
 * How many headers a second our reader reads beside dicom-parser and dcmjs, out of memory: up to Pixel Data, and on to the
 * values of the indexed attributes. On a generated CT slice and on the samples that all three can read, if they are here.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { indexedAttributes } from '#shared/archive/records.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { tagKey } from '#shared/dicom/tags.ts';
import { type MadeElement, makeInstance } from '#test/support/dicom-factory.ts';
import { sampleFiles } from '#test/support/samples.ts';

interface ParserDataSet {
  elements: Readonly<Record<string, { vr?: string; items?: readonly unknown[] } | undefined>>;
  string(tag: string): string | undefined;
  uint16(tag: string): number | undefined;
}
interface DicomParser {
  parseDicom(bytes: Uint8Array, options: object): ParserDataSet;
}
interface Dcmjs {
  data: {
    DicomMessage: { readFile(buffer: ArrayBuffer, options: object): { dict: Record<string, { Value?: unknown }> } };
  };
  log: { setLevel(level: string): void };
}

const require = createRequire(import.meta.url);
const only = new Set(indexedAttributes.map(({ tag }) => tag));
const keys = indexedAttributes.map(({ tag }) => tagKey(tag));
const parserKeys = indexedAttributes.map(({ tag, vr }) => ({
  key: `x${tagKey(tag).toLowerCase()}`,
  isNumber: vr === 'US',
}));

type Read = (bytes: Uint8Array) => unknown;
/** What the results are held in, so that nothing is optimised away. */
let sink: unknown;

/** Files a second: the best of several rounds, so that other work on the machine counts least. */
function filesPerSecond(read: Read, files: readonly Uint8Array[]): number {
  let best = 0;
  for (let round = 0; round < 4; round++) {
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < 500) {
      for (const file of files) sink = read(file);
      count += files.length;
    }
    best = Math.max(best, (count * 1000) / (performance.now() - start));
  }
  return best;
}

function readers(): Record<string, { header: Read; values: Read }> {
  const parser = require('dicom-parser') as DicomParser;
  const dcmjs = require('dcmjs') as Dcmjs;
  dcmjs.log.setLevel('silent');
  const parse = (bytes: Uint8Array) => parser.parseDicom(bytes, { untilTag: 'x7fe00010' });
  const dcmjsRead = (bytes: Uint8Array) =>
    dcmjs.data.DicomMessage.readFile(bytes.buffer as ArrayBuffer, {
      untilTag: '7FE00010',
      includeUntilTagValue: false,
    });
  return {
    archipel: {
      header: (bytes) => readHeader(bytes),
      values: (bytes) => toDicomJson(readHeader(bytes).dataSet, { only }),
    },
    'dicom-parser': {
      header: parse,
      values: (bytes) => {
        const dataSet = parse(bytes);
        return parserKeys.map(({ key, isNumber }) =>
          dataSet.elements[key] === undefined ? undefined : isNumber ? dataSet.uint16(key) : dataSet.string(key),
        );
      },
    },
    dcmjs: {
      header: dcmjsRead,
      values: (bytes) => {
        const { dict } = dcmjsRead(bytes);
        return keys.map((key) => dict[key]?.Value);
      },
    },
  };
}

/** A slice as scanners send it: some hundred elements, a few sequences, private groups. */
function generatedCt(): Uint8Array {
  const code: MadeElement[] = [
    { tag: 0x00080100, vr: 'SH', value: '121327' },
    { tag: 0x00080102, vr: 'SH', value: 'DCM' },
    { tag: 0x00080104, vr: 'LO', value: 'Full fidelity image' },
  ];
  const extra: MadeElement[] = [
    { tag: 0x00080005, vr: 'CS', value: 'ISO_IR 100' },
    { tag: 0x00081140, vr: 'SQ', value: [code, code] },
    { tag: 0x00089215, vr: 'SQ', value: [code] },
    { tag: 0x00280030, vr: 'DS', value: '0.9765625\\0.9765625' },
    { tag: 0x00400275, vr: 'SQ', value: [code] },
  ];
  for (let i = 0; i < 40; i++) extra.push({ tag: 0x00181000 + i, vr: 'DS', value: `${i}.5` });
  for (let i = 0; i < 30; i++) extra.push({ tag: 0x00091000 + i, vr: 'LO', value: `private ${i}` });
  return makeInstance({ rows: 512, columns: 512, extra }).file;
}

/** A fixed choice of the samples, as bytes of their own buffers; those that one of the readers cannot read are left out. */
function samples(all: readonly Read[]): { files: Uint8Array[]; leftOut: number } {
  const paths = ['series-ct', 'series-mr', 'modalities', 'multiframe', 'transfer-syntaxes']
    .flatMap((folder) => sampleFiles(folder).filter((path) => path.endsWith('.dcm')))
    .filter((_, i) => i % 4 === 0);
  const files = paths.map((path) => new Uint8Array(readFileSync(path))).filter((bytes) => bytes.length < 2_000_000);
  const readable = files.filter((file) =>
    all.every((read) => {
      try {
        read(file);
        return true;
      } catch {
        return false;
      }
    }),
  );
  return { files: readable, leftOut: files.length - readable.length };
}

function table(name: string, files: readonly Uint8Array[], all: ReturnType<typeof readers>): void {
  process.stdout.write(`\n${name}\n`);
  const columns = ['header', 'values'] as const;
  process.stdout.write(
    `${'files/s'.padEnd(16)}${columns.map((column) => column.padStart(12)).join('')}   ours / theirs\n`,
  );
  const ours = columns.map((column) => filesPerSecond(all.archipel![column], files));
  for (const [reader, reads] of Object.entries(all)) {
    const rates = reader === 'archipel' ? ours : columns.map((column) => filesPerSecond(reads[column], files));
    const ratios = rates.map((rate, i) => `${((ours[i] ?? 0) / rate).toFixed(1)}x`).join(' / ');
    process.stdout.write(
      `${reader.padEnd(16)}${rates.map((rate) => Math.round(rate).toLocaleString('en').padStart(12)).join('')}   ${reader === 'archipel' ? '' : ratios}\n`,
    );
  }
}

/** Prints files/s: `header` up to Pixel Data, `values` also the indexed attributes decoded (ours: as DICOM JSON). */
export async function run(): Promise<void> {
  const all = readers();
  const { console } = globalThis;
  const warn = console.warn;
  console.warn = () => {};
  try {
    const generated = generatedCt();
    table(`A generated CT slice of ${readHeader(generated).dataSet.elements.size} elements`, [generated], all);
    const { files, leftOut } = samples(Object.values(all).flatMap(({ header, values }) => [header, values]));
    if (files.length > 0) {
      table(`${files.length} samples (${leftOut} that not all of them can read are left out)`, files, all);
    }
  } finally {
    console.warn = warn;
  }
  if (sink === undefined) process.stdout.write('\n');
}
