/**
 * A report as a page of HTML and as plain text. Everything in a report was written by somebody else: every character that means
 * something to HTML is escaped, nothing is loaded, and the page's policy runs no script even if one were there.
 */
import type { Report, ReportItem } from './structured-report.ts';

/** With the page: no script, no request, no frame of another origin, no forms. */
export const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

const style = `body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.2em 0 .3em}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}
dt{color:#59636e}dd{margin:0}ul{list-style:none;padding-left:1.1rem;margin:.2rem 0;border-left:1px solid #d1d9e0}
li{margin:.15rem 0}.name{color:#59636e}.value{white-space:pre-wrap;overflow-wrap:anywhere}.relation{color:#818b98;font-size:.85em}
@media print{body{margin:0}}`;

/** A complete page in UTF-8, in a form that is valid XML too. */
export function reportHtml({ title, facts, items }: Report): string {
  const rows = facts.map(([name, value]) => `<dt>${escaped(name)}</dt><dd class="value">${escaped(value)}</dd>`);
  return [
    '<!DOCTYPE html>',
    '<html>',
    `<head><meta charset="utf-8"/><title>${escaped(title)}</title><style>${style}</style></head>`,
    '<body>',
    `<h1>${escaped(title)}</h1>`,
    `<dl>${rows.join('\n')}</dl>`,
    listHtml(items),
    '</body>',
    '</html>\n',
  ].join('\n');
}

function listHtml(items: readonly ReportItem[]): string {
  if (items.length === 0) return '';
  return `<ul>\n${items.map((item) => `<li>${itemHtml(item)}</li>`).join('\n')}\n</ul>`;
}

function itemHtml({ name, value, isHeading, relation, children }: ReportItem): string {
  const how = relation === undefined ? '' : `<span class="relation">${escaped(relation)}: </span>`;
  const head = isHeading
    ? `<h2>${how}${escaped(name)}</h2>`
    : `${how}<span class="name">${escaped(name)}${name === '' ? '' : ':'}</span> <span class="value">${escaped(value)}</span>`;
  return head + listHtml(children);
}

/** In lines, children indented. */
export function reportPlainText({ title, facts, items }: Report): string {
  const lines = [title, '='.repeat(Math.min(78, title.length)), ''];
  for (const [name, value] of facts) lines.push(`${name}: ${indented(value, '  ')}`);
  if (items.length > 0) lines.push('');
  for (const item of items) addLines(lines, item, '');
  return `${lines.map(printable).join('\n')}\n`;
}

function addLines(lines: string[], { name, value, isHeading, relation, children }: ReportItem, indent: string): void {
  const how = relation === undefined ? '' : `${relation}: `;
  const label = isHeading ? name : [name, value].filter((part) => part !== '').join(': ');
  lines.push(`${indent}${how}${indented(label, `${indent}  `)}`);
  for (const child of children) addLines(lines, child, `${indent}  `);
}

const indented = (text: string, indent: string): string => text.replaceAll(/\r\n?|\n/g, `\n${indent}`);

/** Without control characters but line ends and tabs: some are commands to terminals. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
const printable = (text: string): string => text.replaceAll(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escaped = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  /^[^&<>"'\0-\x1f\x7f-\x9f]*$/.test(text)
    ? text
    : printable(text.replaceAll(/\r\n?/g, '\n')).replaceAll(/[&<>"']/g, (character) => entities[character]!);
