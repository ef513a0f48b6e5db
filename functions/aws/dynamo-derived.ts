/**
 * What the items of a series and of a study say, derived from the level below: no reads and no writes, so that whoever has the level below
 * in his hands makes the same items. How they get into the table is dynamo-aggregates.ts.
 */
import { createHash } from 'node:crypto';
import {
  arrivedBefore,
  attributesOf,
  type SeriesRecord,
  type SeriesRef,
  type StudyRecord,
  type StudyRef,
} from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { trim } from '#shared/dicom/match-condition.ts';
import { type InstanceItem, uidLookup } from './dynamo-instances.ts';
import { packAttributes, unpackAttributes, withAttributes } from './dynamo-items.ts';
import { type ItemKey, partOf, seriesKey, studyKey, tenantOf, uidsOf, uidsToSay } from './dynamo-keys.ts';
import {
  attemptPrefix,
  type LookupItem,
  listedStudy,
  lookupItems,
  lookupsOf,
  monthOf,
  monthPartition,
  studyDay,
  studyList,
} from './dynamo-lookups.ts';

export interface SeriesItem extends ItemKey {
  readonly uids?: string;
  readonly version: number;
  readonly instanceCount: number;
  /** Attributes of the series, out of its first instance. */
  readonly data: Uint8Array;
  /** Attributes that the study has if this series is its first. */
  readonly studyData: Uint8Array;
  readonly modalities: readonly string[];
  readonly classes: readonly string[];
  /** Where the first instance is. */
  readonly pack: string;
  readonly offset: number;
}

/** As the index of days has it, too, without what is of no use to a search. */
export interface StudyItem extends ItemKey {
  readonly uids?: string;
  readonly seriesCount: number;
  readonly instanceCount: number;
  readonly data: Uint8Array;
  readonly modalities: readonly string[];
  readonly classes: readonly string[];
  readonly day?: string;
}

export interface StoredStudyItem extends StudyItem {
  readonly version: number;
  /** Of what leads to it, and of where it stands: what has not changed is not written anew. */
  readonly lookupHash?: string;
  /** Which attempt has written what leads to it. */
  readonly lookupAttempt?: string;
}

/** What is counted of an instance. */
export type Counted = Pick<InstanceItem, 'class' | 'pack' | 'offset' | 'data'>;
export const countedAttributes = ['class', 'pack', 'offset', 'data'] as const satisfies readonly (keyof Counted)[];

export interface SeriesCount {
  count: number;
  readonly classes: Set<string>;
  first: Counted | undefined;
}

/** An item has room for no more; the standard has 200 SOP Classes, and a modality is one of some 80. */
const MAXIMUM_LIST = 1_000;

export function countOne(counted: SeriesCount, item: Counted): void {
  counted.count++;
  counted.classes.add(item.class);
  if (counted.first === undefined || arrivedBefore(placeOf(item), placeOf(counted.first))) counted.first = item;
}

export function derivedSeries(tenant: string, ref: SeriesRef, { count, classes, first }: SeriesCount, version: number) {
  const attributes = unpackAttributes(first?.data);
  const ofSeries = attributesOf('series', attributes);
  return {
    ...seriesKey(tenant, ref),
    ...uidsToSay([ref.studyInstanceUid, ref.seriesInstanceUid]),
    version,
    instanceCount: count,
    data: packAttributes(ofSeries),
    studyData: packAttributes(attributesOf('study', attributes)),
    modalities: textsOf(ofSeries['00080060']),
    classes: sortedUnique([...classes]),
    pack: first?.pack ?? '',
    offset: first?.offset ?? 0,
    ...(count > 0 && { lookup: uidLookup(tenant, ref.seriesInstanceUid), found: 'SERIES' }),
  };
}

export interface DerivedStudy {
  readonly item: StoredStudyItem &
    Readonly<Record<string, string | number | Uint8Array | readonly string[] | undefined>>;
  /** To be written before it. */
  readonly lookups: readonly LookupItem[];
  /** Where it stands; undefined: nowhere, since it has no instances. */
  readonly month: string | undefined;
}

/** @param writer tells this attempt from others at the same version */
export function derivedStudy(
  tenant: string,
  ref: StudyRef,
  series: readonly SeriesItem[],
  known: StoredStudyItem | undefined,
  writer: string,
): DerivedStudy {
  const present = series.filter(({ instanceCount }) => instanceCount > 0);
  const first = present.reduce<SeriesItem | undefined>(
    (a, b) => (a === undefined || arrivedBefore(placeOf(b), placeOf(a)) ? b : a),
    undefined,
  );
  const at = studyKey(tenant, ref);
  const attributes = unpackAttributes(first?.studyData);
  const isShown = first !== undefined;
  const version = (known?.version ?? 0) + 1;
  const day = studyDay(attributes, ref.studyInstanceUid);
  const leads = isShown ? lookupsOf(attributes) : [];
  const lookupHash = createHash('sha256')
    .update(JSON.stringify([isShown, day, leads]))
    .digest('base64url');
  const isSame = known?.lookupHash === lookupHash;
  const attempt = { version, writer, day };
  const item = {
    ...at,
    ...uidsToSay([ref.studyInstanceUid]),
    version,
    lookupHash,
    lookupAttempt: (isSame ? known.lookupAttempt : undefined) ?? attemptPrefix(attempt),
    seriesCount: present.length,
    instanceCount: present.reduce((sum, { instanceCount }) => sum + instanceCount, 0),
    data: first?.studyData ?? packAttributes({}),
    modalities: sortedUnique(present.flatMap(({ modalities }) => modalities)),
    classes: sortedUnique(present.flatMap(({ classes }) => classes)),
    ...(isShown && {
      month: monthPartition(tenant, monthOf(day)),
      day,
      lookup: studyList(tenant),
      found: listedStudy(partOf(ref.studyInstanceUid)),
    }),
  };
  const lookups = isSame ? [] : lookupItems(tenant, at.pk, attempt, leads);
  return { item, lookups, month: isShown ? monthOf(day) : undefined };
}

const placeOf = ({ pack, offset }: { readonly pack: string; readonly offset: number }) => ({
  packId: pack,
  offsetBytes: offset,
});

export function studyRecord(item: StudyItem): StudyRecord {
  const [studyInstanceUid = ''] = uidsOf(item);
  return withAttributes(
    {
      tenant: tenantOf(item.pk),
      studyInstanceUid,
      modalities: item.modalities,
      sopClassUids: item.classes,
      seriesCount: item.seriesCount,
      instanceCount: item.instanceCount,
    },
    item.data,
  );
}

export function seriesRecord(item: SeriesItem): SeriesRecord {
  const [studyInstanceUid = '', seriesInstanceUid = ''] = uidsOf(item);
  const { pk, data, instanceCount } = item;
  return withAttributes({ tenant: tenantOf(pk), studyInstanceUid, seriesInstanceUid, instanceCount }, data);
}

const sortedUnique = (values: readonly string[]): string[] => [...new Set(values)].sort().slice(0, MAXIMUM_LIST);

function textsOf(element: DicomJson[string] | undefined): string[] {
  return (element?.Value ?? [])
    .filter((value) => typeof value === 'string')
    .map(trim)
    .filter((text) => text !== '');
}
