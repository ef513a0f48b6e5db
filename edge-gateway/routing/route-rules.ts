/**
 * Which packs go on to which AE: the rules of the settings. What is sent when, is route-queue.ts and route-delivery.ts.
 */
import type { PackRecord } from '#shared/archive/records.ts';
import type { RouteRule } from '../settings.ts';

/**
 * AE titles of the destinations, each once. Never back to where all of the pack came from.
 * @param modality asked for only where a rule depends on it; undefined: the series has none
 */
export async function destinationsOf(
  rules: readonly RouteRule[],
  { sourceAeTitles = [] }: Pick<PackRecord, 'sourceAeTitles'>,
  modality: () => Promise<string | undefined>,
): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const { to, callingAeTitles, modalities } of rules) {
    if (found.has(to)) continue;
    if (sourceAeTitles.length > 0 && sourceAeTitles.every((aeTitle) => aeTitle === to)) continue;
    if (callingAeTitles !== undefined && !sourceAeTitles.some((aeTitle) => callingAeTitles.includes(aeTitle))) continue;
    if (modalities !== undefined && !modalities.includes((await modality()) ?? '')) continue;
    found.add(to);
  }
  return [...found];
}
