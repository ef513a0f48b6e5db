/** Image attributes for tests: a small unsigned grayscale frame, changed as a test needs. */

import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';

export const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
export const EXPLICIT_BIG = '1.2.840.10008.1.2.2';

export function attributesWith(changes: Partial<ImageAttributes> = {}): ImageAttributes {
  const bitsAllocated = changes.bitsAllocated ?? 16;
  const bitsStored = changes.bitsStored ?? bitsAllocated;
  return {
    rows: 1,
    columns: 4,
    samplesPerPixel: 1,
    photometricInterpretation: 'MONOCHROME2',
    planarConfiguration: 0,
    bitsAllocated,
    bitsStored,
    highBit: bitsStored - 1,
    signed: false,
    pixelKind: 'integer',
    pixelDataVr: 'OW',
    modality: { kind: 'linear', slope: 1, intercept: 0 },
    windows: [],
    voiTables: [],
    inverse: false,
    padding: undefined,
    palette: undefined,
    ...changes,
  };
}

/** A DICOM JSON object out of `tag: [vr, ...values]`. */
export function jsonOf(elements: Record<string, readonly [Vr, ...unknown[]]>): DicomJson {
  return Object.fromEntries(
    Object.entries(elements).map(([tag, [vr, ...Value]]) => [
      tag,
      (Value.length === 0 ? { vr } : { vr, Value }) as JsonElement,
    ]),
  );
}

/** The least that makes an image. */
export const grayImage = {
  '00280002': ['US', 1],
  '00280004': ['CS', 'MONOCHROME2'],
  '00280010': ['US', 2],
  '00280011': ['US', 2],
  '00280100': ['US', 16],
  '00280101': ['US', 12],
  '00280102': ['US', 11],
  '00280103': ['US', 0],
} as const;

/** Deterministic pseudo-random whole numbers below `limit`. */
export function noise(seed: number): (limit: number) => number {
  let state = seed >>> 0 || 1;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
