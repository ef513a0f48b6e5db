/**
 * Where in a TOML file something stands, for the words about it. It looks for headers and keys at the beginnings of lines and
 * understands no more of TOML: where that is not enough, it names the line of the table.
 */

const header = /^\s*(\[\[?)\s*([\w.\s"'-]+?)\s*\]\]?\s*(#.*)?$/;
const assignment = /^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=/;

/** From 1; undefined: not found. @param path keys, and numbers that count the entries of a list from 0 */
export function lineOf(toml: string, path: readonly PropertyKey[]): number | undefined {
  const lines = linesOf(toml);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(JSON.stringify(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return undefined;
}

/** By path as JSON: the line in which each table begins and each key stands. */
function linesOf(toml: string): Map<string, number> {
  const lines = new Map<string, number>();
  const counts = new Map<string, number>();
  let table: PropertyKey[] = [];
  const note = (path: readonly PropertyKey[], line: number): void => {
    const key = JSON.stringify(path);
    if (!lines.has(key)) lines.set(key, line);
  };
  for (const [i, text] of toml.split('\n').entries()) {
    const head = header.exec(text.trimEnd());
    if (head !== null) {
      const keys = partsOf(head[2] ?? '');
      table = [];
      for (const [depth, key] of keys.entries()) {
        table.push(key);
        const list = JSON.stringify(table);
        const isEntry = head[1] === '[[' && depth === keys.length - 1;
        const count = counts.get(list) ?? 0;
        if (isEntry) counts.set(list, count + 1);
        if (isEntry) table.push(count);
        else if (count > 0) table.push(count - 1);
      }
      note(table, i + 1);
      continue;
    }
    const key = assignment.exec(text)?.[1];
    if (key !== undefined) note([...table, ...partsOf(key)], i + 1);
  }
  return lines;
}

function partsOf(key: string): string[] {
  return key.split('.').map((part) => part.trim().replace(/^(["'])(.*)\1$/, '$2'));
}
