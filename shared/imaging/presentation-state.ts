/**
 * Softcopy presentation states (PS3.3 §A.33, PS3.4 Annex N) as plain data: which images one is about, and for a frame of them where it
 * is put, what is drawn on it and by which tables its values become gray. What a state does not say is identity: equal transformations
 * of the image are not used (PS3.4 §N.2). Grayscale, color and pseudo-color; reading only.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { cannotRender } from './decoded-frame.ts';
import {
  type BulkReader,
  type ImageAttributes,
  imageAttributesOf,
  items,
  numbers,
  type Window,
} from './image-attributes.ts';
import { paletteOf } from './lookup-table.ts';
import { type OverlayPlane, overlaysOf } from './overlay.ts';
import type { Presentation } from './presentation.ts';
import type { Mark } from './presentation-drawing.ts';
import type { Placement } from './presentation-geometry.ts';
import { graphicsOf, layersOf } from './presentation-graphics.ts';
import type { Rgb } from './raster.ts';
import { shutterOf } from './shutter.ts';

export type PresentationKind = 'grayscale' | 'color' | 'pseudo-color';

const storage = '1.2.840.10008.5.1.4.1.1.11.';
const kinds: Readonly<Record<string, PresentationKind>> = {
  [`${storage}1`]: 'grayscale',
  [`${storage}2`]: 'color',
  [`${storage}3`]: 'pseudo-color',
};

/** All kinds of presentation states, also those that are not rendered here. */
export const isPresentationState = (sopClassUid: string): boolean => sopClassUid.startsWith(storage);

/** Undefined for those that are not rendered here: blending, subtraction, volumes. */
export const presentationKindOf = (sopClassUid: string): PresentationKind | undefined =>
  Object.hasOwn(kinds, sopClassUid) ? kinds[sopClassUid] : undefined;

export interface PresentedImage {
  readonly seriesInstanceUid: string;
  readonly sopInstanceUid: string;
  /** Undefined: all of them. */
  readonly frameNumbers: readonly number[] | undefined;
}

/** No reading room hangs more, and each of them is looked up. */
const MAX_IMAGES = 2_000;
const MAX_SIDE = 65_535;

/**
 * The images of the state's own study that it is about (§C.11.11), in its order, each once.
 * @throws ArchiveError `cannot-render` when it names none, `limit-exceeded`
 */
export function presentedImages(state: DicomJson): PresentedImage[] {
  const found = new Map<string, { seriesInstanceUid: string; frameNumbers: Set<number> | undefined }>();
  for (const series of items(state['00081115'])) {
    const seriesInstanceUid = text(series['0020000E']);
    for (const image of items(series['00081140'])) {
      const sopInstanceUid = text(image['00081155']);
      if (seriesInstanceUid === undefined || sopInstanceUid === undefined) continue;
      const stated = frameNumbersOf(image);
      const before = found.get(sopInstanceUid);
      // Added to one set: a state may name each frame of an image in an item of its own.
      const frameNumbers = before === undefined ? new Set(stated) : before.frameNumbers;
      if (stated !== undefined) for (const number of stated) frameNumbers?.add(number);
      found.set(sopInstanceUid, { seriesInstanceUid, frameNumbers: stated && frameNumbers });
      if (found.size > MAX_IMAGES) {
        throw new ArchiveError('limit-exceeded', `The presentation state refers to more than ${MAX_IMAGES} images.`);
      }
    }
  }
  if (found.size === 0) throw cannotRender('The presentation state refers to no image that could be shown by it');
  return [...found].map(([sopInstanceUid, { seriesInstanceUid, frameNumbers }]) => ({
    seriesInstanceUid,
    sopInstanceUid,
    frameNumbers: frameNumbers && [...frameNumbers],
  }));
}

function frameNumbersOf(item: DicomJson): readonly number[] | undefined {
  const stated = numbers(item['00081160']).filter((number) => Number.isInteger(number) && number >= 1);
  return stated.length === 0 ? undefined : stated;
}

