/**
 * The table of field notes is true: each trap names a test that is there.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const notes = readFileSync(join(root, 'docs/field-notes.md'), 'utf8');
const rows = [...notes.matchAll(/^\| (.+) \| (.+) \| `(test\/[^`]+)`: (.+) \|$/gm)];

describe('the table of field notes', () => {
  it('has a test in every row', () => {
    const lines = notes.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| trap |'));
    expect(rows).toHaveLength(lines.length);
    expect(rows.length).toBeGreaterThan(50);
  });

  it.each(rows.map(([, trap = '', , file = '', title = '']) => [trap, file, title]))('%s: %s', (_trap, file, title) => {
    expect(readFileSync(join(root, file), 'utf8')).toContain(title);
  });
});
