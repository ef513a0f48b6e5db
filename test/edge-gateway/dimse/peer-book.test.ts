/** Who was heard from, counted; bounded, and strangers forgotten before those who are let in. */
import { expect, it } from 'vitest';
import type { Peer } from '#edge-gateway/dimse/events.ts';
import { Rejects } from '#edge-gateway/dimse/pdu.ts';
import { createPeerBook } from '#edge-gateway/dimse/peer-book.ts';
import { client, instance, serve, until } from './running-server.ts';

const peer = (callingAeTitle: string): Peer => ({
  callingAeTitle,
  calledAeTitle: 'ARCHIPEL',
  address: '10.0.0.1',
  isSecure: false,
});

it('counts what each title does, and says why it was refused', async () => {
  let nowMs = 1_000;
  const book = createPeerBook(() => nowMs++);
  const remoteAes = new Map([['SHUT', { addresses: ['10.0.0.0/8'] }]]);
  const { server } = await serve(
    {},
    { onEvent: book.note, peers: { calledAeTitles: 'any', unknownCallers: 'accepted', remoteAes } },
  );
  const association = await client(server);
  await association.store(instance(Buffer.alloc(100)));
  await association.store(instance(Buffer.alloc(50), '1.2.4'));
  await association.release();
  await expect(client(server, { callingAeTitle: 'SHUT' })).rejects.toThrow();
  await until(() => server.connectionCount === 0);
  expect(book.list()).toEqual([
    {
      ...{ callingAeTitle: 'SHUT', address: '127.0.0.1', isSecure: false },
      ...{ firstHeardAtMs: expect.any(Number), lastHeardAtMs: expect.any(Number) },
      ...{ associations: 0, rejections: 1 },
      lastRejection: { atMs: expect.any(Number), why: 'the calling AE title does not belong to this address' },
      ...{ stores: 0, storedBytes: 0, failedStores: 0, lastStoreAtMs: undefined },
      ...{ queries: 0, retrievals: 0, commitments: 0 },
    },
    expect.objectContaining({ callingAeTitle: 'TEST', associations: 1, stores: 2, storedBytes: 150, rejections: 0 }),
  ]);
});

it('forgets strangers first, and of the known the one not heard of for longest', () => {
  const book = createPeerBook(() => 0, 3);
  const accepted = (title: string) => book.note({ kind: 'association-accepted', peer: peer(title) });
  for (const title of ['A', 'B']) accepted(title);
  for (let i = 0; i < 100; i++)
    book.note({
      kind: 'association-rejected',
      peer: peer(`EVIL${i}`),
      reject: Rejects.callingAeTitleNotRecognized,
      why: 'unknown',
    });
  expect(book.list().map((note) => note.callingAeTitle)).toEqual(['EVIL99', 'B', 'A']);
  accepted('A');
  for (const title of ['C', 'D']) accepted(title);
  expect(book.list().map((note) => note.callingAeTitle)).toEqual(['D', 'C', 'A']);
});
