/** What is told of queries and retrievals; and a C-MOVE whose destination is called over TLS, with our certificate. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';
import type { RemoteAe } from '#edge-gateway/dimse/delivery.ts';
import { loadTlsIdentity, type TlsIdentity } from '#edge-gateway/dimse/tls.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { Authority } from '#test/support/certificates.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { identifier, QueryPeer, STUDY_ROOT } from './query-peer.ts';
import { CT_IMAGE, EXPLICIT } from './raw-peer.ts';
import { serve, until } from './running-server.ts';

const decompressor = createDecompressor();
const remoteAes = new Map<string, RemoteAe>();
let fixture: ArchiveFixture;
let authority: Authority;
let ours: TlsIdentity;
let theirs: TlsIdentity;

beforeAll(async () => {
  const slices = [1, 2, 3].map((i) => makeInstance({ studyInstanceUid: '1.1', sopInstanceUid: `1.1.1.${i}` }));
  fixture = await makeArchive(slices.map(({ file }) => file));
  authority = await Authority.create();
  const identity = async (commonName: string) =>
    loadTlsIdentity({
      ...(await authority.issue({ commonName })),
      authorityFile: authority.authorityFile,
      log: silentLogger,
    });
  ours = await identity('ARCHIPEL');
  theirs = await identity('DEST');
});
afterAll(async () => {
  ours.close();
  theirs.close();
  authority[Symbol.dispose]();
  await fixture.close();
  await decompressor.close();
});

const offering = () => ({
  queryRetrieve: { archive: fixture.archive, tenant: fixture.tenant, decompressor, remoteAes, tlsIdentity: ours },
});
const study = identifier('STUDY', { '0020000D': ['UI', '1.1'] });
const context = (operation: number) => ({ abstractSyntax: `${STUDY_ROOT}${operation}`, transferSyntaxes: [EXPLICIT] });

it('tells of a query: its level, how many matched, how it ended', async () => {
  const { server, events } = await serve({}, offering());
  const peer = await new QueryPeer(server.port, { contexts: [context(1)] }).open();
  peer.request(CommandField.CFindRequest, study);
  await peer.responses();
  peer.close();
  expect(events.filter(({ kind }) => kind === 'find')).toEqual([
    {
      kind: 'find',
      peer: { callingAeTitle: 'RAW', calledAeTitle: 'ARCHIPEL', address: '127.0.0.1', isSecure: false },
      level: 'STUDY',
      matches: 1,
      durationMs: expect.any(Number),
      status: 0,
    },
  ]);
});

it('tells of a C-GET: what came of its sub-operations', async () => {
  const { server, events } = await serve({}, offering());
  const contexts = [context(3), { abstractSyntax: CT_IMAGE, transferSyntaxes: [EXPLICIT] }];
  const peer = await new QueryPeer(server.port, { contexts }).open();
  peer.request(CommandField.CGetRequest, identifier('STUDY', { '0020000D': ['UI', '9.9'] }));
  await peer.responses();
  peer.close();
  expect(events.filter(({ kind }) => kind === 'retrieve')).toMatchObject([
    { operation: 'get', destination: undefined, counts: { completed: 0, failed: 0, warning: 0 }, status: 0 },
  ]);
});

it.each([
  ['is sent over TLS to a destination that wants it', ['DEST'], { completed: 3, failed: 0, warning: 0 }, 0],
  [
    'fails where the destination is not who the settings say',
    ['OTHER'],
    { completed: 0, failed: 3, warning: 0 },
    0xa702,
  ],
])('what a C-MOVE asks for %s, and is told of', async (_, certificateSubjects, counts, status) => {
  const destination = await serve(
    {},
    {
      aeTitle: 'DEST',
      tls: { port: 0, identity: theirs, clientCertificate: 'required' },
      peers: {
        calledAeTitles: ['DEST'],
        unknownCallers: 'rejected',
        remoteAes: new Map([['ARCHIPEL', { certificateSubjects: ['ARCHIPEL'] }]]),
      },
    },
  );
  remoteAes.set('DEST', { host: '127.0.0.1', port: destination.server.tlsPort ?? 0, tls: true, certificateSubjects });
  const { server, events } = await serve({}, offering());
  const peer = await new QueryPeer(server.port, { contexts: [context(2)] }).open();
  peer.request(CommandField.CMoveRequest, study, { moveDestination: 'DEST' });
  await peer.responses();
  peer.close();
  expect(events.filter(({ kind }) => kind === 'retrieve')).toMatchObject([
    { operation: 'move', destination: 'DEST', level: 'STUDY', counts, status },
  ]);
  expect(destination.receiver.received.filter((one) => one.end === 'committed')).toHaveLength(counts.completed);
  await until(() => destination.server.connectionCount === 0);
  expect(destination.events.every((event) => !('peer' in event) || event.peer.isSecure)).toBe(true);
});
