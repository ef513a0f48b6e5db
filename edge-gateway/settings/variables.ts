/**
 * The environment variables of the gateway, and which field of the settings file each stands for. A variable goes before
 * the file: it is how containers, tests and the one-machine run set things.
 */
import { resolve } from 'node:path';

/** Text as it is given, to what would stand in the file. What cannot be read stays text, and the schema says what it must be. */
type Reading = (text: string) => unknown;

const asText: Reading = (text) => text;
const asNumber: Reading = (text) => (/^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text);
const asPath: Reading = (text) => (text === '' ? text : resolve(text));

/** Where the settings file is; the only variable that stands for no field of it. */
export const FILE_VARIABLE = 'ARCHIPEL_EDGE_SETTINGS';

interface Variable {
  readonly path: readonly string[];
  readonly read: Reading;
  /** Said instead of the schema's words where the variable is written in another way than the field. */
  readonly form?: string;
}

export const variables: Readonly<Record<string, Variable>> = {
  ARCHIPEL_EDGE_DATA: { path: ['dataFolder'], read: asPath },
  ARCHIPEL_EDGE_HOST: { path: ['host'], read: asText },
  ARCHIPEL_EDGE_TENANT: { path: ['tenant'], read: asText },
  ARCHIPEL_EDGE_CLOUD_URL: { path: ['cloudUrl'], read: asText },
  ARCHIPEL_LOG_LEVEL: { path: ['logLevel'], read: asText },
  ARCHIPEL_EDGE_HTTP_PORT: { path: ['httpPort'], read: asNumber },
  ARCHIPEL_EDGE_LAN_ACCESS: { path: ['lanAccess'], read: asText },
  ARCHIPEL_EDGE_VIEWER_FOLDER: { path: ['viewerFolder'], read: asPath },
  ARCHIPEL_EDGE_AE_TITLE: { path: ['aeTitle'], read: asText },
  ARCHIPEL_EDGE_DICOM_PORT: { path: ['dicomPort'], read: asNumber },
  ARCHIPEL_EDGE_MAX_FIND_RESULTS: { path: ['maxFindResults'], read: asNumber },
  ARCHIPEL_EDGE_REMOTE_AES: {
    path: ['remoteAes'],
    read: asRemoteAes,
    form: 'must be a list such as PACS=10.0.0.5:104,VIEWER=viewer.example:11112',
  },
  ARCHIPEL_EDGE_DISK_RESERVE_MB: { path: ['cache', 'reserveMegabytes'], read: asNumber },
  ARCHIPEL_EDGE_PARALLEL_UPLOADS: { path: ['upload', 'parallel'], read: asNumber },
};

type Table = Record<string, unknown>;

/** The file's tables with the variables in their places. */
export function withVariables(file: Table, environment: Readonly<Record<string, string | undefined>>): Table {
  const merged: Table = { ...file };
  for (const [name, { path, read }] of Object.entries(variables)) {
    const text = environment[name];
    const [top = '', below] = path;
    if (text === undefined) continue;
    if (below === undefined) merged[top] = read(text);
    else {
      const table = merged[top] ?? {};
      // What is no table is left for the schema to find.
      if (typeof table === 'object' && table !== null) merged[top] = { ...table, [below]: read(text) };
    }
  }
  return merged;
}

/** The variable that set what stands at a path, or above it: the rest of the path is what is within it. */
export function variableAt(
  path: readonly PropertyKey[],
  environment: Readonly<Record<string, string | undefined>>,
): { readonly name: string; readonly rest: readonly PropertyKey[]; readonly form: string | undefined } | undefined {
  for (const [name, variable] of Object.entries(variables)) {
    if (environment[name] === undefined || !variable.path.every((step, i) => path[i] === step)) continue;
    return { name, rest: path.slice(variable.path.length), form: variable.form };
  }
  return undefined;
}

/** `NAME=host:port,NAME2=[::1]:104` */
function asRemoteAes(text: string): unknown {
  const tables: Table[] = [];
  for (const entry of text.split(',').map((part) => part.trim())) {
    if (entry === '') continue;
    const parts = /^([^=]*)=(\[[^\]]*\]|[^\s:[\]=]+):(\d{1,5})$/.exec(entry);
    if (parts === null) return text;
    tables.push({ aeTitle: parts[1], host: parts[2]?.replace(/^\[|\]$/g, ''), port: Number(parts[3]) });
  }
  return tables;
}
