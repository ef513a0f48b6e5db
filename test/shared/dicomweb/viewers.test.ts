/**
 * What viewers need beyond the letter of PS3.18, and how they ask: OHIF's study list, cornerstone's unquoted media types, the
 * Accept of Imaging Data Commons' client.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { ask, serviceOver } from './ask.ts';

const slice = makeInstance({ rows: 8, columns: 8 });
const withoutModality = makeInstance({ without: [0x00080060] });
const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = slice.ref;
const instance = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}`;

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([slice, withoutModality].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

it('leaves Modalities in Study out where there are none: one empty blanks the study list (OHIF#1491)', async () => {
  for (const query of ['', '&includefield=00080061,00080060']) {
    const path = `/studies?StudyInstanceUID=${withoutModality.ref.studyInstanceUid}${query}`;
    const [study] = (await (await ask(service, path)).json()) as DicomJson[];
    expect(study).not.toHaveProperty('00080061');
  }
});

it.each([
  'multipart/related; type=application/octet-stream; transfer-syntax=*',
  'multipart/related; type=application/octet-stream; transfer-syntax=*, image/jls;q=0.9',
  'multipart/related; type=application/octet-stream',
])('gives frames for unquoted types: %s (cornerstoneWADOImageLoader#54)', async (accept) => {
  const response = await ask(service, `${instance}/frames/1`, { accept });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^multipart\/related/);
});

it.each(['', '/frames/1'])('takes type="*/*" of a multipart answer for %s (IDC client 0.60.1)', async (what) => {
  const response = await ask(service, instance + what, { accept: 'multipart/related; type="*/*"' });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^multipart\/related/);
});
