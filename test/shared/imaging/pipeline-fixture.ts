/** Whole pictures in tests: from DICOM JSON and native bytes to pixels, and against the arbiter's. */
import { expect } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { imageAttributesOf, type Window } from '#shared/imaging/image-attributes.ts';
import { renderPicture } from '#shared/imaging/render.ts';
import { type GrayFormula, grayOf } from './arbiter.ts';
import { EXPLICIT_LITTLE, grayImage, jsonOf } from './image-fixture.ts';

export type Elements = Parameters<typeof jsonOf>[0];

export const inline = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

export const wordsOf = (values: Iterable<number>): string => inline(new Uint8Array(Uint16Array.from(values).buffer));

/** One row of pixels. */
export const row = (columns: number, elements: Elements): DicomJson =>
  jsonOf({ ...grayImage, '00280010': ['US', 1], '00280011': ['US', columns], ...elements });

export const lutItem = (descriptor: readonly number[], entries: Iterable<number>): DicomJson => ({
  ...jsonOf({ '00283002': ['US', ...descriptor] }),
  '00283006': { vr: 'OW', InlineBinary: wordsOf(entries) },
});

export async function pixelsOf(
  metadata: DicomJson,
  frame: Uint8Array,
  window?: Window,
  frameNumber = 1,
  syntax = EXPLICIT_LITTLE,
) {
  const attributes = imageAttributesOf(metadata, frameNumber);
  const picture = await renderPicture({
    frame,
    transferSyntaxUid: syntax,
    attributes,
    ...(window && { window }),
  });
  return picture.pixels;
}

export const bytesOf = (values: { readonly buffer: ArrayBufferLike }): Uint8Array =>
  new Uint8Array(values.buffer as ArrayBuffer);

/** Rounded once: never further than half a level from the formula. */
export function expectNear(pixels: ArrayLike<number>, expected: readonly number[]): void {
  expect(pixels.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(pixels[i]! - expected[i]!));
  expect(worst).toBeLessThanOrEqual(0.5 + 1e-6);
}

export const expectGray = (pixels: ArrayLike<number>, stored: readonly number[], formula: GrayFormula): void =>
  expectNear(pixels, stored.map((value) => grayOf(value, formula))); // biome-ignore format: one thought

export const identity = { slope: 1, intercept: 0 };

/** Every value of 12 bits. */
export const ramp = Uint16Array.from({ length: 4096 }, (_, i) => i);
export const rampValues = [...ramp];
