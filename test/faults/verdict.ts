/**
 * What a fault cost: the senders' lists of acknowledged instances, against what the cloud holds. Lost and altered are asked
 * of WADO-RS, duplicated of the packs themselves.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import type { Acknowledged } from './modality.ts';

export interface Verdict {
  readonly acknowledged: number;
  readonly lost: readonly string[];
  readonly altered: readonly string[];
  /** SOP Instance UIDs that lie in the cloud's packs more than once. */
  readonly duplicated: readonly string[];
}

const CONCURRENCY = 4;

export async function judge(
  acknowledged: readonly Acknowledged[],
  dicomweb: DicomwebClient,
  packFolder: string,
): Promise<Verdict> {
  const lost: string[] = [];
  const altered: string[] = [];
  const waiting = [...acknowledged];
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { ref, digest } = next;
      const found = await dicomweb.dataSetDigest(ref).catch(() => undefined);
      if (found === undefined) lost.push(ref.sopInstanceUid);
      else if (found.digest !== digest) altered.push(ref.sopInstanceUid);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return { acknowledged: acknowledged.length, lost, altered, duplicated: duplicatedIn(packFolder) };
}

/** Every pack below a folder of a pack store, in ascending order of its path. */
export function packsBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.zip'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function duplicatedIn(folder: string): string[] {
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const path of packsBelow(folder))
    for (const { name } of zipEntries(readFileSync(path))) {
      if (seen.has(name)) twice.push(name);
      seen.add(name);
    }
  return twice;
}

/** One line for each figure, as the fault suite prints it. */
export function printTable(title: string, figures: Readonly<Record<string, string | number>>): void {
  const width = Math.max(...Object.keys(figures).map((name) => name.length));
  const lines = Object.entries(figures).map(([name, figure]) => `  ${name.padEnd(width)}  ${figure}`);
  console.log([title, ...lines].join('\n'));
}