export interface PresentedFrame {
  readonly state: DicomJson;
  readonly kind: PresentationKind;
  /** Of the instance that holds the frame; its bulk data are the caller's affair, the state's are in line. */
  readonly image: DicomJson;
  readonly sopInstanceUid: string;
  readonly frameNumber: number;
}

/** Whether an item of the state's sequences is about this frame: those that refer to no images are about all. */
export function appliesTo({ sopInstanceUid, frameNumber }: Pick<PresentedFrame, 'sopInstanceUid' | 'frameNumber'>) {
  return (item: DicomJson): boolean => {
    const references = items(item['00081140']);
    if (references.length === 0) return true;
    return references.some((reference) => {
      if (text(reference['00081155']) !== sopInstanceUid) return false;
      return frameNumbersOf(reference)?.includes(frameNumber) ?? true;
    });
  };
}

/** @throws ArchiveError `cannot-render` for what cannot be shown as the state wants it; then nothing is shown at all */
export function assertCanBePresented(state: DicomJson, kind: PresentationKind, image: DicomJson): void {
  if (items(state['00286100']).length > 0 && text(state['00281090']) !== 'NAT') {
    throw cannotRender('The presentation state subtracts a mask, which is not done here; ask for the image without it');
  }
  if (text(state['00480301']) === 'VOLUME') {
    throw cannotRender('The presentation state counts in the whole slide, and only frames are rendered here');
  }
  const isColor = (numbers(image['00280002'])[0] ?? 1) > 1 || text(image['00280004']) === 'PALETTE COLOR';
  if (kind !== 'grayscale' && isColor !== (kind === 'color')) {
    throw cannotRender(
      isColor
        ? 'A pseudo-color presentation state is for gray images, and this one has colours'
        : 'A color presentation state is for colour images, and this one is gray',
    );
  }
}

const MODALITY = ['00281052', '00281053', '00281054', '00283000'];
const VOI = ['00281050', '00281051', '00281055', '00281056', '00283010'];
const PRESENTATION = ['20500010', '20500020'];
const SHUTTER = /^0018(16[0-9A-F]{2})$/;
const OVERLAY = /^60[01][02468ACE]/;
const FUNCTIONAL_GROUPS = ['52009229', '52009230'];
/** Pixel Intensity Relationship and Pixel Presentation: whether an image's own Modality LUT and palette are meant to be used. */
const OWN_USE = ['00281040', '00089205'];

/**
 * The image's metadata with the state's transformations in place of its own: what reads an image's then reads the state's. A gray
 * image's polarity is the state's to say (PS3.4 §N.2.1.4, note). Overlays are left out: those that the state shows are marks.
 */
export function presentedMetadata({ state, kind, image, ...frame }: PresentedFrame): DicomJson {
  const isReplaced = (tag: string): boolean =>
    SHUTTER.test(tag) || OVERLAY.test(tag) || (kind !== 'color' && isOfGray(tag));
  const kept = Object.entries(image).filter(([tag]) => !isReplaced(tag));
  const shutters = Object.entries(state).filter(([tag]) => SHUTTER.test(tag));
  if (kind === 'color') return Object.fromEntries([...kept, ...shutters]);
  const voi = items(state['00283110']).find(appliesTo(frame)) ?? {};
  const isMonochrome1 = text(image['00280004'])?.toUpperCase() === 'MONOCHROME1';
  return Object.fromEntries([
    ...kept,
    ...shutters,
    ...pick(state, [...MODALITY, ...PRESENTATION]),
    ...pick(voi, VOI),
    ...(isMonochrome1 ? [['00280004', { vr: 'CS', Value: ['MONOCHROME2'] } satisfies JsonElement] as const] : []),
  ]);
}

const isOfGray = (tag: string): boolean =>
  [MODALITY, VOI, PRESENTATION, FUNCTIONAL_GROUPS, OWN_USE].some((tags) => tags.includes(tag));

