/** Pixels that change without the version in entity tags: clients would keep the picture that was mended, for as long as they ask whether it is. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { representationVersion } from '#shared/dicomweb/conditional.ts';
import { type PictureRequest, renderPicture } from '#shared/imaging/render.ts';
import { reslice } from '#shared/imaging/volume-reslice.ts';
import { attributesWith, EXPLICIT_LITTLE, noise } from '#test/shared/imaging/image-fixture.ts';
import { body, latticeWith, volumeOf } from '#test/shared/imaging/volume-phantom.ts';

const [rows, columns] = [24, 32];
const random = noise(5);
const frame = Uint8Array.from({ length: rows * columns * 3 }, () => random(256));
const gray = attributesWith({
  rows,
  columns,
  bitsAllocated: 16,
  bitsStored: 12,
  signed: true,
  padding: { low: -2048, high: -2000 },
});
const window = { center: 40, width: 1800, function: 'LINEAR' } as const;
const colour = attributesWith({
  rows,
  columns,
  bitsAllocated: 8,
  samplesPerPixel: 3,
  photometricInterpretation: 'YBR_FULL',
});
const overlay = {
  group: 0x6000,
  type: 'region',
  rows: 9,
  columns: 9,
  left: 4,
  top: -2,
  source: { kind: 'data', bits: frame, bitOffset: 3 },
} as const;

const requests: readonly Omit<PictureRequest, 'transferSyntaxUid'>[] = [
  { frame, attributes: gray },
  { frame, attributes: { ...gray, inverse: true }, window },
  { frame, attributes: gray, window: { ...window, function: 'LINEAR_EXACT' }, viewport: { width: 13, height: 9 } },
  {
    frame,
    attributes: gray,
    window,
    viewport: { width: 61, height: 80, source: { x: 3, y: 2, width: -20, height: 11 } },
  },
  {
    frame,
    attributes: gray,
    window,
    overlays: [overlay],
    shutter: { circle: { x: 15, y: 12, radiusAcross: 11, radiusDown: 11 }, gray: 0 },
  },
  { frame, attributes: colour },
  {
    frame,
    attributes: { ...colour, photometricInterpretation: 'RGB', planarConfiguration: 1 },
    viewport: { width: 10, height: 10 },
  },
];

it('counts the version of representations up with the pixels of pictures', async () => {
  const hash = createHash('sha256');
  for (const request of requests) {
    const { pixels } = await renderPicture({
      ...request,
      frame: Uint8Array.from(frame),
      transferSyntaxUid: EXPLICIT_LITTLE,
    });
    hash.update(pixels);
  }
  const plane = {
    center: [1, 2, 3],
    right: [0.8, 0.6, 0],
    down: [0, 0, -1],
    spacingMm: 1.5,
    width: 20,
    height: 20,
  } as const;
  const cut = reslice(volumeOf(latticeWith(), body), plane, { thicknessMm: 6, method: 'maximum' });
  for (const value of cut.values) hash.update(Number.isNaN(value) ? 'outside' : value.toFixed(3));
  // Whoever has to change the hash changes the version as well.
  expect([representationVersion, hash.digest('hex').slice(0, 16)]).toEqual([2, '909f56f5694071c0']);
});
