/**
 * Writes shared/dicom/dictionary.json from the dictionary that dcmjs ships (PS3.6 Tables 6-1 and 7-1 ff.): standard
 * elements only, one string for each group, so that loading it costs little. Run it again when dcmjs brings a newer
 * edition: `node infra/generate-dictionary.ts`. Private elements are left out: their VRs belong to their creators.
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

interface SourceEntry {
  readonly tag: string;
  readonly vr: string;
  readonly name: string;
}

/** Where PS3.6 allows several VRs: the one that an implicit VR encoding means (PS3.5 §A.1); `xs` stays, the reader decides. */
const settledVr: Readonly<Record<string, string>> = { ox: 'OW', lt: 'OW', up: 'UL', xs: 'xs' };

/** `(60xx,0010)` is written in the source as `(6000-60FF,0010)`; it is kept under the first tag of its range. */
const tagPattern = /^\(([0-9A-F]{4})(?:-[0-9A-F]{4})?,([0-9A-F]{4})(?:-[0-9A-F]{4})?\)$/i;

/** Group → its elements in ascending order, each `EEEEVVKeyword`, joined by commas. */
export function compactDictionary(source: Readonly<Record<string, SourceEntry>>): Record<string, string> {
  const groups = new Map<string, Map<string, string>>();
  for (const [key, { vr, name }] of Object.entries(source)) {
    const [, group, element] = tagPattern.exec(key.toUpperCase()) ?? [];
    if (group === undefined || element === undefined || vr === 'na' || vr === undefined) continue;
    const keyword = name.replace(/^RETIRED_/, '');
    if (!/^[A-Za-z][A-Za-z0-9]*$/.test(keyword) || keyword === 'undefined') continue;
    const elements = groups.get(group) ?? new Map<string, string>();
    elements.set(element, `${element}${settledVr[vr] ?? vr}${keyword}`);
    groups.set(group, elements);
  }
  const ascending = <T>(entries: Iterable<readonly [string, T]>) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    ascending(groups).map(([group, elements]) => [
      group,
      ascending(elements)
        .map(([, text]) => text)
        .join(','),
    ]),
  );
}

async function main(): Promise<void> {
  const path = createRequire(import.meta.url).resolve('dcmjs/dictionary');
  const module = (await import(pathToFileURL(path).href)) as { default: Record<string, SourceEntry> };
  const target = new URL('../shared/dicom/dictionary.json', import.meta.url);
  writeFileSync(target, `${JSON.stringify(compactDictionary(module.default), null, 2)}\n`);
}

if (import.meta.main) await main();
