/**
 * No patient in any log line: every attribute that can hold one carries a word of its own through storing, searching,
 * retrieving, committing, failing and the way to the cloud, all logged at the level debug, and none of these words comes out;
 * nor on the status page, in its JSON, in the metrics, or in the answers to what is wrong.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import { edgeSettingsOf } from '#edge-gateway/settings.ts';
import { type LocalCloud, startLocalCloud } from '#infra/local/cloud.ts';
import { createLogger } from '#shared/log.ts';
import { CT_IMAGE_STORAGE, freshUid, type MadeElement, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, pathOf } from '#test/support/dicomweb-client.ts';
import { send } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import { ask } from '../edge-gateway/commitment/commitment-site.ts';
import { identifier, PATIENT_ROOT, QueryPeer, STUDY_ROOT } from '../edge-gateway/dimse/query-peer.ts';
import { EXPLICIT } from '../edge-gateway/dimse/raw-peer.ts';
import { multipartDicom, multipartOf } from '../shared/dicomweb/storing.ts';

let canaries = 0;
/** A word that is nowhere else, short enough for every VR. */
const canary = (): string => {
  canaries += 1;
  return `KANARI${String(canaries).padStart(3, '0')}`;
};
/** What must not be found: any of these words, whole or in part, in any writing. */
const seen = /KANARI|[4KS]0FOQVJJ|4B414E415249/i;

const text = (tag: number, vr: string): MadeElement => ({ tag, vr, value: canary() });
/** The attributes of PS3.15 Table E.1-1 that hold words a person could be known by, as far as they occur in images. */
const attributes: readonly MadeElement[] = [
  text(0x00080080, 'LO'),
  text(0x00080081, 'ST'),
  { tag: 0x00080090, vr: 'PN', value: `${canary()}^${canary()}` },
  text(0x00081010, 'SH'),
  { tag: 0x00081048, vr: 'PN', value: canary() },
  { tag: 0x00081050, vr: 'PN', value: canary() },
  { tag: 0x00081070, vr: 'PN', value: canary() },
  text(0x00100021, 'LO'),
  { tag: 0x00101001, vr: 'PN', value: `${canary()}^${canary()}=${canary()}` },
  { tag: 0x00101002, vr: 'SQ', value: [[text(0x00100020, 'LO'), text(0x00100021, 'LO')]] },
  text(0x00101040, 'LO'),
  { tag: 0x00101060, vr: 'PN', value: canary() },
  text(0x00102154, 'SH'),
  text(0x001021b0, 'LT'),
  text(0x00104000, 'LT'),
  text(0x00181030, 'LO'),
  text(0x00200010, 'SH'),
  text(0x00204000, 'LT'),
  { tag: 0x00400275, vr: 'SQ', value: [[text(0x00321060, 'LO'), text(0x00401001, 'SH'), text(0x00400009, 'SH')]] },
  { tag: 0x00290010, vr: 'LO', value: canary() },
  { tag: 0x00291010, vr: 'UN', value: new TextEncoder().encode(`${canary()} `) },
];
const study = {
  studyInstanceUid: freshUid(),
  patientName: `${canary()}^${canary()}`,
  patientId: canary(),
  accessionNumber: canary(),
  studyDescription: canary(),
  seriesDescription: canary(),
  rows: 32,
  columns: 32,
};
const made = (options: Parameters<typeof makeInstance>[0] = {}) =>
  makeInstance({ ...study, extra: attributes, ...options });

let folder: string;
let cloud: LocalCloud;
let gateway: Gateway;
const lines: string[] = [];
const log = createLogger('debug', (line) => lines.push(line));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-privacy-'));
  cloud = await startLocalCloud({
    folder: join(folder, 'cloud'),
    host: '127.0.0.1',
    port: 0,
    tenant: 'default',
    viewer: () => ({ kind: 'missing', reason: 'this is a test.' }),
    log,
  });
  const settings = edgeSettingsOf(`
    dataFolder = "${join(folder, 'edge')}"
    cloudUrl = "${cloud.url}"
    logLevel = "debug"
    dicomPort = 0
    httpPort = 0
    maxFindResults = 2
    [cache]
    reserveMegabytes = 16
    [commitment]
    mode = "edge"
    [[remoteAes]]
    aeTitle = "NOBODY"
    host = "127.0.0.1"
    port = 9
    [[routes]]
    to = "NOBODY"
  `);
  gateway = await startGateway(settings, log);
});
afterAll(async () => {
  await gateway?.close();
  await cloud?.close();
  rmSync(folder, { recursive: true, force: true });
});

const base = (): string => `http://127.0.0.1:${gateway.httpPort}`;

