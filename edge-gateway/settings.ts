/**
 * What the gateway is set to: one file in TOML that ARCHIPEL_EDGE_SETTINGS names, environment variables before it, defaults
 * for the rest. Read once at start and checked as a whole. Fields, bounds and explanations are in settings/schema.ts.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { LogLevel } from '#shared/log.ts';
import { isLoopbackName } from './http/own-name.ts';
import { type Fault, faultsOf, sentenceOf } from './settings/faults.ts';
import { crossFaults, type SettingsFile, settingsFile } from './settings/schema.ts';
import { FILE_VARIABLE, withVariables } from './settings/variables.ts';

export interface EdgeSettings {
  readonly dataFolder: string;
  /** Address on which DICOM and HTTP listen. */
  readonly host: string;
  readonly tenant: string;
  readonly logLevel: LogLevel;
  readonly cloudUrl: string;
  readonly httpPort: number;
  /** Who may search and view what is here: programs on this machine only, or everybody who can reach the HTTP port. */
  readonly lanAccess: 'loopback' | 'open';
  /** Of the viewer's built pages, which may come later than the gateway; undefined: no viewer here. */
  readonly viewerFolder: string | undefined;
  readonly aeTitle: string;
  readonly dicomPort: number;
  /** Answers to one C-FIND. */
  readonly maxFindResults: number;
  /** A second port for DICOM over TLS; undefined: none. */
  readonly dicomTls: DicomTlsSettings | undefined;
  /** Titles by which callers may address this AE; most modalities are set up carelessly, so any by default. */
  readonly calledAeTitles: 'any' | readonly string[];
  /** Callers that are not in `remoteAes`. */
  readonly unknownCallers: 'accepted' | 'rejected';
  readonly maxAssociations: number;
  readonly maxAssociationsPerAddress: number;
  /** Other AEs by title: who may call, where C-MOVE, routes and commitment reports go. */
  readonly remoteAes: ReadonlyMap<string, RemoteAe>;
  readonly routes: readonly RouteRule[];
  readonly commitment: CommitmentSettings;
  readonly cache: CacheSettings;
  readonly upload: UploadSettings;
}

export interface DicomTlsSettings {
  readonly port: number;
  /** PEM files. */
  readonly keyFile: string;
  readonly certificateFile: string;
  /** Of who signs the clients' certificates. */
  readonly authorityFile?: string;
  readonly clientCertificate: 'required' | 'none';
}

export interface RemoteAe {
  readonly aeTitle: string;
  readonly host: string;
  readonly port: number;
  /** Addresses or CIDR ranges from which it may call; empty: any. */
  readonly addresses: readonly string[];
  /** Whether it is called by TLS. */
  readonly tls: boolean;
  /** One of them must be CN or SAN of its client certificate; empty: any trusted certificate. */
  readonly certificateSubjects: readonly string[];
  readonly mayStore: boolean;
  readonly mayQuery: boolean;
  readonly mayRetrieve: boolean;
  /** At once; undefined: only the gateway's own limits. */
  readonly maxAssociations: number | undefined;
}

/** What goes on to another AE; all conditions that are given must hold. */
export interface RouteRule {
  /** AE title in `remoteAes`. */
  readonly to: string;
  readonly callingAeTitles?: readonly string[];
  readonly modalities?: readonly string[];
}

export interface CommitmentSettings {
  /** When an instance counts as committed: re-read on this disk, or archived by the cloud. */
  readonly mode: 'edge' | 'cloud';
  /** How long a report is tried for. */
  readonly retryHours: number;
}

export interface CacheSettings {
  readonly retentionDays: number;
  /** Free space below which C-STORE is answered A700H. */
  readonly reserveBytes: number;
  /** Free space below which associations are rejected. */
  readonly rejectBelowBytes: number;
  /** Free space below which archived packs are evicted, least recently used first. */
  readonly evictBelowBytes: number;
  /** Every pack is re-read once in so many days; 0: never. */
  readonly scrubDays: number;
}

export type UploadPriority = 'stat' | 'routine' | 'low';

export interface UploadSettings {
  /** Packs on the wire at once. */
  readonly parallel: number;
  /** All uploads together; undefined: as fast as it goes. */
  readonly kilobytesPerSecond: number | undefined;
  /** Local time, `HH:MM`, `to` may be on the next day; empty: always. STAT goes always. */
  readonly hours: readonly UploadHours[];
  readonly partBytes: number;
  /** Packs larger than this go in parts. */
  readonly multipartAboveBytes: number;
  /** The first rule whose conditions all hold decides; none: the priority of the C-STORE. */
  readonly priorities: readonly UploadPriorityRule[];
}

