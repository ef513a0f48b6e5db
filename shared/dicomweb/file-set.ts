/**
 * Instances as a DICOM File-set (PS3.10 §8): names of eight characters for their files, and the DICOMDIR that says what is in them. What
 * pictures need stands in the index; of everything else the manifest is read.
 */
import { createHash } from 'node:crypto';
import type { Archive } from '../archive/ports.ts';
import type { SeriesRecord, StudyRecord } from '../archive/records.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { type DirectoryRecord, encodeDicomdir } from '../dicom/dicomdir.ts';
import { ArchiveError } from '../errors.ts';
import { keysOf, recordTypeOf } from './directory-records.ts';
import type { Manifests } from './manifests.ts';
import { inViewingOrder, type StoredInstance } from './stored-instances.ts';

export interface FileSet {
  /** The name of each instance's file in the ZIP file. */
  readonly nameOf: (instance: StoredInstance) => string;
  readonly dicomdir: Uint8Array;
}

/** Its directory is made in memory; more instances than this go without one. */
export const maximumDicomdirInstances = 100_000;
const rootFolder = 'IMAGES';

/** Errors: `limit-exceeded` for more than 100,000 instances; those of the manifests; `bad-request` for UIDs that no DICOMDIR can hold. */
export async function makeFileSet(
  { archive, manifests }: { readonly archive: Archive; readonly manifests: Manifests },
  instances: readonly StoredInstance[],
): Promise<FileSet> {
  if (instances.length > maximumDicomdirInstances) {
    throw new ArchiveError(
      'limit-exceeded',
      `A DICOMDIR is made for at most ${maximumDicomdirInstances} instances; ask for series, or leave out dicomdir.`,
    );
  }
  const first = instances[0]!;
  const [study, series] = await Promise.all([
    archive.index.getStudy(first.tenant, first),
    archive.index.listSeries(first.tenant, first),
  ]);
  const fileIds = new Map<StoredInstance, readonly string[]>();
  const seriesRecords: DirectoryRecord[] = [];
  const groups = Map.groupBy(inViewingOrder(instances), ({ seriesInstanceUid }) => seriesInstanceUid);
  for (const [seriesInstanceUid, members] of groups) {
    const folder = numbered('SE', seriesRecords.length + 1);
    const lower: DirectoryRecord[] = [];
    for (const instance of members) {
      const fileId = [rootFolder, folder, numbered('IM', lower.length + 1)];
      fileIds.set(instance, fileId);
      lower.push(await recordOf(manifests, instance, fileId, lower.length + 1));
    }
    const record = series.find((one) => one.seriesInstanceUid === seriesInstanceUid);
    seriesRecords.push(seriesRecordOf(record, seriesInstanceUid, lower));
  }
  const patient: DirectoryRecord = {
    type: 'PATIENT',
    attributes: keysOf('PATIENT', study?.attributes ?? {}),
    lower: [{ type: 'STUDY', attributes: studyKeys(study, first), lower: seriesRecords }],
  };
  return {
    nameOf: (instance) => fileIds.get(instance)!.join('/'),
    dicomdir: encodeDicomdir([patient], { sopInstanceUid: uidOf(instances), fileSetId: 'ARCHIPEL' }),
  };
}

const numbered = (letters: string, number: number): string => `${letters}${String(number).padStart(6, '0')}`;

const studyKeys = (study: StudyRecord | undefined, { studyInstanceUid }: StoredInstance): DicomJson => ({
  ...keysOf('STUDY', study?.attributes ?? {}),
  '0020000D': { vr: 'UI', Value: [studyInstanceUid] },
});

const seriesRecordOf = (
  series: SeriesRecord | undefined,
  seriesInstanceUid: string,
  lower: readonly DirectoryRecord[],
): DirectoryRecord => ({
  type: 'SERIES',
  attributes: {
    ...keysOf('SERIES', series?.attributes ?? {}),
    '0020000E': { vr: 'UI', Value: [seriesInstanceUid] },
  },
  lower,
});

async function recordOf(
  manifests: Manifests,
  instance: StoredInstance,
  fileId: readonly string[],
  position: number,
): Promise<DirectoryRecord> {
  const type = recordTypeOf(instance.sopClassUid, instance.isImage);
  const number = Number.isFinite(instance.instanceNumber) ? instance.instanceNumber : position;
  const known: DicomJson =
    type === 'IMAGE' || type === 'PRIVATE'
      ? {}
      : keysOf(type, JSON.parse((await manifests.entryOf(instance)).metadata) as DicomJson);
  return {
    type,
    attributes: {
      ...(type === 'PRIVATE' ? { '00041432': { vr: 'UI', Value: [instance.sopClassUid] } } : {}),
      '00041500': { vr: 'CS', Value: [...fileId] },
      '00041510': { vr: 'UI', Value: [instance.sopClassUid] },
      '00041511': { vr: 'UI', Value: [instance.sopInstanceUid] },
      '00041512': { vr: 'UI', Value: [instance.transferSyntaxUid] },
      ...known,
      ...(type === 'PRIVATE' ? {} : { '00200013': { vr: 'IS', Value: [number] } }),
    },
    lower: [],
  };
}

/** A UID of the file-set's own (PS3.5 §B.2): the same instances make the same one. */
function uidOf(instances: readonly StoredInstance[]): string {
  const hash = createHash('sha256');
  for (const { sopInstanceUid, digest } of instances) hash.update(`${sopInstanceUid}\n${digest}\n`);
  const bytes = hash.digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80; // a UUID of version 8, RFC 9562 §5.8
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return `2.25.${BigInt(`0x${bytes.toString('hex')}`)}`;
}
