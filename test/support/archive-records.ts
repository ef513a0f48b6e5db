/**
 * Index records for tests: everything has a default, every value can be set. UIDs are short, packIds sort by their number.
 */
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, JsonValue } from '#shared/dicom/dicom-json-model.ts';

let tenants = 0;

/** The tenant whose records are made: each test has one of its own, so that many can share an index. */
export const tenant = (): string => `hospital-${tenants}`;
/** Another one, which no other test has either. */
export const otherTenant = (): string => `hospital-${tenants}-b`;
export function newTenant(): void {
  tenants++;
}

export interface InstanceWish {
  readonly tenant?: string;
  /** Last parts of the UIDs. */
  readonly study?: number;
  readonly series?: number;
  readonly instance?: number;
  /** Any word; becomes 64 hex digits. */
  readonly bytes?: string;
  readonly pack?: number;
  readonly offsetBytes?: number;
  readonly sopClassUid?: string;
  readonly transferSyntaxUid?: string;
  readonly state?: InstanceRecord['state'];
  /** Added to the attributes, or put in place of them; undefined takes one away. */
  readonly attributes?: Readonly<Record<string, DicomJson[string] | undefined>>;
}

export const CT = '1.2.840.10008.5.1.4.1.1.2';
export const MR = '1.2.840.10008.5.1.4.1.1.4';

export const studyUid = (study: number): string => `1.2.3.${study}`;
export const seriesUid = (study: number, series: number): string => `${studyUid(study)}.${series}`;
export const instanceUid = (study: number, series: number, instance: number): string =>
  `${seriesUid(study, series)}.${instance}`;

/** UUIDv7 in shape; ascending with its number. */
export const packId = (pack: number): string => `${pack.toString(16).padStart(8, '0')}-0000-7000-8000-000000000000`;

export const digestOf = (bytes: string): string => Buffer.from(bytes).toString('hex').padStart(64, '0').slice(-64);

export const json = (vr: Vr, ...values: JsonValue[]): DicomJson[string] =>
  values.length === 0 ? { vr } : { vr, Value: values };

export function instanceRecord(wish: InstanceWish = {}): InstanceRecord {
  const { study = 1, series = 1, instance = 1, pack = 1, sopClassUid = CT } = wish;
  const attributes: Record<string, DicomJson[string] | undefined> = {
    '00080016': json('UI', sopClassUid),
    '00080018': json('UI', instanceUid(study, series, instance)),
    '00080020': json('DA', '20240115'),
    '00080050': json('SH', `A${study}`),
    '00080060': json('CS', sopClassUid === MR ? 'MR' : 'CT'),
    '0008103E': json('LO', `Series ${series}`),
    '00100010': json('PN', { Alphabetic: 'Example^Eve' }),
    '00100020': json('LO', `P${study}`),
    '0020000D': json('UI', studyUid(study)),
    '0020000E': json('UI', seriesUid(study, series)),
    '00200013': json('IS', instance),
    ...wish.attributes,
  };
  return {
    tenant: wish.tenant ?? tenant(),
    studyInstanceUid: studyUid(study),
    seriesInstanceUid: seriesUid(study, series),
    sopInstanceUid: instanceUid(study, series, instance),
    sopClassUid,
    transferSyntaxUid: wish.transferSyntaxUid ?? '1.2.840.10008.1.2.1',
    digest: digestOf(wish.bytes ?? `bytes ${study} ${series} ${instance}`),
    packId: packId(pack),
    offsetBytes: wish.offsetBytes ?? 100 * instance,
    lengthBytes: 90,
    dataSetOffsetBytes: 40,
    state: wish.state ?? 'current',
    attributes: Object.fromEntries(
      Object.entries(attributes)
        .filter((entry): entry is [string, DicomJson[string]] => entry[1] !== undefined)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    ),
  };
}

export function packRecord(
  wish: Partial<PackRecord> & { readonly pack?: number; readonly study?: number } = {},
): PackRecord {
  const { pack = 1, study = 1, ...fields } = wish;
  return {
    tenant: tenant(),
    studyInstanceUid: studyUid(study),
    seriesInstanceUid: seriesUid(study, 1),
    packId: packId(pack),
    state: 'open',
    instanceCount: 0,
    lengthBytes: 0,
    createdAtMs: 1_700_000_000_000 + pack,
    ...fields,
  };
}
