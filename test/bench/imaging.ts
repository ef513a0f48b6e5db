/**
 * Milliseconds for one frame, a CT of 512 x 512 and a mammogram of some 3000 x 4000, in each transfer syntax: decoding,
 * the grayscale pipeline, encoding, and the whole. The CT is one slice in many syntaxes out of the samples; large frames
 * are the samples' own, and one made here. Single thread; the least and the median of several runs.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { canDecode, decodeFrame } from '#shared/imaging/codecs.ts';
import { encodePicture } from '#shared/imaging/encode.ts';
import { type ImageAttributes, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { renderGray } from '#shared/imaging/lut.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { attributesWith } from '#test/shared/imaging/image-fixture.ts';
import { openSample } from '#test/shared/imaging/sample-frames.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';

interface Subject {
  readonly name: string;
  readonly frame: Uint8Array;
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
}

export async function run(): Promise<void> {
  print(['frame', 'size', 'decode', 'LUT', 'JPEG', 'PNG', 'whole (JPEG)']);
  for (const subject of [...(await sampleSubjects()), syntheticMammogram()]) {
    const { frame, transferSyntaxUid, attributes } = subject;
    const { columns, rows } = attributes;
    const runs = columns * rows > 2_000_000 ? 5 : 20;
    const decoded = await decodeFrame(frame, transferSyntaxUid, attributes);
    const { pixels } = renderGray(decoded, attributes);
    const picture = { width: columns, height: rows, channels: 1, pixels } as const;
    print([
      subject.name,
      `${columns}x${rows}`,
      await measure(runs, () => decodeFrame(frame, transferSyntaxUid, attributes)),
      await measure(runs, async () => renderGray(decoded, attributes)),
      await measure(runs, () => encodePicture(picture, 'image/jpeg')),
      await measure(runs, () => encodePicture(picture, 'image/png')),
      await measure(runs, () => renderFrame({ frame, transferSyntaxUid, attributes, mediaType: 'image/jpeg' })),
    ]);
  }
  process.stdout.write('milliseconds: least / median\n');
}

async function sampleSubjects(): Promise<Subject[]> {
  const root = samplesFolder();
  if (root === undefined) return [];
  const files = [
    ...sampleFiles('transfer-syntaxes/ct-one-image'),
    ...['transfer-syntaxes/htj2k/CT1_JPH.dcm', 'modalities/cr-dx-mg/GH133.dcm', 'modalities/cr-dx-mg/RG1_J2KI.dcm'].map(
      (file) => join(root, file),
    ),
    ...['modalities/cr-dx-mg/RG3_J2KR.dcm', 'transfer-syntaxes/htj2k/RG3_JPH.dcm'].map((file) => join(root, file)),
  ];
  const subjects: Subject[] = [];
  for (const file of files.filter((path) => path.endsWith('.dcm') && existsSync(path))) {
    const sample = await openSample(file);
    if (sample.count === 0 || !canDecode(sample.transferSyntaxUid)) continue;
    subjects.push({
      name: sample.transferSyntaxUid,
      frame: sample.frame(1).bytes,
      transferSyntaxUid: sample.transferSyntaxUid,
      attributes: imageAttributesOf(sample.metadata, 1),
    });
  }
  return subjects;
}

/** Smooth as tissue, with the grain of a detector; native, so that LUT and encoding show at full size. */
function syntheticMammogram(): Subject {
  const attributes = attributesWith({ rows: 4000, columns: 3000, bitsStored: 12, highBit: 11, inverse: true });
  const cells = new Uint16Array(attributes.rows * attributes.columns);
  for (let row = 0, i = 0; row < attributes.rows; row++) {
    for (let column = 0; column < attributes.columns; column++, i++) {
      const tissue = 2000 + 900 * Math.sin(row / 400) * Math.cos(column / 300);
      cells[i] = tissue + ((Math.imul(i, 2654435761) >>> 24) & 31);
    }
  }
  return {
    name: '1.2.840.10008.1.2.1 (made)',
    frame: new Uint8Array(cells.buffer),
    transferSyntaxUid: '1.2.840.10008.1.2.1',
    attributes,
  };
}

async function measure(runs: number, work: () => Promise<unknown>): Promise<string> {
  await work();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return `${times[0]!.toFixed(2)} / ${times[times.length >> 1]!.toFixed(2)}`;
}

const widths = [28, 12, 18, 16, 16, 16, 18];

function print(cells: readonly string[]): void {
  process.stdout.write(`${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('')}\n`);
}
