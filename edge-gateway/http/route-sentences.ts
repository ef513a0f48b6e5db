/**
 * What the status page says of routing where it does not go as usual: which destination waits for how much, since when and
 * why, and what it did not take.
 */
import type { RouteReport } from '../routing/route-delivery.ts';
import { ago, counted } from './words.ts';

export function routeSentences(reports: readonly RouteReport[], nowMs: number): string[] {
  return reports.flatMap(({ aeTitle, waiting, waitingSinceMs, refused, lastError }) => {
    const sentences: string[] = [];
    if (lastError !== undefined && waiting > 0) {
      const since = ago(nowMs - (waitingSinceMs ?? nowMs));
      const wait = waiting === 1 ? 'waits' : 'wait';
      sentences.push(
        `Routing to ${aeTitle}: ${lastError}; ${counted(waiting, 'pack')} ${wait}, the oldest came ${since}.`,
      );
    }
    if (refused > 0)
      sentences.push(
        `Routing to ${aeTitle}: ${counted(refused, 'image')} cannot be sent there; the log says which and why.`,
      );
    return sentences;
  });
}
