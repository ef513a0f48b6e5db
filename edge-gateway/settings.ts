/**
 * The gateway's settings: every environment variable it reads, checked as a whole at start, all faults reported at once.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { LogLevel } from '#shared/log.ts';

/** PS3.5 §6.2: up to 16 characters of the default repertoire, no backslash, not only spaces. */
const aeTitle = z
  .string()
  .regex(/^[\x20-\x5b\x5d-\x7e]{1,16}$/, 'must have 1 to 16 printable ASCII characters and no backslash')
  .refine((text) => text.trim() !== '', 'must not be blank')
  .transform((text) => text.trim());

/** Other AEs by title: `NAME=host:port,NAME2=[::1]:104`; a name stands once. */
const remoteAes = z
  .string()
  .default('')
  .transform((text, context): ReadonlyMap<string, { readonly host: string; readonly port: number }> => {
    const found = new Map<string, { host: string; port: number }>();
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
      found.set(name, { host: host.replace(/^\[|\]$/g, ''), port: number });
    }
    return found;
  });

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
  readonly host: string;
  readonly aeTitle: string;
  readonly dicomPort: number;
  readonly httpPort: number;
  readonly cloudUrl: string;
  readonly tenant: string;
  readonly parallelUploads: number;
  readonly diskReserveBytes: number;
  /** Who may search and view what is here: programs on this machine only, or everybody who can reach the HTTP port. */
  readonly lanAccess: 'loopback' | 'open';
  /** Of the viewer's built pages, which may come later than the gateway; undefined: no viewer here. */
  readonly viewerFolder: string | undefined;
  /** Where C-MOVE may send to, by AE title. */
  readonly remoteAes: ReadonlyMap<string, { readonly host: string; readonly port: number }>;
  /** Answers to one C-FIND. */
  readonly maxFindResults: number;
  readonly logLevel: LogLevel;
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
  return {
    dataFolder: resolve(s.ARCHIPEL_EDGE_DATA),
    host: s.ARCHIPEL_EDGE_HOST,
    aeTitle: s.ARCHIPEL_EDGE_AE_TITLE,
    dicomPort: s.ARCHIPEL_EDGE_DICOM_PORT,
    httpPort: s.ARCHIPEL_EDGE_HTTP_PORT,
    cloudUrl: s.ARCHIPEL_EDGE_CLOUD_URL,
    tenant: s.ARCHIPEL_EDGE_TENANT,
    parallelUploads: s.ARCHIPEL_EDGE_PARALLEL_UPLOADS,
    diskReserveBytes: s.ARCHIPEL_EDGE_DISK_RESERVE_MB * 1024 * 1024,
    lanAccess: s.ARCHIPEL_EDGE_LAN_ACCESS,
    viewerFolder: s.ARCHIPEL_EDGE_VIEWER_FOLDER === undefined ? undefined : resolve(s.ARCHIPEL_EDGE_VIEWER_FOLDER),
    remoteAes: s.ARCHIPEL_EDGE_REMOTE_AES,
    maxFindResults: s.ARCHIPEL_EDGE_MAX_FIND_RESULTS,
    logLevel: s.ARCHIPEL_LOG_LEVEL,
  };
}
