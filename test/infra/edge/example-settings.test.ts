/**
 * The settings file of an installation says everything that can be set, nothing else, and the truth about defaults.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { expect, it } from 'vitest';
import { type Field, settingsFields } from '#edge-gateway/settings/fields.ts';
import { edgeSettingsOf } from '#edge-gateway/settings.ts';
import { exampleSettings } from '#infra/edge/example-settings.ts';

const file = new URL('../../../infra/edge/edge-gateway.toml', import.meta.url);
const text = readFileSync(file, 'utf8');
/** Everything that is commented out, in force. */
const uncommented = text.replaceAll(/^#(?=\S)/gm, '');

it('is what the schema makes of it', () => {
  expect(text, 'run: node infra/edge/generate-settings.ts').toBe(exampleSettings());
});

it('as it is installed, changes nothing but the data folder', () => {
  expect(edgeSettingsOf(text)).toEqual({ ...edgeSettingsOf(''), dataFolder: '/var/lib/archipel/edge-gateway' });
});

it('has every field and no other, with its default where it has one', () => {
  const compare = (fields: readonly Field[], table: Record<string, unknown>, place: string): void => {
    expect(Object.keys(table).sort(), place).toEqual(fields.map(({ key }) => key).sort());
    for (const field of fields) {
      const value = table[field.key];
      const below = `${place}.${field.key}`;
      if (field.kind === 'table') compare(field.fields, value as Record<string, unknown>, below);
      else if (field.kind === 'tables') compare(field.fields, (value as Record<string, unknown>[])[0] ?? {}, below);
      else if (field.defaultValue !== undefined) expect(value, below).toEqual(field.defaultValue);
    }
  };
  compare(settingsFields(), parse(uncommented), 'settings');
});

it('explains every field in at least a sentence', () => {
  const blocks = text.split('\n\n').filter((block) => /^#?[a-z]\w* = /im.test(block.split('\n').at(-1) ?? ''));
  expect(blocks.length).toBeGreaterThan(40);
  for (const block of blocks) expect(block).toMatch(/^# [A-Z"].{15,}[.\n]/);
});

it('is right with everything in force', () => {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-'));
  try {
    for (const name of ['gateway.key', 'gateway.crt', 'authority.crt']) writeFileSync(join(folder, name), '');
    const settings = edgeSettingsOf(uncommented.replaceAll('/etc/archipel/tls', folder));
    expect(settings.routes).toHaveLength(1);
    expect(settings.dicomTls?.port).toBe(2762);
    const { cache } = edgeSettingsOf('');
    expect(settings.cache).toEqual(cache);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
