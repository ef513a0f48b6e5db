/**
 * The graphics of a presentation state as plain data (PS3.3 §C.10.5 Graphic Annotation, §C.10.7 Graphic Layer): texts and shapes in the
 * colours of their layers, in the order in which they are drawn. Only reading; drawing is presentation-drawing.ts.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { rgbOfLab } from './cie-lab.ts';
import { items, numbers } from './image-attributes.ts';
import type { Point, Rgb } from './raster.ts';

/** Image: pixels as stored, 0,0 the top left corner of the first. Display: fractions of the displayed area as it is displayed. */
export type MarkUnits = 'image' | 'display';

export type GraphicType = 'POINT' | 'POLYLINE' | 'INTERPOLATED' | 'CIRCLE' | 'ELLIPSE';

export interface GraphicMark {
  readonly kind: 'graphic';
  readonly type: GraphicType;
  readonly units: MarkUnits;
  readonly points: readonly Point[];
  readonly color: Rgb;
  /** Undefined: only the outline. */
  readonly fill: Rgb | undefined;
}

export interface TextMark {
  readonly kind: 'text';
  readonly lines: readonly string[];
  readonly color: Rgb;
  readonly box:
    | {
        readonly units: MarkUnits;
        readonly corners: readonly [Point, Point];
        readonly justification: 'LEFT' | 'CENTER' | 'RIGHT';
      }
    | undefined;
  readonly anchor: { readonly units: MarkUnits; readonly at: Point; readonly isVisible: boolean } | undefined;
}

export interface Layer {
  readonly name: string;
  readonly order: number;
  readonly color: Rgb;
}

/** More than anybody draws by hand, and no more than is drawn in a moment. */
const MAX_MARKS = 5_000;
const MAX_POINTS = 100_000;
const MAX_TEXT = 4_096;

const white: Rgb = [255, 255, 255];
const graphicTypes: readonly string[] = ['POINT', 'POLYLINE', 'INTERPOLATED', 'CIRCLE', 'ELLIPSE'];
const pointsNeeded: Readonly<Record<GraphicType, number>> = {
  POINT: 1,
  POLYLINE: 2,
  INTERPOLATED: 2,
  CIRCLE: 2,
  ELLIPSE: 4,
};

/** Graphic Layers in ascending order: what comes later is drawn over what came before. */
export function layersOf(state: DicomJson): Layer[] {
  return items(state['00700060'])
    .map((item) => ({
      name: text(item['00700002']) ?? '',
      order: numbers(item['00700062'])[0] ?? 0,
      color: layerColor(item),
    }))
    .sort((a, b) => a.order - b.order);
}

function layerColor(item: DicomJson): Rgb {
  const lab = labOf(item['00700401']);
  if (lab !== undefined) return lab;
  const [red, green, blue] = numbers(item['00700067']).map(eightBits);
  if (red !== undefined && green !== undefined && blue !== undefined) return [red, green, blue];
  const gray = numbers(item['00700066']).map(eightBits)[0];
  return gray === undefined ? white : [gray, gray, gray];
}

const eightBits = (value: number): number => Math.round((Math.max(0, Math.min(65535, value || 0)) * 255) / 65535);

function labOf(element: JsonElement | undefined): Rgb | undefined {
  const [lightness, a, b] = numbers(element);
  if (lightness === undefined || a === undefined || b === undefined) return undefined;
  return [lightness, a, b].every(Number.isFinite) ? rgbOfLab([lightness, a, b]) : undefined;
}

export interface Graphics {
  /** By the name of their layer; those of a layer that is not described are under their own name. */
  readonly byLayer: ReadonlyMap<string, readonly (GraphicMark | TextMark)[]>;
  /** What is left out, for people. */
  readonly warnings: readonly string[];
}

/**
 * @param applies whether an item that refers to images is about this one
 * @throws ArchiveError `limit-exceeded` for more than is drawn
 */
