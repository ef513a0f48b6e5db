/**
 * Which path names which resource, and which names none.
 */
import { describe, expect, it } from 'vitest';
import { findRoute, partOfKind, type Resource } from '#shared/dicomweb/routes.ts';

const resourceOf = (path: string, method = 'GET'): Resource | undefined => findRoute(path)?.resource(method);

const study = { studyInstanceUid: '1.2' };
const series = { ...study, seriesInstanceUid: '1.3' };
const instance = { ...series, sopInstanceUid: '1.4' };
const at = '/dicomweb/studies/1.2/series/1.3/instances/1.4';

describe('the table of routes', () => {
  it.each<[string, unknown]>([
    ['/dicomweb', { kind: 'capabilities' }],
    ['/dicomweb/openapi.json', { kind: 'openapi' }],
    ['/dicomweb/studies', { kind: 'search', level: 'study', within: undefined }],
    ['/dicomweb/studies/', { kind: 'search', level: 'study', within: undefined }],
    ['/dicomweb/series', { kind: 'search', level: 'series', within: undefined }],
    ['/dicomweb/instances', { kind: 'search', level: 'instance', within: undefined }],
    ['/dicomweb/studies/1.2', { kind: 'instances', ref: study }],
    ['/dicomweb/studies/1.2/series', { kind: 'search', level: 'series', within: study }],
    ['/dicomweb/studies/1.2/instances', { kind: 'search', level: 'instance', within: study }],
    ['/dicomweb/studies/1.2/metadata', { kind: 'metadata', ref: study }],
    ['/dicomweb/studies/1.2/thumbnail', { kind: 'thumbnail', ref: study, frameNumbers: undefined }],
    ['/dicomweb/studies/1.2/series/1.3', { kind: 'instances', ref: series }],
    ['/dicomweb/studies/1.2/series/1.3/instances', { kind: 'search', level: 'instance', within: series }],
    ['/dicomweb/studies/1.2/series/1.3/metadata', { kind: 'metadata', ref: series }],
    ['/dicomweb/studies/1.2/series/1.3/thumbnail', { kind: 'thumbnail', ref: series, frameNumbers: undefined }],
    [at, { kind: 'instances', ref: instance }],
    [`${at}/metadata`, { kind: 'metadata', ref: instance }],
    [`${at}/rendered`, { kind: 'rendered', ref: instance, frameNumbers: undefined }],
    [`${at}/thumbnail`, { kind: 'thumbnail', ref: instance, frameNumbers: undefined }],
    [`${at}/frames/1,2,5`, { kind: 'frames', ref: instance, frameNumbers: [1, 2, 5] }],
    [`${at}/frames/5%2C1`, { kind: 'frames', ref: instance, frameNumbers: [5, 1] }],
    [`${at}/frames/3/rendered`, { kind: 'rendered', ref: instance, frameNumbers: [3] }],
    [`${at}/frames/3/thumbnail`, { kind: 'thumbnail', ref: instance, frameNumbers: [3] }],
    ['/dicomweb/studies/1.2/bulkdata', { kind: 'all-bulkdata', ref: study }],
    ['/dicomweb/studies/1.2/series/1.3/bulkdata', { kind: 'all-bulkdata', ref: series }],
    [`${at}/bulkdata`, { kind: 'all-bulkdata', ref: instance }],
    [`${at}/bulkdata/00420011`, { kind: 'bulkdata', ref: instance, path: '00420011' }],
    [`${at}/bulkdata/54000100/0/54001010`, { kind: 'bulkdata', ref: instance, path: '54000100/0/54001010' }],
    ['/dicomweb/studies/..%2Fstudy', { kind: 'instances', ref: { studyInstanceUid: '../study' } }],
  ])('%s', (path, expected) => expect(resourceOf(path)).toEqual(expected));

  it.each([
    '/', '/dicomwebx/studies', '/dicomweb/nothing', '/dicomweb/studies/1.2/nothing', '/dicomweb/studies/1.2/series/1.3/nothing',
    `${at}/nothing`, `${at}/frames`, `${at}/frames/1/nothing`, `${at}/frames/1/rendered/x`, `${at}/metadata/x`,
  ])('%s is no resource', (path) => expect(resourceOf(path)).toBeUndefined()); // biome-ignore format: a list

  it.each([
    '/dicomweb/studies//metadata',
    `/dicomweb/studies/${'1'.repeat(257)}`,
    '/dicomweb/studies/1.2%00',
    '/dicomweb/studies/%ZZ',
    `${at}/frames/0`,
    `${at}/frames/1,,2`,
    `${at}/frames/-1`,
    `${at}/frames/abc`,
  ])('%s is malformed', (path) =>
    expect(() => resourceOf(path)).toThrow(expect.objectContaining({ code: 'bad-request' })),
  );

  it('bounds the list of frames', () => {
    expect(() => resourceOf(`${at}/frames/${'1,'.repeat(10_001)}1`)).toThrow(/At most/);
  });

  it('knows which part answers', () => {
    const part = (path: string) => partOfKind(resourceOf(path)!.kind);
    expect(['/dicomweb/studies', at, `${at}/frames/1`, `${at}/rendered`].map(part)).toEqual([
      'search',
      'retrieve',
      'retrieve',
      'render',
    ]);
  });
});
