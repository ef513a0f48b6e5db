/**
 * Wild cards (PS3.4 §C.2.2.2.4) against a model that follows the definition, and the cost of hostile patterns.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesWildcard } from '#shared/dicom/wildcard.ts';

/** By the definition, character by character, remembering nothing but what was settled. */
function model(pattern: string, text: string): boolean {
  const p = Array.from(pattern);
  const t = Array.from(text);
  let row = t.map(() => false);
  row.unshift(true);
  for (const sign of p) {
    const next = [sign === '*' && row[0]!];
    for (let i = 1; i <= t.length; i++) {
      next.push(sign === '*' ? next[i - 1]! || row[i]! : row[i - 1]! && (sign === '?' || sign === t[i - 1]));
    }
    row = next;
  }
  return row[t.length]!;
}

describe('wild cards', () => {
  it.each([
    ['', '', true],
    ['*', '', true],
    ['?', '', false],
    ['a*', 'a', true],
    ['*ren*', 'dupont^rene', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['ab*ba', 'aba', false],
    ['a*a', 'a', false],
    ['?', '𠮷', true],
    ['??', '𠮷', false],
    ['*?野', '𠮷野', true],
    ['𠮷*', '𠮷野', true],
    ['a.c', 'abc', false],
  ])('%s and %s: %s', (pattern, text, expected) => {
    expect(matchesWildcard(pattern, text)).toBe(expected);
    expect(model(pattern, text)).toBe(expected);
  });

  it('mean what the definition says', () => {
    const signs = (...more: string[]): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom('a', 'b', '𠮷', ...more), maxLength: 10 });
    fc.assert(
      fc.property(signs('*', '?'), signs(), (pattern, text) => {
        expect(matchesWildcard(pattern, text)).toBe(model(pattern, text));
      }),
      { numRuns: 5000 },
    );
  });

  it('cost no more than the pattern times the text', () => {
    const text = 'a'.repeat(20_000);
    expect(matchesWildcard(`${'*a'.repeat(500)}*b`, text)).toBe(false);
    expect(matchesWildcard(`${'*a?'.repeat(300)}*b`, text)).toBe(false);
    expect(matchesWildcard(`${'*'.repeat(1000)}b`, text)).toBe(false);
    expect(matchesWildcard(`*${'a'.repeat(500)}?b*`, text)).toBe(false);
  });
});