export function graphicsOf(
  state: DicomJson,
  layers: readonly Layer[],
  applies: (item: DicomJson) => boolean,
): Graphics {
  const colors = new Map(layers.map(({ name, color }) => [name, color]));
  const byLayer = new Map<string, (GraphicMark | TextMark)[]>();
  const warnings = new Set<string>();
  let marks = 0;
  let points = 0;
  for (const annotation of items(state['00700001'])) {
    if (!applies(annotation)) continue;
    const name = text(annotation['00700002']) ?? '';
    const color = colors.get(name) ?? white;
    const drawn = byLayer.get(name) ?? [];
    byLayer.set(name, drawn);
    const add = (mark: GraphicMark | TextMark | undefined): void => {
      if (mark === undefined) {
        warnings.add('A part of the annotation of the presentation state cannot be read, and is not drawn.');
        return;
      }
      marks += 1;
      points += mark.kind === 'graphic' ? mark.points.length : mark.lines.length;
      if (marks > MAX_MARKS || points > MAX_POINTS) {
        throw new ArchiveError(
          'limit-exceeded',
          `The presentation state draws more than ${MAX_MARKS} objects or ${MAX_POINTS} points; ask for the image without it.`,
        );
      }
      drawn.push(mark);
    };
    for (const item of items(annotation['00700009'])) add(graphicMark(item, color));
    for (const item of items(annotation['00700008'])) add(textMark(item, color));
    if (hasUndrawnCompound(annotation)) {
      warnings.add('The presentation state holds compound graphics without a simple form; they are not drawn.');
    }
  }
  return { byLayer, warnings: [...warnings] };
}

/** Compound graphics come with text and graphic objects of the same ID for those who do not draw them. */
function hasUndrawnCompound(annotation: DicomJson): boolean {
  const simple = [...items(annotation['00700008']), ...items(annotation['00700009'])];
  const ids = new Set(simple.map((item) => numbers(item['00700226'])[0]));
  return items(annotation['00700209']).some((item) => !ids.has(numbers(item['00700226'])[0]));
}

function graphicMark(item: DicomJson, layer: Rgb): GraphicMark | undefined {
  const units = unitsOf(item['00700005']);
  const type = text(item['00700023']);
  if (units === undefined || type === undefined || !isGraphicType(type)) return undefined;
  const points = pointsOf(item['00700022']);
  if (points === undefined || points.length < pointsNeeded[type]) return undefined;
  const first = points[0]!;
  const last = points.at(-1)!;
  const isClosed = type === 'CIRCLE' || type === 'ELLIPSE' || (first.x === last.x && first.y === last.y);
  const color = labOf(items(item['00700232'])[0]?.['00700251']) ?? layer;
  const fill = labOf(items(item['00700233'])[0]?.['00700251']) ?? layer;
  const isFilled = isClosed && type !== 'POINT' && text(item['00700024']) === 'Y';
  return { kind: 'graphic', type, units, points, color, fill: isFilled ? fill : undefined };
}

function textMark(item: DicomJson, layer: Rgb): TextMark | undefined {
  const lines = (rawText(item['00700006']) ?? '').slice(0, MAX_TEXT).split(/\r\n|\r|\n/);
  const boxUnits = unitsOf(item['00700003']);
  const [from] = pointsOf(item['00700010']) ?? [];
  const [to] = pointsOf(item['00700011']) ?? [];
  const anchorUnits = unitsOf(item['00700004']);
  const [at] = pointsOf(item['00700014']) ?? [];
  const justification = text(item['00700012']);
  const box =
    boxUnits === undefined || from === undefined || to === undefined
      ? undefined
      : ({
          units: boxUnits,
          corners: [from, to],
          justification: justification === 'CENTER' || justification === 'RIGHT' ? justification : 'LEFT',
        } as const);
  const anchor =
    anchorUnits === undefined || at === undefined
      ? undefined
      : { units: anchorUnits, at, isVisible: text(item['00700015']) === 'Y' };
  if (box === undefined && anchor === undefined) return undefined;
  const color = labOf(items(item['00700231'])[0]?.['00700241']) ?? layer;
  return { kind: 'text', lines, color, box, anchor };
}

const isGraphicType = (type: string): type is GraphicType => graphicTypes.includes(type);

/** MATRIX counts in a whole that frames are tiles of; nothing of that kind is put together here. */
function unitsOf(element: JsonElement | undefined): MarkUnits | undefined {
  const units = text(element);
  return units === 'PIXEL' ? 'image' : units === 'DISPLAY' ? 'display' : undefined;
}

function pointsOf(element: JsonElement | undefined): Point[] | undefined {
  const values = numbers(element);
  if (values.length < 2 || values.length > 2 * MAX_POINTS + 1) return undefined;
  const points: Point[] = [];
  for (let i = 0; i + 1 < values.length; i += 2) {
    const point = { x: values[i]!, y: values[i + 1]! };
    if (!Number.isFinite(point.x) || !Number.isFinite(point.y)) return undefined;
    points.push(point);
  }
  return points;
}

function rawText(element: JsonElement | undefined): string | undefined {
  const value = element?.Value?.[0];
  return typeof value === 'string' ? value : undefined;
}

const text = (element: JsonElement | undefined): string | undefined => rawText(element)?.trim();
