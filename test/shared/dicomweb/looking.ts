/**
 * Looking at rendered answers in tests: paths of made instances, and pictures decoded again.
 */
import sharp from 'sharp';
import type { InstanceRef } from '#shared/archive/records.ts';

export const pathOf = ({ ref }: { readonly ref: InstanceRef }): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

export interface Seen {
  readonly format: string;
  readonly width: number;
  readonly height: number;
  readonly pages: number;
  readonly hasProfile: boolean;
  /** Milliseconds a page. */
  readonly delays: readonly number[];
  /** Red, green and blue of the first page, rows from the top. */
  readonly rgb: Uint8Array;
}

export async function seen(bytes: Uint8Array): Promise<Seen> {
  const about = await sharp(bytes, { animated: true }).metadata();
  const { data } = await sharp(bytes)
    .keepIccProfile()
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return {
    format: about.format,
    width: about.width,
    height: about.pageHeight ?? about.height,
    pages: about.pages ?? 1,
    hasProfile: about.hasProfile ?? false,
    delays: about.delay ?? [],
    rgb: new Uint8Array(data),
  };
}

/** The largest and the mean difference of two pictures' samples. */
export function differenceOf(a: Uint8Array, b: Uint8Array): { largest: number; mean: number } {
  let largest = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    largest = Math.max(largest, difference);
    sum += difference;
  }
  return { largest, mean: sum / Math.max(1, a.length) };
}
