/**
 * The parts of CONFORMANCE.md that code knows better than people: resources, statuses, limits, searchable attributes, made from code. The
 * document holds them between comments; conformance.test.ts compares, and `node test/shared/dicomweb/conformance-sections.ts` writes them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { indexedAttributes } from '#shared/archive/records.ts';
import { Tag, tagKey } from '#shared/dicom/tags.ts';
import { maximumAcceptBytes } from '#shared/dicomweb/accept.ts';
import { maximumHeldBytes } from '#shared/dicomweb/bulkdata.ts';
import { exposedHeaders } from '#shared/dicomweb/cross-origin.ts';
import { maximumDicomdirInstances } from '#shared/dicomweb/file-set.ts';
import { maximumFrameBytes } from '#shared/dicomweb/frame-source.ts';
import { maximumBoundaryLength, maximumHeaderBytes } from '#shared/dicomweb/multipart-reader.ts';
import { operationOf, searchableAt } from '#shared/dicomweb/operations.ts';
import { maximumViewport } from '#shared/dicomweb/render-parameters.ts';
import { answeredMethods, maximumFrameNumbers, routes, type ServicePart } from '#shared/dicomweb/routes.ts';
import { acrossStudies, withinStudy } from '#shared/dicomweb/search.ts';
import { defaultMaximumStoreParts, maximumUrlLength } from '#shared/dicomweb/service.ts';
import { requestsAtOnce } from '#shared/dicomweb/store.ts';

export const documentPath = resolve(import.meta.dirname, '../../../shared/dicomweb/CONFORMANCE.md');
export const everyPart: ReadonlySet<ServicePart> = new Set([
  'search',
  'retrieve',
  'render',
  'volume',
  'store',
  'erase',
]);

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

const code = (text: string): string => `\`${text}\``;

export const operations = routes.flatMap((route) =>
  answeredMethods(route, everyPart).flatMap((method) => {
    const operation = operationOf(route, method);
    return operation === undefined ? [] : [{ route, method, operation }];
  }),
);

function resources(): string {
  const rows = operations.map(({ route, method, operation }) => [
    method,
    code(route.path.replace('{+', '{')),
    operation.summary,
    operation.clause,
  ]);
  return table(['method', 'path below `/dicomweb`', 'what it does', 'PS3.18'], rows);
}

const meanings: Readonly<Record<number, string>> = {
  200: 'as asked',
  202: 'of a request to store some is stored, or with warnings',
  204: 'deleted; of a search in XML, that nothing matches; OPTIONS without a description',
  206: 'a range of bytes; or, with `Warning`, a part of what was asked for, since the rest cannot be had now',
  304: '`If-None-Match` names what the client holds already',
  400: 'malformed: the sentence says what and how it is right',
  401: 'not known who asks (where the deployment checks)',
  403: 'known, and not allowed',
  404: 'there is no such thing',
  405: 'not with this method; `Allow` says with which',
  406: 'not in these media types or transfer syntaxes; the sentence says in which',
  409: 'of a request to store none is stored',
  410: 'it was here and was deleted',
  413: 'too much at once',
  415: 'a body of a type that is not stored',
  416: 'the range lies outside; `Content-Range` says how long it is',
  500: 'the archive failed, or a stored object is damaged',
  503: 'not now: `Retry-After`',
  504: 'decoding or encoding pixels took too long',
};

function statuses(): string {
  // 401, 403 and 405 come before any operation.
  const used = new Set([401, 403, 405]);
  for (const { operation } of operations) {
    for (const status of [...Object.keys(operation.answers).map(Number), ...operation.problems]) used.add(status);
  }
  const rows = [...used]
    .toSorted((a, b) => a - b)
    .map((status) => [String(status), meanings[status] ?? 'without a word in the conformance statement']);
  return table(['status', 'when'], rows);
}

const count = (number: number): string => number.toLocaleString('en');
const bytes = (number: number): string =>
  number >= 1024 * 1024 ? `${count(number / 1024 / 1024)} MiB` : `${count(number / 1024)} KiB`;

function limits(): string {
  const rows = [
    ['length of a URL', bytes(maximumUrlLength)],
    ['length of Accept', bytes(maximumAcceptBytes)],
    [
      'results of a search across studies',
      `${acrossStudies.defaultLimit} by default, ${count(acrossStudies.maximumLimit)} at most`,
    ],
    ['results of a search within a study', count(withinStudy.maximumLimit)],
    ['frames in a list', count(maximumFrameNumbers)],
    ['bytes of a frame', bytes(maximumFrameBytes)],
    ['bytes of a bulk value that is big endian or deflated', bytes(maximumHeldBytes)],
    ['width and height of a picture', count(maximumViewport)],
    ['instances in a DICOMDIR', count(maximumDicomdirInstances)],
    ['instances in a request to store', count(defaultMaximumStoreParts)],
    ['requests to store at once', count(requestsAtOnce)],
    ['header fields of a part', bytes(maximumHeaderBytes)],
    ['length of a boundary', count(maximumBoundaryLength)],
  ];
  return table(['', 'limit'], rows);
}

function attributes(): string {
  const levels = ['study', 'series', 'instance'] as const;
  const rows = levels.flatMap((level) =>
    searchableAt('instance')
      .filter((one) => one.level === level)
      .map(({ tag, keyword, vr }) => {
        const key = tagKey(tag);
        const isIndexed = indexedAttributes.some((one) => one.tag === tag);
        const how = isIndexed ? (vr === 'SQ' ? 'by paths through it' : '') : 'of any of its instances';
        const zone = tag === Tag.TimezoneOffsetFromUTC ? 'says what dates and times mean' : how;
        return [level, `(${key.slice(0, 4)},${key.slice(4)})`, keyword, vr, zone];
      }),
  );
  return table(['level', 'tag', 'keyword', 'VR', 'matched'], rows);
}

export const sections: Readonly<Record<string, () => string>> = {
  resources,
  statuses,
  limits,
  'exposed header fields': () => exposedHeaders.split(', ').map(code).join(', '),
  attributes,
};

const start = (name: string): string => `<!-- from code: ${name} -->`;
const end = '<!-- end -->';

/** What the document has of a section; undefined where it has none. */
export function sectionOf(document: string, name: string): string | undefined {
  const from = document.indexOf(start(name));
  const to = document.indexOf(end, from);
  return from < 0 || to < 0 ? undefined : document.slice(from + start(name).length, to).trim();
}

if (import.meta.main) {
  let document = readFileSync(documentPath, 'utf8');
  for (const [name, text] of Object.entries(sections)) {
    const from = document.indexOf(start(name));
    const to = document.indexOf(end, from);
    if (from < 0 || to < 0) throw new Error(`the document has no section ${name}`);
    document = `${document.slice(0, from + start(name).length)}\n\n${text()}\n\n${document.slice(to)}`;
  }
  writeFileSync(documentPath, document);
}
