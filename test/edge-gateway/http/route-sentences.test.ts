/** What people read about routing: nothing while it goes as usual. */
import { expect, it } from 'vitest';
import { routeSentences } from '#edge-gateway/http/route-sentences.ts';

const NOW_MS = Date.UTC(2026, 0, 2);
const idle = {
  aeTitle: 'PACS',
  waiting: 0,
  waitingSinceMs: undefined,
  refused: 0,
  lastError: undefined,
  lastSuccessAtMs: NOW_MS,
};

it('says nothing of what waits for its turn', () => {
  expect(routeSentences([idle, { ...idle, waiting: 3, waitingSinceMs: NOW_MS - 5_000 }], NOW_MS)).toEqual([]);
});

it('says who waits, why and since when, and what was not taken', () => {
  const lastError = 'the destination could not be reached, or broke off';
  const away = { ...idle, waiting: 12, waitingSinceMs: NOW_MS - 3 * 3_600_000, lastError };
  expect(routeSentences([away, { ...away, waiting: 1 }, { ...idle, refused: 2 }], NOW_MS)).toEqual([
    'Routing to PACS: the destination could not be reached, or broke off; 12 packs wait, the oldest came 3 h ago.',
    'Routing to PACS: the destination could not be reached, or broke off; 1 pack waits, the oldest came 3 h ago.',
    'Routing to PACS: 2 images cannot be sent there; the log says which and why.',
  ]);
});
