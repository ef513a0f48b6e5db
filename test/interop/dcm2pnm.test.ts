/**
 * Rendered pictures of real files against DCMTK's dcm2pnm with the same explicit window, on every file that it can read. Where the two
 * differ on purpose, the arbiter of the standard's formulas says who is right.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { DecodedFrame } from '#shared/imaging/decoded-frame.ts';
import { type ImageAttributes, imageAttributesOf, type Window } from '#shared/imaging/image-attributes.ts';
import { rangeWindow } from '#shared/imaging/lut.ts';
import { overlaysOf } from '#shared/imaging/overlay.ts';
import { renderPicture } from '#shared/imaging/render.ts';
import type { Picture } from '#shared/imaging/resample.ts';
import { shutterOf } from '#shared/imaging/shutter.ts';
import { grayOf } from '#test/shared/imaging/arbiter.ts';
import { openSample, type SampleImage } from '#test/shared/imaging/sample-frames.ts';
import { samplesFolder, sampleTable } from '#test/support/samples.ts';
import { pnmProgramFor, renderWithDcmtk } from './dcm2pnm.ts';
import { hasPrograms } from './dcmtk.ts';

const root = samplesFolder();
const isPossible = root !== undefined && hasPrograms('dcm2pnm', 'dcmj2pnm', 'dcml2pnm');
/** Of the long series some slices are enough. */
const rows = sampleTable('REFERENCE.csv').filter(
  ({ file, error }, i) => error === '' && (!file!.startsWith('series-') || i % 40 === 0),
);
const folder = mkdtempSync(join(tmpdir(), 'archipel-dcm2pnm-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** dcm2pnm passes over functional groups: the rescale and the colours of a frame are not in its pictures. */
const usesGroups = (sample: SampleImage): boolean =>
  sample.metadata['52009230'] !== undefined || sample.metadata['52009229'] !== undefined;
/** Its 12-bit inverse DCT is rounded otherwise: stored values may differ by this much. */
const JPEG_EXTENDED = '1.2.840.10008.1.2.4.51';
const ROUNDED_BY = 2;

interface Frame {
  readonly sample: SampleImage;
  readonly file: string;
  readonly frameNumber: number;
  readonly attributes: ImageAttributes;
  readonly decoded: DecodedFrame;
  readonly window: Window | undefined;
}

async function openFrame(file: string, frameNumber: number): Promise<Frame> {
  const sample = await openSample(join(root!, file));
  const attributes = imageAttributesOf(sample.metadata, frameNumber);
  const { bytes, bitOffset } = sample.frame(frameNumber);
  const decoded = await decodeFrame(bytes, sample.transferSyntaxUid, attributes, { bitOffset });
  if (decoded.meaning !== 'GRAY') return { sample, file, frameNumber, attributes, decoded, window: undefined };
  const { center, width, function: stated } = attributes.windows[0] ?? rangeWindow(decoded, attributes);
  // dcm2pnm has no LINEAR_EXACT, and takes no window of a pixel's width.
  const window: Window = { center, width: Math.max(2, width), function: stated === 'SIGMOID' ? 'SIGMOID' : 'LINEAR' };
  return { sample, file, frameNumber, attributes, decoded, window };
}

function ourPicture({ sample, frameNumber, attributes, window }: Frame): Promise<Picture> {
  const { bytes, bitOffset } = sample.frame(frameNumber);
  const { shutter } = shutterOf(sample.metadata, attributes);
  return renderPicture({
    frame: bytes,
    transferSyntaxUid: sample.transferSyntaxUid,
    attributes,
    bitOffset,
    overlays: overlaysOf(sample.metadata, frameNumber).overlays,
    ...(window && { window }),
    ...(shutter && { shutter }),
  });
}

function theirPicture({ sample, file, frameNumber, window }: Frame): Promise<Picture | undefined> {
  const options =
    window === undefined
      ? []
      : ['+Ww', String(window.center), String(window.width), window.function === 'SIGMOID' ? '+Wfs' : '+Wfl'];
  const program = pnmProgramFor(sample.transferSyntaxUid)!;
  const output = join(folder, `${frameNumber}-${file.replaceAll('/', '-')}.pnm`);
  return renderWithDcmtk(program, join(root!, file), frameNumber, options, output);
}

function largestDifference(a: Picture, b: Picture): number {
  expect([a.width, a.height, a.channels]).toEqual([b.width, b.height, b.channels]);
  let largest = 0;
  for (let i = 0; i < a.pixels.length; i++) {
    const difference = Math.abs(a.pixels[i]! - b.pixels[i]!);
    if (difference > largest) largest = difference;
  }
  return largest;
}

/** Gray by the formulas, from the stored values and what the file says for this frame; coloured pixels are passed over. */
function expectByTheFormulas({ attributes, decoded, window }: Frame, picture: Picture): void {
  const { modality, inverse, padding, supplemental } = attributes;
  const formula = { modality: modality.kind === 'linear' ? modality : modality.table, voi: window!, inverse, padding };
  let worst = 0;
  for (let i = 0; i < decoded.values.length; i++) {
    const stored = decoded.values[i]!;
    if (supplemental !== undefined && stored > supplemental.largestGray) continue;
    worst = Math.max(worst, Math.abs(picture.pixels[i * picture.channels]! - grayOf(stored, formula)));
  }
  expect(worst).toBeLessThanOrEqual(0.5 + 1e-6);
}

describe.skipIf(!isPossible)('pictures of real files', () => {
  let compared = 0;

  const byFile = Map.groupBy(rows, (row) => row.file!);
  for (const [file, references] of byFile) {
    it.concurrent(file, async () => {
      for (const { frame } of references) {
        const given = await openFrame(file, Number(frame));
        if (pnmProgramFor(given.sample.transferSyntaxUid) === undefined) return;
        const [ours, theirs] = await Promise.all([ourPicture(given), theirPicture(given)]);
        if (theirs === undefined) continue;
        compared += 1;
        if (usesGroups(given.sample) && given.window !== undefined) {
          expectByTheFormulas(given, ours);
        } else {
          const { transferSyntaxUid } = given.sample;
          const rounded = transferSyntaxUid === JPEG_EXTENDED ? Math.ceil((ROUNDED_BY * 255) / given.window!.width) : 0;
          expect(largestDifference(ours, theirs), `frame ${frame}`).toBeLessThanOrEqual(1 + rounded);
        }
      }
    });
  }

  it('are compared for most of the files', () => {
    expect(compared).toBeGreaterThan(200);
  });
});

describe.skipIf(!isPossible)('overlays of real files', () => {
  it('are drawn where dcm2pnm draws them, and only they make the difference', async () => {
    const given = await openFrame('generated/overlay/overlay-on-CT_small.dcm', 1);
    const theirs = await theirPicture(given);
    const ours = await ourPicture(given);
    expect(largestDifference(ours, theirs!)).toBeLessThanOrEqual(1);
    const bare = await renderPicture({
      frame: given.sample.frame(1).bytes,
      transferSyntaxUid: given.sample.transferSyntaxUid,
      attributes: given.attributes,
      window: given.window!,
    });
    expect(largestDifference(bare, theirs!)).toBeGreaterThan(1);
  });
});
