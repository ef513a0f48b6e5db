/**
 * A presentation state applied to one picture (PS3.4 §N.2): pseudo-colour, before anything is hidden or laid over; the displayed area with its
 * spatial transformation, the viewport that was asked for, and on top, at the resolution of the result, the graphics. Gray tables
 * and shutters are part of the attributes that the picture was made with (presentation-state.ts).
 */

import type { LookupTable, Palette } from './lookup-table.ts';
import { drawMarks, type Mark } from './presentation-drawing.ts';
import { type Placement, placePicture, placingNeedsBytes, presentedSize } from './presentation-geometry.ts';
import type { Picture, Viewport } from './resample.ts';

export interface Presentation {
  readonly placement: Placement;
  /** In the order in which they are drawn. */
  readonly marks: readonly Mark[];
  /** From gray to colour, over the whole range of both. */
  readonly pseudoColors: Palette | undefined;
}

/** Of a viewport, the source region counts in the displayed area (PS3.18 §8.3.5). Errors as of placePicture. */
export function presentPicture(image: Picture, presentation: Presentation, viewport: Viewport | undefined): Picture {
  const { placement, marks } = presentation;
  return drawMarks(placePicture(image, placement, viewport), marks);
}

/** Upper estimate, beside the picture itself. */
export function presentingNeedsBytes({ placement }: Presentation, viewport: Viewport | undefined): number {
  const { width, height } = presentedSize(placement);
  const shown = viewport === undefined ? width * height : viewport.width * viewport.height;
  // The first pass of scaling is in floating point; then the picture, a copy to draw in, and the mask.
  const scaling = viewport === undefined ? 0 : width * viewport.height * 3 * 4;
  return placingNeedsBytes(placement, 3) + scaling + shown * 7;
}

/** PS3.4 §N.2.4.2: the full range of gray is the whole of the palette. */
export function inPseudoColors(picture: Picture, { pseudoColors }: Pick<Presentation, 'pseudoColors'>): Picture {
  if (pseudoColors === undefined || picture.channels === 3) return picture;
  const { red, green, blue } = pseudoColors;
  const { width, height, pixels } = picture;
  const tables = [red, green, blue].map(tableOfGray);
  const [r, g, b] = tables as [Uint8Array, Uint8Array, Uint8Array];
  const colored = new Uint8Array(pixels.length * 3);
  for (let i = 0, to = 0; i < pixels.length; i++, to += 3) {
    const gray = pixels[i]!;
    colored[to] = r[gray]!;
    colored[to + 1] = g[gray]!;
    colored[to + 2] = b[gray]!;
  }
  return { width, height, channels: 3, pixels: colored };
}

function tableOfGray({ entries, bits }: LookupTable): Uint8Array {
  const most = 2 ** bits - 1;
  const last = entries.length - 1;
  return Uint8Array.from({ length: 256 }, (_, gray) =>
    Math.round((entries[Math.round((gray / 255) * last)]! * 255) / most),
  );
}
