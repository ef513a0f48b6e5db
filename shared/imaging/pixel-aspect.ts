/**
 * The shape of a frame's pixels (PS3.3 §C.7.6.3.1.7, and Pixel Measures of the functional groups): pictures that are scaled show it, so that what
 * is round is seen round.
 */
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { firstWith, functionalGroups, numbers } from './image-attributes.ts';

const PIXEL_MEASURES = '00289110';
/** Pixel Aspect Ratio, Pixel Spacing, Imager Pixel Spacing; of those the first, each vertical first. */
const TAGS = ['00280034', '00280030', '00181164'];
/** What no device makes is a mistake. */
const MOST = 64;
/** Spacings are rounded where they are written. */
const NEARLY_SQUARE = 1e-4;

/** Height of a pixel divided by its width; 1 where nothing, or nothing usable, is said. */
export function pixelAspectOf(metadata: DicomJson, frameNumber: number): number {
  const place = firstWith(functionalGroups(metadata, frameNumber), PIXEL_MEASURES, TAGS);
  for (const tag of TAGS) {
    const [down = 0, across = 0] = numbers(place[tag]);
    const aspect = down / across;
    if (down > 0 && across > 0 && aspect <= MOST && aspect >= 1 / MOST) {
      return Math.abs(aspect - 1) < NEARLY_SQUARE ? 1 : aspect;
    }
  }
  return 1;
}
