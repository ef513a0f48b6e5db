/**
 * The gateway's settings: every environment variable it reads, checked as a whole at start, all faults reported at once.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { LogLevel } from '#shared/log.ts';
import { isLoopbackName } from './http/own-name.ts';

/** PS3.5 §6.2: up to 16 characters of the default repertoire, no backslash, not only spaces. */
const aeTitle = z
  .string()
  .regex(/^[\x20-\x5b\x5d-\x7e]{1,16}$/, 'must have 1 to 16 printable ASCII characters and no backslash')
  .refine((text) => text.trim() !== '', 'must not be blank')
  .transform((text) => text.trim());

const openAe = {
  addresses: [],
  tls: false,
  certificateSubjects: [],
  mayStore: true,
  mayQuery: true,
  mayRetrieve: true,
  maxAssociations: undefined,
} as const;

/** Other AEs by title: `NAME=host:port,NAME2=[::1]:104`; a name stands once. */
const remoteAes = z
  .string()
  .default('')
  .transform((text, context): ReadonlyMap<string, RemoteAe> => {
    const found = new Map<string, RemoteAe>();
    for (const entry of text.split(',').map((part) => part.trim())) {
      if (entry === '') continue;
      const parts = /^([\x20-\x5b\x5d-\x7e]{1,16})=(\[[0-9A-Fa-f:.]+\]|[^\s:[\]=]+):(\d{1,5})$/.exec(entry);
      const [name, host, number] = [parts?.[1]?.trim() ?? '', parts?.[2] ?? '', Number(parts?.[3])];
      const isWrong = name === '' || host === '' || !(number >= 1 && number <= 65_535);
      if (isWrong || found.has(name)) {
        const message = isWrong
          ? 'must be a list such as PACS=10.0.0.5:104,VIEWER=viewer.example:11112'
          : `names ${name} twice`;
        context.addIssue({ code: 'custom', message });
        return z.NEVER;
      }
      found.set(name, { ...openAe, aeTitle: name, host: host.replace(/^\[|\]$/g, ''), port: number });
    }
    return found;
  });

const MIB = 1024 * 1024;

const port = z.coerce.number().int().min(0).max(65_535);

const variables = z.object({
  ARCHIPEL_EDGE_DATA: z.string().min(1).default('data/edge'),
  ARCHIPEL_EDGE_HOST: z.string().min(1).default('127.0.0.1'),
  ARCHIPEL_EDGE_AE_TITLE: aeTitle.default('ARCHIPEL'),
  ARCHIPEL_EDGE_DICOM_PORT: port.default(11_112),
  ARCHIPEL_EDGE_HTTP_PORT: port.default(8081),
  ARCHIPEL_EDGE_CLOUD_URL: z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
    .default('http://127.0.0.1:8080'),
  ARCHIPEL_EDGE_TENANT: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must have 1 to 63 of a-z, 0-9 and -')
    .default('default'),
  ARCHIPEL_EDGE_PARALLEL_UPLOADS: z.coerce.number().int().min(1).max(32).default(3),
  ARCHIPEL_EDGE_DISK_RESERVE_MB: z.coerce.number().int().min(16).default(1024),
  ARCHIPEL_EDGE_LAN_ACCESS: z.enum(['loopback', 'open']).default('loopback'),
  ARCHIPEL_EDGE_VIEWER_FOLDER: z.string().min(1).optional(),
  ARCHIPEL_EDGE_REMOTE_AES: remoteAes,
  ARCHIPEL_EDGE_MAX_FIND_RESULTS: z.coerce.number().int().min(1).default(100_000),
  ARCHIPEL_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

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
  /** The first rule whose conditions all hold decides; none: routine. */
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

/** @throws Error whose message lists every variable that is wrong and why */
export function readEdgeSettings(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): EdgeSettings {
  const parsed = variables.safeParse(environment);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.')} ${issue.message}`);
    throw new Error(`The gateway's settings are wrong:\n${faults.join('\n')}`);
  }
  const s = parsed.data;
  const reserveBytes = s.ARCHIPEL_EDGE_DISK_RESERVE_MB * MIB;
  return {
    dataFolder: resolve(s.ARCHIPEL_EDGE_DATA),
    host: s.ARCHIPEL_EDGE_HOST,
    tenant: s.ARCHIPEL_EDGE_TENANT,
    logLevel: s.ARCHIPEL_LOG_LEVEL,
    cloudUrl: s.ARCHIPEL_EDGE_CLOUD_URL,
    httpPort: s.ARCHIPEL_EDGE_HTTP_PORT,
    lanAccess: s.ARCHIPEL_EDGE_LAN_ACCESS,
    viewerFolder: s.ARCHIPEL_EDGE_VIEWER_FOLDER === undefined ? undefined : resolve(s.ARCHIPEL_EDGE_VIEWER_FOLDER),
    aeTitle: s.ARCHIPEL_EDGE_AE_TITLE,
    dicomPort: s.ARCHIPEL_EDGE_DICOM_PORT,
    maxFindResults: s.ARCHIPEL_EDGE_MAX_FIND_RESULTS,
    dicomTls: undefined,
    calledAeTitles: 'any',
    unknownCallers: isLoopbackName(s.ARCHIPEL_EDGE_HOST) ? 'accepted' : 'rejected',
    maxAssociations: 64,
    maxAssociationsPerAddress: 32,
    remoteAes: s.ARCHIPEL_EDGE_REMOTE_AES,
    routes: [],
    commitment: { mode: 'cloud', retryHours: 48 },
    cache: {
      retentionDays: 30,
      reserveBytes,
      rejectBelowBytes: reserveBytes / 2,
      evictBelowBytes: 4 * reserveBytes,
      scrubDays: 30,
    },
    upload: {
      parallel: s.ARCHIPEL_EDGE_PARALLEL_UPLOADS,
      kilobytesPerSecond: undefined,
      hours: [],
      partBytes: 16 * MIB,
      multipartAboveBytes: 100 * MIB,
      priorities: [],
    },
  };
}
