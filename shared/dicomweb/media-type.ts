/**
 * Media types with their parameters (RFC 9110 §8.3.1), as the field writes them: quoted or not, spaces anywhere. What they mean
 * is known elsewhere: accept.ts for what a client wants, store.ts for what it sends.
 */

export interface MediaType {
  /** `type/subtype` in lower case. */
  readonly type: string;
  /** By name in lower case; the first of a name counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const token = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

/** Undefined when it is no media type. A lone '*', which old Java clients send, is any type. */
export function parseMediaType(text: string): MediaType | undefined {
  const [name = '', ...pieces] = splitOutsideQuotes(text, ';').map((piece) => piece.trim());
  const type = wellFormed(name);
  return type === undefined ? undefined : { type, parameters: parametersOf(pieces) };
}

function wellFormed(text: string): string | undefined {
  if (text === '*') return '*/*';
  const [type = '', subtype = '', ...more] = text.toLowerCase().split('/');
  const valid = token.test(type) && token.test(subtype) && more.length === 0 && (type !== '*' || subtype === '*');
  return valid ? `${type}/${subtype}` : undefined;
}

function parametersOf(pieces: readonly string[]): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const piece of pieces) {
    const equals = piece.indexOf('=');
    if (equals < 0) continue;
    const name = piece.slice(0, equals).trim().toLowerCase();
    if (!parameters.has(name)) parameters.set(name, unquote(piece.slice(equals + 1).trim()));
  }
  return parameters;
}

function unquote(text: string): string {
  if (text.length < 2 || !text.startsWith('"') || !text.endsWith('"')) return text;
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1').trim();
}

/** The pieces between separators that stand in no quoted string; blank ones are left out. */
export function splitOutsideQuotes(text: string, separator: string): string[] {
  const pieces: string[] = [];
  let quoted = false;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '\\') i++;
    else if (c === '"') quoted = !quoted;
    else if (c === separator && !quoted) {
      pieces.push(text.slice(start, i));
      start = i + 1;
    }
  }
  pieces.push(text.slice(start));
  return pieces.filter((piece) => piece.trim() !== '');
}
