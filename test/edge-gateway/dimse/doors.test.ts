/** Who gets in at once and who is told to come back: many associations together, limits, a disk without room; and what is told of it. */
import { createConnection } from 'node:net';
import { describe, expect, it } from 'vitest';
import { connect } from '#edge-gateway/dimse/client.ts';
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';
import { makeArchive } from '#test/support/archive-fixture.ts';
import { CT_IMAGE, EXPLICIT, IMPLICIT, pdu, storePdu, usualContexts, VERIFICATION } from './raw-peer.ts';
import { answerOf, client, dataSetPdu, instance, peer, serve, until } from './running-server.ts';

const FIND = '1.2.840.10008.5.1.4.1.2.2.1';
const GET = '1.2.840.10008.5.1.4.1.2.2.3';
const storage = { abstractSyntax: CT_IMAGE, transferSyntaxes: [EXPLICIT] };

describe('associations at once', () => {
  it('64 of them store together', async () => {
    const { server, receiver, events } = await serve({ isKept: false }, { limits: { maxAssociationsPerAddress: 100 } });
    const dataSet = Buffer.alloc(200_000, 1);
    const associations = await Promise.all(
      Array.from({ length: 64 }, (_, i) => client(server, { callingAeTitle: `CT${i}` })),
    );
    await expect(client(server)).rejects.toThrow(
      expect.objectContaining({ code: 'unavailable', details: { result: 2, source: 3, reason: 2 } }),
    );
    const statuses = await Promise.all(
      associations.flatMap((association, i) =>
        [1, 2, 3].map((n) => association.store(instance(dataSet, `1.2.${i + 1}.${n}`))),
      ),
    );
    expect(new Set(statuses.map(({ status }) => status))).toEqual(new Set([0]));
    expect(receiver.received.filter((one) => one.end === 'committed' && one.lengthBytes === 200_000)).toHaveLength(192);
    await Promise.all(associations.map((association) => association.release()));
    await until(() => server.connectionCount === 0);
    expect(events.filter((event) => event.kind === 'association-accepted')).toHaveLength(64);
    expect(events.filter((event) => event.kind === 'association-rejected')).toHaveLength(1);
  });

  it('that were aborted or lost leave their places', async () => {
    const { server } = await serve({}, { limits: { maxAssociations: 1 } });
    for (let i = 0; i < 3; i++) {
      (await client(server)).abort();
      await until(() => server.connectionCount === 0);
      const raw = peer(server);
      await raw.associate();
      raw.destroy();
      await until(() => server.connectionCount === 0);
    }
  });

  it('that were released leave their places before their connections are closed', async () => {
    const { server } = await serve({}, { limits: { maxAssociations: 1, lingerMs: 60_000 } });
    const first = peer(server);
    await first.associate();
    first.socket.pause();
    first.send(pdu(0x05, Buffer.alloc(4)));
    await until(() => server.connectionCount === 1);
    for (let isOpen = false; !isOpen; )
      isOpen = await client(server).then(
        async (association) => {
          await association.release();
          return true;
        },
        () => false,
      );
    expect(first.isClosed).toBe(false);
  });

  it('are not kept out by connections on which nobody asks: those have no place to lose', async () => {
    const { server, events } = await serve({}, { limits: { maxWaiting: 8, maxAssociationsPerAddress: 4 } });
    const silent = Array.from({ length: 40 }, (_, i) =>
      createConnection({ port: server.port, host: '127.0.0.1', localAddress: `127.0.1.${1 + (i % 10)}` }).on(
        'error',
        () => {},
      ),
    );
    await until(() => server.connectionCount === 8);
    for (let i = 0; i < 3; i++) await (await client(server)).release();
    await until(() => events.some((event) => event.kind === 'connections-cut' && event.why === 'too-many'));
    for (const socket of silent) socket.destroy();
  });
});

describe('while the disk has no room', () => {
  it.each<[string, typeof usualContexts, boolean]>([
    ['storage', [storage], false],
    ['storage with verification', usualContexts, false],
    ['verification', [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }], true],
    ['a query', [{ abstractSyntax: FIND, transferSyntaxes: [IMPLICIT] }], true],
    ['a retrieval by C-GET', [{ abstractSyntax: GET, transferSyntaxes: [IMPLICIT] }, storage], true],
    ['a workstation that does everything', [{ abstractSyntax: FIND, transferSyntaxes: [IMPLICIT] }, storage], true],
  ])('%s is let in only if it has other work here', async (_, contexts, isLetIn) => {
    let hasRoom = false;
    const { server } = await serve({}, { hasRoom: () => hasRoom });
    if (isLetIn) await (await client(server, { contexts })).release();
    else {
      await expect(client(server, { contexts })).rejects.toThrow(
        expect.objectContaining({ details: { result: 2, source: 3, reason: 2 } }),
      );
      hasRoom = true;
      await (await client(server, { contexts })).release();
    }
  });
});

it('an AE that may not store is answered 0124H when it does so on a context that it has for C-GET', async () => {
  const fixture = await makeArchive([]);
  const decompressor = createDecompressor();
  const { server, receiver } = await serve(
    {},
    {
      peers: {
        calledAeTitles: 'any',
        unknownCallers: 'rejected',
        remoteAes: new Map([['RAW', { mayStore: false }]]),
      },
      queryRetrieve: { archive: fixture.archive, tenant: fixture.tenant, decompressor },
    },
  );
  const raw = peer(server);
  await raw.associate({}, [{ abstractSyntax: GET, transferSyntaxes: [IMPLICIT] }, storage]);
  raw.send(storePdu(1), dataSetPdu(Buffer.alloc(10)));
  expect(answerOf(await raw.next())).toMatchObject({ status: 0x0124, messageIdBeingRespondedTo: 1 });
  expect(receiver.received).toEqual([]);
  raw.destroy();
  await until(() => server.connectionCount === 0);
  await decompressor.close();
  await fixture.close();
});

describe('what is told', () => {
  it('says who and how for every end, and a listener that fails harms nobody', async () => {
    const told: string[] = [];
    const { server } = await serve(
      {},
      {
        onEvent: (event) => {
          told.push(`${event.kind} ${'peer' in event ? `${event.peer.callingAeTitle} ${event.peer.address}` : ''}`);
          throw new Error('a page failed');
        },
        peers: {
          calledAeTitles: 'any',
          unknownCallers: 'rejected',
          remoteAes: new Map([['RAW', {}]]),
        },
      },
    );
    const raw = peer(server);
    await raw.associate();
    raw.send(storePdu(1), dataSetPdu(Buffer.alloc(10)));
    expect(answerOf(await raw.next()).status).toBe(0);
    raw.destroy();
    await expect(connect({ ...to(server.port), callingAeTitle: 'EVIL' })).rejects.toThrow();
    await until(() => server.connectionCount === 0);
    const silent = peer(server);
    silent.destroy();
    await until(() => told.filter((line) => line.startsWith('association-ended')).length >= 2);
    expect(told.slice(0, 5).sort()).toEqual([
      'association-accepted RAW 127.0.0.1',
      'association-ended EVIL 127.0.0.1',
      'association-ended RAW 127.0.0.1',
      'association-rejected EVIL 127.0.0.1',
      'store RAW 127.0.0.1',
    ]);
  });
});

const to = (port: number) => ({ host: '127.0.0.1', port, calledAeTitle: 'ARCHIPEL', contexts: usualContexts });
