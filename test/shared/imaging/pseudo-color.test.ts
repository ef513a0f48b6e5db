/** Gray images through the palette of a pseudo-color presentation state (PS3.4 §N.2), with what hides parts of them and lies over them. */
import { describe, expect, it } from 'vitest';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { presentationOf, presentedAttributes } from '#shared/imaging/presentation-state.ts';
import { renderPicture } from '#shared/imaging/render.ts';
import type { Picture } from '#shared/imaging/resample.ts';

const el = (vr: string, ...Value: JsonValue[]): JsonElement => ({ vr, Value }) as JsonElement;
const image: DicomJson = {
  '00280002': el('US', 1),
  '00280004': el('CS', 'MONOCHROME2'),
  '00280010': el('US', 60),
  '00280011': el('US', 80),
  '00280100': el('US', 8),
};
const at = ({ width, channels, pixels }: Picture, x: number, y: number): number[] => [
  ...pixels.subarray((y * width + x) * channels, (y * width + x + 1) * channels),
];

describe('an image by a pseudo-color state', () => {
  it('is in the colours of its palette, and hidden in black', async () => {
    const table = (tag: string, values: number[]): DicomJson => ({
      [`0028110${tag}`]: el('US', 256, 0, 8),
      [`0028120${tag}`]: { vr: 'OW', InlineBinary: Buffer.from(Uint16Array.from(values).buffer).toString('base64') },
    });
    const ramp = Array.from({ length: 256 }, (_, i) => i);
    const state = {
      ...table('1', ramp),
      ...table('2', ramp.toReversed()),
      ...table(
        '3',
        ramp.map(() => 7),
      ),
    };
    const frame = { state, kind: 'pseudo-color', image, sopInstanceUid: '1.2', frameNumber: 1 } as const;
    const attributes = presentedAttributes(frame);
    const picture = await renderPicture({
      frame: Uint8Array.from({ length: 4800 }, (_, i) => i % 256),
      transferSyntaxUid: '1.2.840.10008.1.2.1',
      attributes,
      presentation: presentationOf(frame, attributes),
    });
    expect([at(picture, 0, 0), at(picture, 40, 0), at(picture, 20, 3)]).toEqual([
      [0, 255, 7],
      [40, 215, 7],
      [4, 251, 7],
    ]);
    // Black is black and not the palette's colour of it; what is in colour lies on what the state shows.
    const hidden = await renderPicture({
      frame: new Uint8Array(4800).fill(40),
      transferSyntaxUid: '1.2.840.10008.1.2.1',
      attributes,
      shutter: { rectangle: { left: 11, right: 70, upper: 5, lower: 50 }, gray: 0 },
      segments: { frames: [], opacity: 1 },
      presentation: presentationOf(frame, attributes),
    });
    expect([at(hidden, 0, 0), at(hidden, 40, 30)]).toEqual([
      [0, 0, 0],
      [40, 215, 7],
    ]);
  });
});
