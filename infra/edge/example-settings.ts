/**
 * The settings file that an installation starts with, written from the schema: every field with its explanation, its
 * bounds and its default. `infra/edge/edge-gateway.toml` is what it makes, kept so by a test.
 */
import { stringify } from 'smol-toml';
import { type Field, settingsFields } from '#edge-gateway/settings/fields.ts';

const LINE = 100;
const RULE = `# ${'-'.repeat(LINE - 2)}`;

const introduction = `Settings of the Archipel edge gateway.

A line such as "#port = 104" is not in force: it shows the default, or an example where there is none. Remove the # to set something else. A table ([name]) that is commented out is uncommented together with what is in it.

After a change, archipel-edge-gateway --check-settings FILE names every fault with its line; then restart the gateway. Environment variables (ARCHIPEL_EDGE_...) go before this file.`;

export function exampleSettings(): string {
  return `${[comment(introduction), ...blocksOf(settingsFields(), [], true)].join('\n\n')}\n`;
}

/** @param isSet whether the table is there without a change, so that its header need not be commented out */
function blocksOf(fields: readonly Field[], path: readonly string[], isSet: boolean): string[] {
  const tablesLast = [...fields].sort((a, b) => Number(a.kind !== 'value') - Number(b.kind !== 'value'));
  return tablesLast.flatMap((field) => {
    const { key, kind, explanation, isOptional } = field;
    if (kind === 'value') return [valueBlock(field)];
    const below = [...path, key];
    const isThere = isSet && kind === 'table' && !isOptional;
    const name = kind === 'tables' ? `[[${below.join('.')}]]` : `[${below.join('.')}]`;
    const head = [RULE, comment(explanation.text), `${isThere ? '' : '#'}${name}`].join('\n');
    return [head, ...blocksOf(field.fields, below, isThere)];
  });
}

function valueBlock({ key, explanation, defaultValue, isOptional, range }: Field): string {
  const { text, example, preset, defaultText } = explanation;
  const isPort = range?.[1] === 65_535;
  const bounds = range === undefined || isPort ? '' : ` From ${range[0]} to ${range[1]}.`;
  const isRequired = defaultValue === undefined && !isOptional;
  const standsFor = isRequired
    ? 'Must be given'
    : `Default: ${defaultText ?? assigned('', defaultValue).slice(' = '.length)}`;
  const assignment = assigned(key, preset ?? example ?? defaultValue);
  return [comment(text), comment(`${standsFor}.${bounds}`), `${preset === undefined ? '#' : ''}${assignment}`].join(
    '\n',
  );
}

function assigned(key: string, value: unknown): string {
  return stringify({ x: value }).trim().replace('x', key);
}

function comment(text: string): string {
  return text.split('\n').map(wrapped).join('\n');
}

function wrapped(paragraph: string): string {
  const lines = ['#'];
  for (const word of paragraph.split(' ').filter((part) => part !== '')) {
    const line = lines.at(-1) ?? '';
    if (line.length + 1 + word.length > LINE) lines.push(`# ${word}`);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.join('\n');
}