const pick = (from: DicomJson, tags: readonly string[]): [string, JsonElement][] =>
  tags.flatMap((tag): [string, JsonElement][] => (from[tag] === undefined ? [] : [[tag, from[tag]]]));

/** As imageAttributesOf of the presented metadata; without a VOI LUT the whole range of the modality values is shown, not the frame's. */
export function presentedAttributes(frame: PresentedFrame, bulk?: BulkReader): ImageAttributes {
  const attributes = imageAttributesOf(presentedMetadata(frame), frame.frameNumber, bulk);
  const hasVoi = attributes.windows.length > 0 || attributes.voiTables.length > 0;
  if (hasVoi || attributes.samplesPerPixel > 1 || attributes.pixelKind !== 'integer') return attributes;
  return { ...attributes, windows: [wholeRange(attributes)] };
}

function wholeRange({ modality, bitsStored, signed }: ImageAttributes): Window {
  if (modality.kind === 'table') {
    const high = 2 ** modality.table.bits - 1;
    return { center: high / 2, width: high, function: 'LINEAR_EXACT' };
  }
  const low = signed ? -(2 ** (bitsStored - 1)) : 0;
  const width = 2 ** bitsStored - 1;
  const center = modality.intercept + modality.slope * (low + width / 2);
  return { center, width: Math.abs(modality.slope) * width, function: 'LINEAR_EXACT' };
}

/**
 * All that the state does to the frame once it is gray or colour.
 * @param size of the image
 * @throws ArchiveError `cannot-render` for values that the standard does not know, `limit-exceeded` for too many graphics
 */
export function presentationOf(
  frame: PresentedFrame,
  size: { rows: number; columns: number },
  bulk?: BulkReader,
): Presentation {
  const { state, kind } = frame;
  const layers = layersOf(state);
  const { byLayer } = graphicsOf(state, layers, appliesTo(frame));
  // Layers first, in their order; then what lies in a layer that is not described.
  const planes = activatedOverlays(frame, bulk).shown;
  const names = new Set([...layers, ...planes.map(({ layer }) => ({ name: layer }))].map(({ name }) => name));
  for (const name of byLayer.keys()) names.add(name);
  const colors = new Map(layers.map(({ name, color }) => [name, color]));
  return {
    placement: placementOf(state, frame, size),
    marks: [...names].flatMap((name): Mark[] => [
      ...planes.filter(({ layer }) => layer === name).map(({ plane }) => overlayMark(plane, colors.get(name))),
      ...(byLayer.get(name) ?? []),
    ]),
    pseudoColors: kind === 'pseudo-color' ? paletteOf(state, false, undefined) : undefined,
  };
}

/** What hides parts of the image: the state's alone, with sentences about what of it is not applied. */
export const presentedShutter = (frame: PresentedFrame, size: { rows: number; columns: number }) =>
  shutterOf(presentedMetadata(frame), size, overlaysOf(frame.state, frame.frameNumber).overlays);

const overlayMark = (plane: OverlayPlane, color: Rgb = [255, 255, 255]): Mark => ({ kind: 'bitmap', plane, color });

/** Overlay Activation (§C.11.7): the planes of the state, or else of the image, that a layer shows. No other is shown. */
function activatedOverlays(
  { state, image, frameNumber }: PresentedFrame,
  bulk: BulkReader | undefined,
): { shown: { layer: string; plane: OverlayPlane }[]; warnings: string[] } {
  const shown: { layer: string; plane: OverlayPlane }[] = [];
  const warnings: string[] = [];
  const activations = Object.entries(state).filter(([tag]) => OVERLAY.test(tag) && tag.endsWith('1001'));
  if (activations.length === 0) return { shown, warnings };
  const own = overlaysOf(state, frameNumber);
  const others = overlaysOf(image, frameNumber, bulk);
  for (const [tag, element] of activations) {
    const layer = text(element);
    if (layer === undefined) continue;
    const group = Number.parseInt(tag.slice(0, 4), 16);
    const isOfGroup = (plane: OverlayPlane): boolean => plane.group === group;
    const plane = own.overlays.find(isOfGroup) ?? others.overlays.find(isOfGroup);
    if (plane?.source.kind === 'data') shown.push({ layer, plane });
    else warnings.push(`The overlay of group ${tag.slice(0, 4)} that the presentation state shows cannot be drawn.`);
  }
  return { shown, warnings };
}

