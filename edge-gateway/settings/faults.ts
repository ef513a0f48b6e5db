/**
 * Words for what is wrong with the settings: where it stands (variable, or path and line in the file), what it is, what to
 * write instead. All faults at once, so that one round of mending is enough.
 */
import type { z } from 'zod';
import { keysAt } from './fields.ts';
import { lineOf } from './file-lines.ts';
import { variableAt } from './variables.ts';

export interface SettingsSource {
  /** The text of the settings file; empty: there is none. */
  readonly toml: string;
  /** File and variables merged, as they were given. */
  readonly given: unknown;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface Fault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** An unknown key is a fault of its own, so that it is named by its own path. */
export function faultsOf(issues: readonly z.core.$ZodIssue[]): Fault[] {
  return issues.flatMap((issue): Fault[] => {
    if (issue.code !== 'unrecognized_keys') return [{ path: issue.path, message: issue.message }];
    const known = keysAt(issue.path);
    return issue.keys.map((key) => ({ path: [...issue.path, key], message: unknownKey(key, known) }));
  });
}

/** `line 12: cache.retentionDays is 7; it must be a whole number from 30 to 60 days` */
export function sentenceOf({ path, message }: Fault, { toml, given, environment }: SettingsSource): string {
  const value = valueAt(given, path);
  const variable = variableAt(path, environment);
  if (variable !== undefined) {
    const { name, rest, form } = variable;
    return `${[name, dotted(rest)].join(' ').trim()} ${complaint(value, rest.length === 0 ? (form ?? message) : message)}`;
  }
  const line = toml === '' ? undefined : lineOf(toml, path);
  return `${line === undefined ? '' : `line ${line}: `}${dotted(path)} ${complaint(value, message)}`;
}

function complaint(value: unknown, message: string): string {
  if (!message.startsWith('must ')) return message;
  return `${value === undefined ? 'is missing' : `is ${shown(value)}`}; it ${message}`;
}

function unknownKey(key: string, known: readonly string[]): string {
  const nearest = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const isNear = nearest !== undefined && nearest.distance <= Math.max(2, Math.floor(key.length / 3));
  return `is no setting${isNear ? `; did you mean ${nearest.name}?` : `; here stand ${known.join(', ')}`}`;
}

/** `remoteAes[1].port`, counted from 1 as people do. */
function dotted(path: readonly PropertyKey[]): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step + 1}]` : `${i === 0 ? '' : '.'}${String(step)}`))
    .join('');
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function valueAt(given: unknown, path: readonly PropertyKey[]): unknown {
  let value = given;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return value;
}

/** Levenshtein: insertions, deletions and replacements of one character. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, x] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, y] of [...b].entries())
      next.push(Math.min((row[j] ?? 0) + (x === y ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    row = next;
  }
  return row[b.length] ?? a.length;
}
