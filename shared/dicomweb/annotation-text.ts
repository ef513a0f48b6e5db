/**
 * What is burnt into a picture that is asked for with `annotation` (PS3.18 §8.3.5.1.1): `patient`, who it is of, and `technique`, how it
 * came about. The lines only; drawing them is imaging's. Names are given by the component group that can be drawn.
 */

import { parseDate, parseTime } from '../dicom/date-time.ts';
import type { DicomJson, JsonElement, PersonName } from '../dicom/dicom-json-model.ts';
import type { Annotation } from '../imaging/annotation.ts';
import { canBeDrawn } from '../imaging/glyphs.ts';
import { items } from '../imaging/image-attributes.ts';
import type { AnnotationKind } from './render-parameters.ts';
import type { VolumeView } from './volume-view.ts';

export interface AnnotationText extends Annotation {
  /** Whether all characters have a glyph; those that have none are drawn as empty boxes. */
  readonly complete: boolean;
}

export function annotationOf(
  metadata: DicomJson,
  kinds: readonly AnnotationKind[],
  frame: { readonly number: number; readonly count: number },
): AnnotationText {
  const topLeft = kinds.includes('patient') ? patientLines(metadata) : [];
  const bottomLeft = kinds.includes('technique') ? techniqueLines(metadata, frame) : [];
  return { topLeft, bottomLeft, complete: [...topLeft, ...bottomLeft].every(canBeDrawn) };
}

/** Of one slice alone: its number and place, of the picture of a plane through all of them an untruth. */
const ofOneSlice = ['00200013', '00201041', '00200032', '00180050', '52009230'];

/** The same for a plane through a volume: of the slices what they have in common, and what was made of them. */
export function volumeAnnotationOf(
  metadata: DicomJson,
  kinds: readonly AnnotationKind[],
  { described, slab }: VolumeView,
): AnnotationText {
  const common = Object.fromEntries(Object.entries(metadata).filter(([tag]) => !ofOneSlice.includes(tag)));
  const text = annotationOf(common, kinds, { number: 1, count: 1 });
  if (!kinds.includes('technique')) return text;
  const projection = slab && { maximum: 'MIP', minimum: 'MinIP', average: 'average' }[slab.method];
  const thickness = described.slabMm === undefined ? undefined : `${described.slabMm}mm`;
  return {
    ...text,
    bottomLeft: [
      ...text.bottomLeft,
      ...lines([[described.kind === 'rendered3d' ? '3D' : 'MPR', projection, thickness]]),
    ],
  };
}

function patientLines(metadata: DicomJson): string[] {
  const name = personNameOf(metadata['00100010']);
  const born = dateText(text(metadata['00100030']));
  const details = [born && `* ${born}`, text(metadata['00100040']), text(metadata['00101010'])];
  return lines([[name], [labelled('ID', text(metadata['00100020']))], details]);
}

function techniqueLines(metadata: DicomJson, frame: { number: number; count: number }): string[] {
  const perFrame = metadata['52009230']?.Value?.[frame.number - 1];
  const groups = [typeof perFrame === 'object' && perFrame !== null ? (perFrame as DicomJson) : undefined]
    .concat(items(metadata['52009229'])[0])
    .filter((group) => group !== undefined);
  /** At the top level or in the macro of a functional group, whose attributes have the same tags. */
  const anywhere = (tag: string, macro: string): string | undefined =>
    [metadata, ...groups.flatMap((group) => items(group[macro]))]
      .map((place) => text(place[tag]))
      .find((value) => value !== undefined);
  const date = dateText(text(metadata['00080022']) ?? text(metadata['00080020']));
  const time = timeText(text(metadata['00080032']) ?? text(metadata['00080030']));
  const position = metadata['00200032'] ?? groups.flatMap((group) => items(group['00209113']))[0]?.['00200032'];
  const number = [
    labelled('Se', text(metadata['00200011'])),
    labelled('Im', text(metadata['00200013'])),
    frame.count > 1 ? `Fr ${frame.number}/${frame.count}` : undefined,
  ];
  return lines([
    [text(metadata['00081030'])],
    [text(metadata['00080060']), text(metadata['0008103E'])],
    [labelled('KVP', anywhere('00180060', '00189325')), labelled('mAs', text(metadata['00181152']))],
    [
      labelled('T', anywhere('00180050', '00289110'), 'mm'),
      labelled('Loc', text(metadata['00201041']), 'mm'),
      positionText(position),
    ],
    [text(metadata['00185101']), text(metadata['00200060']) ?? text(metadata['00200062'])],
    number,
    [date, time],
  ]);
}

const lines = (rows: readonly (readonly (string | undefined)[])[]): string[] =>
  rows.map((row) => row.filter(Boolean).join('  ')).filter((line) => line !== '');

const labelled = (label: string, value: string | undefined, unit = ''): string | undefined =>
  value === undefined ? undefined : `${label} ${value}${unit}`;

/** The alphabetic group where it can be drawn, else another one that can, else the alphabetic one with boxes. */
function personNameOf(element: JsonElement | undefined): string | undefined {
  const name = element?.Value?.[0] as PersonName | undefined;
  if (typeof name !== 'object' || name === null) return undefined;
  const groups = [name.Alphabetic, name.Phonetic, name.Ideographic].filter((group) => group !== undefined);
  return namePlain(groups.find(canBeDrawn) ?? groups[0]);
}

/** Family name, given names: as a reader writes them, without carets. */
function namePlain(group: string | undefined): string | undefined {
  if (group === undefined) return undefined;
  const [family = '', given = '', middle = '', prefix = '', suffix = ''] = group.split('^').map((part) => part.trim());
  const rest = [prefix, given, middle, suffix].filter(Boolean).join(' ');
  return [family, rest].filter(Boolean).join(', ');
}

function text(element: JsonElement | undefined): string | undefined {
  const value = element?.Value?.[0];
  if (typeof value === 'number') return String(Math.round(value * 1000) / 1000);
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}

function positionText(element: JsonElement | undefined): string | undefined {
  const values = (element?.Value ?? []).map(Number);
  if (values.length !== 3 || values.some((value) => !Number.isFinite(value))) return undefined;
  return `(${values.map((value) => value.toFixed(1)).join(' ')})`;
}

/** `20240131` as 2024-01-31; what is no date stays as it is. */
export function dateText(value: string | undefined): string | undefined {
  const date = value === undefined ? undefined : parseDate(value)?.from;
  return date === undefined ? value : `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6, 8)}`;
}

/** `101500.25` as 10:15:00, `1015` as 10:15. */
export function timeText(value: string | undefined): string | undefined {
  if (value === undefined || parseTime(value) === undefined) return value;
  const digits = value.replaceAll(':', '').split('.')[0]!;
  return digits.match(/../g)?.join(':') ?? value;
}
