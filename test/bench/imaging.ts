/**
 * Milliseconds for one frame, a CT of 512 x 512 and a mammogram of 3000 x 4000, in each transfer syntax: decoding, the grayscale pipeline,
 * encoding and the whole, on one thread, next to native code in the same run. The least and the median of several runs; ratios are of the
 * least. Aims are printed beside, and not enforced. `npm run bench:imaging` goes on with rendered requests and volumes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import { encodePicture } from '#shared/imaging/encode.ts';
import { renderGray } from '#shared/imaging/lut.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import {
  type BenchFrame,
  EXPLICIT_LITTLE,
  frameIn,
  HTJ2K_RPCL,
  inEightBits,
  JPEG_BASELINE,
  madeCt,
  madeMammogram,
  type Subject,
  sampleFrames,
} from './imaging-frames.ts';
import {
  compileNativePeers,
  type Measured,
  type NativeFigures,
  type NativeName,
  type NativePeers,
} from './native-codecs.ts';

/** In the order of the table; of 16 bits, but JPEG. */
const codecs: readonly [string, string, NativeName | undefined][] = [
  ['HTJ2K', HTJ2K_RPCL, 'openjph'],
  ['JPEG 2000', '1.2.840.10008.1.2.4.90', 'openjpeg'],
  ['JPEG-LS', '1.2.840.10008.1.2.4.80', 'charls'],
  ['JPEG Lossless', '1.2.840.10008.1.2.4.70', undefined],
  ['JPEG XL', '1.2.840.10008.1.2.4.110', undefined],
  ['RLE', '1.2.840.10008.1.2.5', undefined],
  ['deflated frame', '1.2.840.10008.1.2.8.1', undefined],
];
const LARGE_PIXELS = 2_000_000;

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  try {
    const native = compileNativePeers(folder);
    for (const subject of [madeCt(), madeMammogram()]) await measureSubject(subject, native);
    await measureSamples();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const runsFor = ({ rows, columns }: Subject['attributes']): number => (rows * columns > LARGE_PIXELS ? 5 : 30);

async function measureSubject(subject: Subject, native: NativePeers): Promise<void> {
  const runs = runsFor(subject.attributes);
  title(`${subject.name}: decoding and lossless encoding, ms`, ['', 'bytes', 'decode', 'native', 'ratio', 'encode', 'native', 'ratio']); // biome-ignore format: a heading
  for (const [name, uid, peer] of codecs) {
    const isSlow = uid.endsWith('.4.90') || uid.endsWith('.4.110') || uid.endsWith('.8.1');
    await measureCodec(subject, await frameIn(subject, name, uid), peer, native, isSlow ? Math.ceil(runs / 5) : runs);
  }
  const small = inEightBits(subject);
  await measureCodec(small, await frameIn(small, 'JPEG, 8 bits', JPEG_BASELINE), 'turbojpeg', native, runs);
  note('aim: HTJ2K decode at most 2.2 x native');
  await measurePipeline(subject, native, runs);
}

async function measureCodec(
  { pixels, attributes }: Subject,
  one: BenchFrame,
  peer: NativeName | undefined,
  peers: NativePeers,
  runs: number,
): Promise<void> {
  const { frame, transferSyntaxUid } = one;
  const native = (): NativeFigures => (peer === undefined ? {} : peers(peer, one, pixels, runs));
  // Before and behind ours: what else the machine does then changes both.
  const before = native();
  const decode = await measure(runs, () => decodeFrame(frame, transferSyntaxUid, attributes));
  const encode = await measure(
    runs,
    () =>
    transcodeFrame({ frame: pixels, fromTransferSyntaxUid: EXPLICIT_LITTLE, toTransferSyntaxUid: transferSyntaxUid, attributes }), // biome-ignore format: one call
  );
  const behind = native();
  const [nativeDecode, nativeEncode] = [better(before.decode, behind.decode), better(before.encode, behind.encode)];
  row([
    one.name,
    String(frame.length),
    shown(decode),
    shown(nativeDecode),
    ratio(decode, nativeDecode),
    shown(encode),
    shown(nativeEncode),
    ratio(encode, nativeEncode),
  ]);
}

/** What a picture goes through once it is decoded, and the whole way. */
async function measurePipeline(subject: Subject, native: NativePeers, runs: number): Promise<void> {
  const { attributes } = subject;
  const { columns: width, rows: height } = attributes;
  const plain = await frameIn(subject, 'native', EXPLICIT_LITTLE);
  const htj2k = await frameIn(subject, 'HTJ2K', HTJ2K_RPCL);
  const decoded = await decodeFrame(plain.frame, plain.transferSyntaxUid, attributes);
  const picture = { width, height, channels: 1, pixels: renderGray(decoded, attributes).pixels } as const;
  const small = { ...inEightBits(subject), pixels: picture.pixels };
  const jpeg = native('turbojpeg', await frameIn(small, 'JPEG', JPEG_BASELINE), picture.pixels, runs).encode;
  const isLarge = width * height > LARGE_PIXELS;
  title(`${subject.name}: from pixels to a picture, ms`, ['', '', 'archipel', 'native', 'ratio']);
  const compare = async (name: string, work: () => unknown, peer?: Measured, aim = ''): Promise<void> => {
    const ours = await measure(runs, async () => work());
    row([name, '', shown(ours), shown(peer), ratio(ours, peer), aim]);
  };
  const rendered = ({ frame, transferSyntaxUid }: BenchFrame, viewport?: { width: number; height: number }) =>
    renderFrame({ frame, transferSyntaxUid, attributes, mediaType: 'image/jpeg', ...(viewport && { viewport }) });
  const wholeAim = `aim: ${isLarge ? 100 : 5} ms`;
  const fit = { width: width >> 2, height: height >> 2 };
  await compare('LUT', () => renderGray(decoded, attributes), native('lut', plain, plain.frame, runs).decode, 'aim: at most 1.6 x native'); // biome-ignore format: a row
  await compare('encode JPEG', () => encodePicture(picture, 'image/jpeg'), jpeg);
  await compare('encode PNG', () => encodePicture(picture, 'image/png'));
  await compare('whole, of native pixels', () => rendered(plain), undefined, wholeAim);
  await compare('whole, of HTJ2K', () => rendered(htj2k), undefined, wholeAim);
  await compare('a quarter of each side, of native', () => rendered(plain, fit));
  await compare('a quarter of each side, of HTJ2K', () => rendered(htj2k, fit));
}

async function measureSamples(): Promise<void> {
  const frames = await sampleFrames();
  if (frames.length === 0) return;
  title('samples: ms', ['', 'size', 'decode', 'whole']);
  for (const { name, frame, transferSyntaxUid, attributes } of frames) {
    const runs = runsFor(attributes);
    const decode = await measure(runs, () => decodeFrame(frame, transferSyntaxUid, attributes));
    const whole = await measure(runs, () => renderFrame({ frame, transferSyntaxUid, attributes, mediaType: 'image/jpeg' })); // biome-ignore format: one call
    row([name, `${attributes.columns}x${attributes.rows}`, shown(decode), shown(whole)]);
  }
}

async function measure(runs: number, work: () => Promise<unknown>): Promise<Measured> {
  await work();
  await work();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { least: times[0]!, median: times[times.length >> 1]! };
}

const better = (a: Measured | undefined, b: Measured | undefined): Measured | undefined =>
  a === undefined || b === undefined || a.least < b.least ? a : b;

const shown = (measured: Measured | undefined): string =>
  measured === undefined ? '-' : `${measured.least.toFixed(2)} / ${measured.median.toFixed(2)}`;

const ratio = (ours: Measured, peer: Measured | undefined): string =>
  peer === undefined ? '' : `${(ours.least / peer.least).toFixed(2)} x`;

const widths = [36, 12, 18, 18, 9, 18, 18, 9];

function row(cells: readonly string[]): void {
  console.log(`  ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('')}`.trimEnd());
}

function title(text: string, heads: readonly string[]): void {
  console.log(`\n${text} (least / median)`);
  row(heads);
}

const note = (text: string): void => console.log(`  ${text}`);
