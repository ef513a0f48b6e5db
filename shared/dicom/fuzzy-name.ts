/**
 * Fuzzy matching of person names (fuzzymatching of PS3.18 §8.3.4; what it does is left to the archive): a name is taken apart into
 * words, of all its component groups, whatever their order, and a word is found by its beginning or by its sound. Sounds are Double
 * Metaphone's, which knows the Latin alphabet; words in other scripts are found by their beginnings. Literal matching is matching.ts.
 */
import { doubleMetaphone } from 'double-metaphone';
import { matchesWildcard } from './wildcard.ts';

/** A word of a name that is searched. Plain data: it may travel to another thread. */
export interface FuzzyWord {
  /** How a word of the name begins, or, of a pattern, what the whole of it fits. Normalised. */
  readonly text: string;
  /** Whether `text` has wild cards: elsewhere than at the end, where they say what is meant anyway. */
  readonly isPattern: boolean;
  /** Any of these sounds does as well. */
  readonly sounds: readonly string[];
}

export interface NameWords {
  /** Between spaces, delimiters, hyphens and apostrophes. */
  readonly parts: readonly string[];
  /** The same, and in one word what only an apostrophe parts: `o'brien` is found as `obrien`, too. */
  readonly words: readonly string[];
  /** Whether these are all: what is behind the first 32 is not looked at. */
  readonly isWhole: boolean;
}

/** Of a name, or of a key. No name has so many. */
export const MAXIMUM_NAME_WORDS = 32;
/** What is longer is no word, and its sound would take long to find. */
const MAXIMUM_SOUNDED_LENGTH = 64;

const apostrophes = /['’‘ʼ`׳״]+/g;
const separators = /[\s\0^=,;:.()/\\‐-―־・·-]+/;

/** The words of a name's component groups, which are normalised (person-name.ts). */
export function nameWords(groups: readonly string[]): NameWords {
  const parts = new Set<string>();
  const words = new Set<string>();
  for (const group of groups) {
    for (const word of group.split(separators)) {
      const own = word.split(apostrophes).filter((part) => part !== '');
      if (own.length === 0) continue;
      if (words.size >= MAXIMUM_NAME_WORDS) return { parts: [...parts], words: [...words], isWhole: false };
      for (const part of own.slice(0, MAXIMUM_NAME_WORDS)) parts.add(part);
      for (const part of [...own.slice(0, MAXIMUM_NAME_WORDS), own.join('')]) words.add(part);
    }
  }
  return { parts: [...parts], words: [...words], isWhole: true };
}

/** How a normalised word sounds: one or two codes; none for other scripts and for initials. */
export function soundsOf(word: string): string[] {
  if (word.length < 2 || word.length > MAXIMUM_SOUNDED_LENGTH || !/^[a-z]+$/.test(word)) return [];
  return [...new Set(doubleMetaphone(word))].filter((sound) => sound !== '');
}

/** The words of a key's component groups, which are normalised; `*` alone stands for no word. */
export function fuzzyWords(groups: readonly string[]): FuzzyWord[] {
  return groups
    .flatMap((group) => group.split(separators))
    .map((word) => {
      const begin = word.replaceAll(apostrophes, '').replace(/\*+$/, '');
      const isPattern = /[*?]/.test(begin);
      return {
        // An apostrophe in a pattern may or may not part two words.
        text: isPattern ? word.replaceAll(apostrophes, '*') : begin,
        isPattern,
        sounds: soundsOf(begin.replace(/^\*+/, '')),
      };
    })
    .filter(({ text }) => text !== '');
}

/** Whether each word of the key is found among those of the name. */
export function fitsWords(keys: readonly FuzzyWord[], { parts, words }: NameWords): boolean {
  let sounds: ReadonlySet<string> | undefined;
  return keys.every((key) => {
    if (
      key.isPattern
        ? parts.some((part) => matchesWildcard(key.text, part))
        : words.some((word) => word.startsWith(key.text))
    )
      return true;
    if (key.sounds.length === 0) return false;
    sounds ??= new Set(words.flatMap(soundsOf));
    return key.sounds.some((sound) => sounds?.has(sound));
  });
}
