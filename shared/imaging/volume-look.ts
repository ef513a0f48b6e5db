/**
 * A cut as a picture: the VOI and presentation steps of the grayscale pipeline over values that are modality values already (PS3.3
 * §C.11.2, §C.11.6). What lies outside of the volume is black, also in inverse pictures.
 */
import type { Annotation } from './annotation.ts';
import type { ColorProfile, RenderedMediaType } from './encode.ts';
import type { ImageAttributes, Window } from './image-attributes.ts';
import { renderGray } from './lut.ts';
import { checkWindow } from './render.ts';
import type { Picture, Viewport } from './resample.ts';
import type { Cut, ValueRange } from './volume.ts';

/** How a cut becomes a picture. */
export interface VolumeLook {
  /** Of a frame of the volume: its windows, VOI LUTs and whether it is inverse count. */
  readonly attributes: ImageAttributes;
  readonly window?: Window;
  readonly viewport?: Viewport;
  readonly annotation?: Annotation;
  readonly mediaType: RenderedMediaType;
  readonly quality?: number;
  readonly profile?: ColorProfile;
}

/**
 * @param range of the whole volume: what is black and white where nothing else says so, so that all planes of a volume look alike
 * Errors: `bad-request` for a window that cannot be.
 */
export function paintCut({ width, height, values }: Cut, range: ValueRange | undefined, look: VolumeLook): Picture {
  if (look.window !== undefined) checkWindow(look.window);
  const attributes: ImageAttributes = {
    ...look.attributes,
    modality: { kind: 'linear', slope: 1, intercept: 0 },
    padding: undefined,
    windows: windowsOf(look.attributes, range),
  };
  const frame = { rows: height, columns: width, meaning: 'GRAY', bitsStored: 32, signed: true, values } as const;
  return { width, height, channels: 1, pixels: renderGray(frame, attributes, look.window).pixels };
}

function windowsOf({ windows, voiTables }: ImageAttributes, range: ValueRange | undefined): readonly Window[] {
  if (windows.length > 0 || voiTables.length > 0 || range === undefined) return windows;
  const width = range.high - range.low || 1;
  return [{ center: range.low + width / 2, width, function: 'LINEAR_EXACT' }];
}
