/**
 * Wild cards of PS3.4 §C.2.2.2.4: `*` stands for any run of characters, also none; `?` for exactly one. Matching walks
 * pattern and text from left to right and never goes back further than one segment, so that a hostile pattern costs at
 * most (length of the pattern) x (length of the text). Case and accents are the caller's.
 */

export const hasWildcard = (text: string): boolean => text.includes('*') || text.includes('?');

/** Whether the whole of `text` fits `pattern`. `?` takes one character, also one outside the Basic Multilingual Plane. */
export function matchesWildcard(pattern: string, text: string): boolean {
  const whole = pattern.includes('?') && /[\ud800-\udfff]/.test(text);
  const characters: ArrayLike<string> = whole ? Array.from(text) : text;
  const segments = pattern.split('*').map((segment) => (whole ? Array.from(segment) : segment));
  const first = segments[0]!;
  const last = segments[segments.length - 1]!;
  if (segments.length === 1) return characters.length === first.length && fitsAt(first, characters, 0);

  const end = characters.length - last.length;
  if (first.length > end || !fitsAt(first, characters, 0) || !fitsAt(last, characters, end)) return false;
  let at = first.length;
  for (let i = 1; i < segments.length - 1; i++) {
    const segment = segments[i]!;
    at = find(segment, characters, at, end);
    if (at < 0) return false;
    at += segment.length;
  }
  return true;
}

/** Where `segment` first fits between `from` and `end`, or -1. The leftmost place is always good enough for what follows. */
function find(segment: ArrayLike<string>, text: ArrayLike<string>, from: number, end: number): number {
  if (typeof segment === 'string' && typeof text === 'string' && !segment.includes('?')) {
    const at = text.indexOf(segment, from);
    return at + segment.length <= end ? at : -1;
  }
  for (let at = from; at + segment.length <= end; at++) if (fitsAt(segment, text, at)) return at;
  return -1;
}

function fitsAt(segment: ArrayLike<string>, text: ArrayLike<string>, at: number): boolean {
  for (let i = 0; i < segment.length; i++) {
    if (segment[i] !== '?' && segment[i] !== text[at + i]) return false;
  }
  return true;
}