/** Where the frame is put (§C.10.4, §C.10.6). */
function placementOf(
  state: DicomJson,
  frame: Pick<PresentedFrame, 'sopInstanceUid' | 'frameNumber'>,
  size: { rows: number; columns: number },
): Placement {
  const rotation = numbers(state['00700042'])[0] ?? 0;
  if (rotation !== 0 && rotation !== 90 && rotation !== 180 && rotation !== 270) {
    throw cannotRender('Image Rotation of the presentation state is not 0, 90, 180 or 270');
  }
  const displayed = items(state['0070005A']).find(appliesTo(frame)) ?? {};
  return {
    area: areaOf(displayed, size),
    rotation,
    flip: text(state['00700041']) === 'Y',
    pixelAspect: pixelAspectOf(displayed),
    magnification: magnificationOf(displayed),
  };
}

/** Corners are pixels counted from 1, both inside, named as they lie after rotation and flip: which is which says those two again. */
function areaOf(displayed: DicomJson, { rows, columns }: { rows: number; columns: number }): Placement['area'] {
  const [x1, y1] = numbers(displayed['00700052']);
  const [x2, y2] = numbers(displayed['00700053']);
  if (x1 === undefined || y1 === undefined || x2 === undefined || y2 === undefined) {
    return { left: 0, top: 0, width: columns, height: rows };
  }
  if (![x1, y1, x2, y2].every((value) => Number.isInteger(value) && Math.abs(value) <= MAX_SIDE)) {
    throw cannotRender(
      'The corners of the displayed area of the presentation state are not four whole numbers in reach',
    );
  }
  const left = Math.min(x1, x2) - 1;
  const top = Math.min(y1, y2) - 1;
  return { left, top, width: Math.abs(x2 - x1) + 1, height: Math.abs(y2 - y1) + 1 };
}

function pixelAspectOf(displayed: DicomJson): number {
  const [down, across] = displayed['00700101']?.Value ? numbers(displayed['00700101']) : numbers(displayed['00700102']);
  if (down === undefined || across === undefined) return 1;
  const aspect = down / across;
  if (aspect >= 1 / 64 && aspect <= 64) return Math.abs(aspect - 1) < 1e-6 ? 1 : aspect;
  throw cannotRender('The pixel spacing or aspect ratio of the presentation state is not of two positive numbers');
}

function magnificationOf(displayed: DicomJson): number | undefined {
  const mode = text(displayed['00700100']);
  if (mode !== 'MAGNIFY') return undefined;
  const ratio = numbers(displayed['00700103'])[0];
  if (ratio !== undefined && ratio >= 1 / 64 && ratio <= 64) return ratio;
  throw cannotRender('The presentation state magnifies by a ratio that is not between 1/64 and 64');
}

/** Sentences about what of the state is not shown as it says, or has no meaning for this image. */
export function presentationWarnings(presented: PresentedFrame, bulk?: BulkReader): string[] {
  const { state, kind, image, ...frame } = presented;
  const displayed = items(state['0070005A']).find(appliesTo(frame));
  const isColor = (numbers(image['00280002'])[0] ?? 1) > 1;
  return [
    ...graphicsOf(state, layersOf(state), appliesTo(frame)).warnings,
    ...activatedOverlays(presented, bulk).warnings,
    ...(text(displayed?.['00700100']) === 'TRUE SIZE'
      ? ['The presentation state asks for true size, which no picture can promise; it is scaled to fit.']
      : []),
    ...(kind === 'grayscale' && isColor
      ? ['The presentation state is for gray images; its gray tables have no meaning for the colours of this one.']
      : []),
  ];
}

function text(element: JsonElement | undefined): string | undefined {
  const value = element?.Value?.[0];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}
