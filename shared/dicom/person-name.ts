/**
 * Person names (VR PN): component groups (alphabetic, ideographic, phonetic; PS3.5 §6.2.1), their form in the DICOM
 * JSON Model (PS3.18 §F.2.2) and the normal form under which names are compared and indexed. Bytes are charset.ts.
 */
import type { PersonName } from './dicom-json-model.ts';

export const groupNames = ['Alphabetic', 'Ideographic', 'Phonetic'] as const;

/** A decoded PN value as the groups that are not empty. What follows a third `=` is kept with the third group: nothing is lost. */
export function personNameOf(text: string): PersonName {
  const name: PersonName = {};
  let rest = text;
  for (const group of groupNames) {
    const equals = group === 'Phonetic' ? -1 : rest.indexOf('=');
    const part = equals < 0 ? rest : rest.slice(0, equals);
    if (part !== '') name[group] = part;
    if (equals < 0) break;
    rest = rest.slice(equals + 1);
  }
  return name;
}

/** The value as it is encoded: groups joined with `=`, without empty ones at the end. */
export function personNameText(name: PersonName): string {
  const groups = groupNames.map((group) => name[group] ?? '');
  while (groups.length > 1 && groups[groups.length - 1] === '') groups.pop();
  return groups.join('=');
}

/**
 * The form in which names are compared: without case, accents, width and superfluous spaces, and without empty
 * components at the end of a group or empty groups at the end of the name. `Müller^Jürgen^^=山田` → `muller^jurgen=山田`.
 * Wild cards stay what they are.
 */
export function normaliseName(text: string): string {
  const groups = text.split('=').map(normaliseGroup);
  while (groups.length > 1 && groups[groups.length - 1] === '') groups.pop();
  return groups.join('=');
}

/** The normalised groups that are not empty, of a name in either form. */
export function nameGroups(name: PersonName | string): string[] {
  const groups = typeof name === 'string' ? name.split('=') : groupNames.map((group) => name[group] ?? '');
  return groups.map(normaliseGroup).filter((group) => group !== '');
}

/** Letters whose stroke or ligature is no combining mark that decomposition would split off. */
const folded: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
  ø: 'o',
  ł: 'l',
  đ: 'd',
  ð: 'd',
  þ: 'th',
  ħ: 'h',
  ŧ: 't',
  ı: 'i',
  ς: 'σ',
};

/** Accents, Hebrew points and Arabic vowel signs, but not the Japanese voicing marks, which make another syllable. */
const marks = /[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670]/g;

function normaliseGroup(group: string): string {
  let text = isAscii(group) ? group.toLowerCase() : fold(group);
  if (/[\s\0]/.test(text)) {
    text = text
      .split('^')
      .map((component) => component.replace(/[\s\0]+/g, ' ').trim())
      .join('^');
  }
  let end = text.length;
  while (end > 0 && text[end - 1] === '^') end--;
  return text.slice(0, end);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII begins at NUL
const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);

function fold(text: string): string {
  return (
    text
      .normalize('NFKD')
      .toLowerCase()
      .normalize('NFKD')
      .replace(marks, '')
      .replace(/[ßæœøłđðþħŧıς]/g, (letter) => folded[letter] ?? letter)
      // Full-width signs must not become delimiters.
      .replace(/[=\\]/g, ' ')
      .normalize('NFC')
  );
}
