/** C-FIND with 2,000 answers: each once, others served in between, C-CANCEL, a limit, a peer that goes away. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import type { DimseServer } from '#edge-gateway/dimse/server.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { Archive, ArchiveIndex } from '#shared/archive/ports.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { instanceRecord, json } from '#test/support/archive-records.ts';
import { serveArchive } from './archive-server.ts';
import { identifier, PATIENT_ROOT, type PeerOptions, QueryPeer, STUDY_ROOT } from './query-peer.ts';
import { EXPLICIT, echoPdu, IMPLICIT, VERIFICATION } from './raw-peer.ts';

const FIND = CommandField.CFindRequest;
const STUDIES = 2_000;
const tenant = 'many';
const studyFind = [{ abstractSyntax: `${STUDY_ROOT}1`, transferSyntaxes: [EXPLICIT] }];
const patientFind = [{ abstractSyntax: `${PATIENT_ROOT}1`, transferSyntaxes: [IMPLICIT] }];

let index: ArchiveIndex;
let many: { archive: Archive; tenant: string };
let server: DimseServer;
const peers: QueryPeer[] = [];

beforeAll(async () => {
  index = await createSqliteIndex({ file: ':memory:', inWorker: false });
  const records = Array.from({ length: STUDIES }, (_, study) =>
    instanceRecord({ tenant, study, pack: study, attributes: { '00100020': json('LO', `M${study % 500}`) } }),
  );
  await indexInstances(index, records);
  // No instance is read here.
  many = { archive: { index, packs: {} as Archive['packs'] }, tenant };
  server = await serveArchive(many);
});
afterAll(async () => {
  await server?.close();
  await index?.close();
});
afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

async function open(options: Partial<PeerOptions> = {}, port = server.port): Promise<QueryPeer> {
  const peer = new QueryPeer(port, { contexts: studyFind, ...options });
  peers.push(peer);
  return peer.open();
}

const value = (match: DicomJson | undefined, tag: string): unknown => match?.[tag]?.Value?.[0];

describe('2,000 answers', () => {
  it('come all, each once, while others are answered in between', async () => {
    const asker = await open();
    const other = await open({ contexts: [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }] });
    asker.request(FIND, identifier('STUDY', { '00100020': ['LO'] }));
    const first = await asker.next();
    other.raw.send(echoPdu());
    let isEchoed = false;
    const echo = other.next().then(() => {
      isEchoed = true;
    });
    const found = [asker.json(first)];
    let foundBeforeEcho = 0;
    for (;;) {
      const message = await asker.next();
      if (message.command.status === 0) break;
      if (!isEchoed) foundBeforeEcho++;
      found.push(asker.json(message));
    }
    await echo;
    expect(new Set(found.map((match) => value(match, '0020000D'))).size).toBe(STUDIES);
    expect(found).toHaveLength(STUDIES);
    expect(foundBeforeEcho).toBeLessThan(STUDIES - 1);
  });

  it('end with FE00 when they are cancelled, and the association goes on', async () => {
    const peer = await open();
    peer.request(FIND, identifier('STUDY', { '00100020': ['LO'] }), { messageId: 5 });
    await peer.next();
    peer.cancel(5);
    const rest = await peer.responses();
    expect(rest.at(-1)?.command).toMatchObject({ status: 0xfe00, messageIdBeingRespondedTo: 5 });
    expect(rest.length).toBeLessThan(STUDIES);
    peer.request(FIND, identifier('STUDY', { '0020000D': ['UI', '1.2.3.7'] }), { messageId: 6 });
    expect((await peer.responses()).map(({ command }) => command.status)).toEqual([0xff00, 0]);
  });

  it('stop at a limit with A700', async () => {
    const limited = await serveArchive(many, { maxFindResults: 10 });
    try {
      const peer = await open({}, limited.port);
      peer.request(FIND, identifier('STUDY', {}));
      const responses = await peer.responses();
      expect(responses).toHaveLength(11);
      expect(responses.at(-1)?.command).toMatchObject({
        status: 0xa700,
        errorComment: expect.stringMatching(/narrow/),
      });
    } finally {
      await limited.close();
    }
  });

  it('wait for a peer that does not read, and end with it', async () => {
    const peer = await open();
    peer.request(FIND, identifier('STUDY', { '00100020': ['LO'] }));
    await peer.next();
    peer.raw.socket.pause();
    peer.raw.destroy();
    const other = await open();
    other.request(FIND, identifier('STUDY', { '0020000D': ['UI', '1.2.3.7'] }));
    expect((await other.responses()).at(-1)?.command.status).toBe(0);
  });

  it('are patients collapsed', async () => {
    const peer = await open({ contexts: patientFind });
    peer.request(FIND, identifier('PATIENT', { '00100020': ['LO'] }));
    expect(await peer.responses()).toHaveLength(501);
  });
});