it('carries no patient, whatever happens', async () => {
  const first = made();
  const series = { seriesInstanceUid: first.ref.seriesInstanceUid };
  const answers: string[] = [];

  // Stored, twice, in conflict, in other syntaxes, and refused.
  const truncated = { ...made(), dataSet: first.dataSet.subarray(0, first.dataSet.length - 700) };
  const nameAsUid = made({ ...series, studyInstanceUid: canary() });
  const badLength = made({ ...series, extra: [{ tag: 0x00100010, vr: 'UL', value: [0x414e414b, 0x30495241] }] });
  const others = [
    made({ ...series, transferSyntaxUid: '1.2.840.10008.1.2' }),
    made(series),
    made({ patientName: canary() }),
  ];
  expect(await send(gateway.dicomPort, [first, first, ...others])).toEqual([0, 0, 0, 0, 0]);
  expect(await send(gateway.dicomPort, [made({ ...first.ref, patientName: `${canary()}^OTHER` })])).toEqual([0]);
  for (const wrong of [truncated, nameAsUid, badLength]) await send(gateway.dicomPort, [wrong]).catch(() => {});
  const stored = (file: Uint8Array): Promise<Response> =>
    fetch(`${base()}/dicomweb/studies`, {
      method: 'POST',
      headers: { 'content-type': multipartDicom, accept: 'application/dicom+json' },
      body: new Uint8Array(multipartOf([file])),
    });
  for (const { file } of [made(series), nameAsUid]) await (await stored(file)).text();
  answers.push(await (await stored(first.file.subarray(0, 900))).text());

  // Searched and retrieved by DIMSE: found, not found, too many, wrong.
  const keys = identifier('STUDY', {
    '00100010': ['PN', { Alphabetic: `${canary()}*` }],
    '00100020': ['LO', canary()],
  });
  const wide = identifier('IMAGE', {
    '0020000D': ['UI', study.studyInstanceUid],
    '0020000E': ['UI', series.seriesInstanceUid],
  });
  const contexts = [
    { abstractSyntax: `${STUDY_ROOT}1`, transferSyntaxes: [EXPLICIT] },
    { abstractSyntax: `${STUDY_ROOT}2`, transferSyntaxes: [EXPLICIT] },
    { abstractSyntax: `${STUDY_ROOT}3`, transferSyntaxes: [EXPLICIT] },
    { abstractSyntax: `${PATIENT_ROOT}1`, transferSyntaxes: [EXPLICIT] },
    { abstractSyntax: CT_IMAGE_STORAGE, transferSyntaxes: [EXPLICIT] },
  ];
  const roles = [{ sopClassUid: CT_IMAGE_STORAGE, scu: false, scp: true }];
  const peer = await new QueryPeer(gateway.dicomPort, { contexts, roles }).open();
  const found = identifier('STUDY', {
    '00100010': ['PN', { Alphabetic: study.patientName }],
    '00080050': ['SH', study.accessionNumber],
  });
  const badDate = identifier('STUDY', { '00080020': ['LO', canary()] });
  const badLevel = identifier(canary(), { '00100020': ['LO', canary()] });
  for (const asked of [found, keys, wide, badDate, badLevel]) {
    peer.request(CommandField.CFindRequest, asked);
    await peer.responses();
  }
  peer.request(CommandField.CFindRequest, identifier('PATIENT', { '00100020': ['LO', study.patientId] }), {
    contextId: 7,
  });
  await peer.responses();
  peer.request(CommandField.CGetRequest, identifier('STUDY', { '0020000D': ['UI', study.studyInstanceUid] }), {
    contextId: 5,
  });
  await peer.responses(() => 0xa700);
  for (const moveDestination of ['NOBODY', 'UNKNOWN']) {
    peer.request(CommandField.CMoveRequest, wide, { contextId: 3, moveDestination });
    await peer.responses();
  }
  peer.request(CommandField.CGetRequest, keys, { contextId: 5 });
  await peer.responses();
  peer.close();
  await ask(gateway.dicomPort, [{ sopClassUid: CT_IMAGE_STORAGE, sopInstanceUid: first.ref.sopInstanceUid }], {
    transactionUid: freshUid(),
  }).catch(() => {});

  // Searched and retrieved by DICOMweb, here and in the cloud.
  const words = [canary(), canary(), canary()];
  for (const at of [base(), cloud.url]) {
    const dicomweb = new DicomwebClient(`${at}/dicomweb`);
    for (const path of [
      `/studies?PatientName=${study.patientName}`,
      `/studies?PatientID=${words[0]}&includefield=all`,
      `/studies/${words[1]}/series/${words[2]}/metadata`,
      `${pathOf(first.ref)}/metadata`,
      `${pathOf(first.ref)}/rendered`,
      pathOf(first.ref),
    ])
      await dicomweb.get(path, '*/*').then(
        (response) => response.arrayBuffer(),
        () => {},
      );
    answers.push(await (await fetch(`${at}/dicomweb/studies?StudyDate=${canary()}&limit=${canary()}`)).text());
    await fetch(`${at}/dicomweb/studies?PatientName=%ZZ${canary()}&${canary()}=${canary()}`).then((r) => r.text());
    await fetch(`${at}/${canary()}/${canary()}?${canary()}`).then((r) => r.text());
  }

  await until('the good ones to be archived', 30_000, async () => {
    const status = (await (await fetch(`${base()}/status.json`)).json()) as { backlog: { packs: number } };
    return status.backlog.packs === 0;
  });
  for (const path of ['/status', '/status.json', '/metrics', '/health'])
    expect(await (await fetch(base() + path)).text(), path).not.toMatch(seen);
  expect(canaries).toBeGreaterThan(50);
  expect(lines.length).toBeGreaterThan(30);
  expect(lines.filter((line) => seen.test(line))).toEqual([]);
  expect(answers.filter((answer) => seen.test(answer))).toEqual([]);
});