export interface UploadHours {
  readonly from: string;
  readonly to: string;
}

export interface UploadPriorityRule {
  readonly callingAeTitle?: string;
  readonly modality?: string;
  readonly dimsePriority?: 'high' | 'medium' | 'low';
  readonly priority: UploadPriority;
}

const MIB = 1024 * 1024;

/**
 * @param path of the settings file; undefined or empty: there is none
 * @throws Error whose message lists everything that is wrong: where it stands, what it is, what to write
 */
export function readEdgeSettings(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  path: string | undefined = environment[FILE_VARIABLE],
): EdgeSettings {
  if (path === undefined || path === '') return edgeSettingsOf('', environment);
  let toml: string;
  try {
    toml = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new Error(`The settings file ${path} cannot be read (${code}); ${FILE_VARIABLE} must name one.`, { cause });
  }
  return edgeSettingsOf(toml, environment, path);
}

/** @param file its name, for what is said about it */
export function edgeSettingsOf(
  toml: string,
  environment: Readonly<Record<string, string | undefined>> = {},
  file?: string,
): EdgeSettings {
  const wrong = `The gateway's settings are wrong${file === undefined ? '' : `, in ${file} or in the environment`}:`;
  let tables: Record<string, unknown>;
  try {
    tables = parse(toml);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const what = cause.message.split('\n')[0]?.replace(/^Invalid TOML document: /, '');
    throw new Error(`${wrong}\n  line ${cause.line}, column ${cause.column}: is no TOML: ${what}`, { cause });
  }
  const given = withVariables(tables, environment);
  const checked = settingsFile.safeParse(given);
  const faults: Fault[] = [
    ...(checked.success ? [] : faultsOf(checked.error.issues)),
    ...crossFaults(rightPartsOf(given)),
    ...unreadableFiles(rightPartsOf(given)),
  ];
  if (!checked.success || faults.length > 0) {
    const sentences = faults.map((fault) => `  ${sentenceOf(fault, { toml, given, environment })}`);
    throw new Error([wrong, ...sentences].join('\n'));
  }
  return settingsFrom(checked.data);
}

/** The top fields that are right by themselves, so that what is between fields is found in the same round. */
function rightPartsOf(given: Readonly<Record<string, unknown>>): Partial<SettingsFile> {
  const right: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(settingsFile.shape)) {
    const checked = schema.safeParse(given[key]);
    if (checked.success) right[key] = checked.data;
  }
  return right;
}

function unreadableFiles({ dicomTls }: Partial<SettingsFile>): Fault[] {
  return (['keyFile', 'certificateFile', 'authorityFile'] as const).flatMap((key): Fault[] => {
    const file = dicomTls?.[key];
    if (file === undefined) return [];
    try {
      accessSync(file, constants.R_OK);
      return [];
    } catch (error) {
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      return [{ path: ['dicomTls', key], message: `names ${file}, which cannot be read (${code})` }];
    }
  });
}

function settingsFrom(file: SettingsFile): EdgeSettings {
  const { dataFolder, viewerFolder, unknownCallers, dicomTls, remoteAes, routes, cache, upload, ...same } = file;
  const reserveBytes = cache.reserveMegabytes * MIB;
  return {
    ...same,
    dataFolder: dataFolder ?? resolve('data/edge'),
    viewerFolder,
    unknownCallers: unknownCallers ?? (isLoopbackName(file.host) ? 'accepted' : 'rejected'),
    dicomTls: dicomTls && withoutUndefined(dicomTls),
    remoteAes: new Map(remoteAes.map((ae) => [ae.aeTitle, { ...ae, maxAssociations: ae.maxAssociations }] as const)),
    routes: routes.map(withoutUndefined),
    cache: {
      retentionDays: cache.retentionDays,
      reserveBytes,
      rejectBelowBytes: cache.rejectBelowMegabytes === undefined ? reserveBytes / 2 : cache.rejectBelowMegabytes * MIB,
      evictBelowBytes: cache.evictBelowMegabytes === undefined ? 4 * reserveBytes : cache.evictBelowMegabytes * MIB,
      scrubDays: cache.scrubDays,
    },
    upload: {
      parallel: upload.parallel,
      kilobytesPerSecond: upload.kilobytesPerSecond,
      hours: upload.hours,
      partBytes: upload.partMegabytes * MIB,
      multipartAboveBytes: upload.multipartAboveMegabytes * MIB,
      priorities: upload.priorities.map(withoutUndefined),
    },
  };
}

type WithoutUndefined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** What was not given is absent. */
function withoutUndefined<T extends object>(given: T): WithoutUndefined<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as WithoutUndefined<T>;
}
