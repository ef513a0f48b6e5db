/** The DIMSE server over real sockets: C-ECHO, messages in and out of place, limits, time, closing. */
import { describe, expect, it } from 'vitest';
import { decodeAssociateAccept } from '#edge-gateway/dimse/associate-pdu.ts';
import { decodeCommandSet, encodeCommandSet, NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import { PDV_COMMAND, PDV_LAST } from '#edge-gateway/dimse/pdu.ts';
import type { PeerSettings } from '#edge-gateway/dimse/peers.ts';
import type { DimseServerOptions } from '#edge-gateway/dimse/server.ts';
import { stored } from './memory-receiver.ts';
import {
  abortOf,
  associateRequest,
  CT_IMAGE,
  commandPdu,
  dataPdu,
  echoPdu,
  IMPLICIT,
  pdu,
  storePdu,
  VERIFICATION,
} from './raw-peer.ts';
import { answerOf, client, dataSetPdu, instance, peer, serve, until } from './running-server.ts';

describe('C-ECHO', () => {
  it('is answered Success', async () => {
    const { server } = await serve();
    const association = await client(server);
    expect(await association.echo()).toEqual({ status: 0 });
    await association.release();
  });

  it('is answered in one PDU that says whom it answers', async () => {
    const { server } = await serve();
    const raw = peer(server);
    await raw.associate();
    const answer = await raw.send(echoPdu(77)).next();
    expect([answer[0], answer[10], answer[11]]).toEqual([4, 1, PDV_COMMAND | PDV_LAST]);
    expect(answerOf(answer)).toEqual({
      affectedSopClassUid: VERIFICATION,
      commandField: 0x8030,
      messageIdBeingRespondedTo: 77,
      dataSetType: NO_DATA_SET,
      status: 0,
    });
  });

  it('is answered in fragments that a peer of 20-byte PDUs can take', async () => {
    const { server } = await serve();
    const raw = peer(server);
    await raw.associate({ maxPduBytes: 20 });
    raw.send(echoPdu());
    const parts: Buffer[] = [];
    for (let isLast = false; !isLast; ) {
      const part = await raw.next();
      expect(part.length - 6).toBeLessThanOrEqual(20);
      isLast = ((part[11] as number) & PDV_LAST) !== 0;
      parts.push(part.subarray(12));
    }
    expect(decodeCommandSet(Buffer.concat(parts)).status).toBe(0);
  });
});

describe('messages', () => {
  it('are put together from command fragments, and answered in order when they come in one go', async () => {
    const { server, receiver } = await serve({
      outcome: async (received) => {
        // The first takes longest.
        if (received.incoming.sopInstanceUid === '1.2.1') await new Promise((resolve) => setTimeout(resolve, 30));
        return stored(received);
      },
    });
    for (const window of [undefined, { invoked: 3, performed: 1 }]) {
      const raw = peer(server);
      await raw.associate(window === undefined ? {} : { asynchronousOperations: window });
      const stream = [1, 2, 3, 4, 5].flatMap((id) => [
        ...fragmented(storePdu(id, `1.2.${id}`)),
        dataSetPdu(Buffer.alloc(2 * id)),
      ]);
      raw.send(Buffer.concat([...stream, echoPdu(6), pdu(0x05, Buffer.alloc(4))]));
      for (const id of [1, 2, 3, 4, 5, 6]) expect(answerOf(await raw.next()).messageIdBeingRespondedTo).toBe(id);
      expect((await raw.next())[0]).toBe(0x06);
      await raw.closed();
    }
    expect(receiver.received.map((one) => one.lengthBytes)).toEqual([2, 4, 6, 8, 10, 2, 4, 6, 8, 10]);
  });

  it('are worked on at once as far as a window was negotiated, and no further', async () => {
    const committing: string[] = [];
    let finish = () => {};
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const { server } = await serve({
      outcome: async (received) => {
        committing.push(received.incoming.sopInstanceUid ?? '');
        await gate;
        return stored(received);
      },
    });
    const raw = peer(server);
    const accept = decodeAssociateAccept(
      (await raw.associate({ asynchronousOperations: { invoked: 2, performed: 1 } })).subarray(6),
    );
    expect(accept.userInformation.asynchronousOperations).toEqual({ invoked: 2, performed: 1 });
    raw.send(...[1, 2, 3].flatMap((id) => [storePdu(id, `1.2.${id}`), dataSetPdu(Buffer.alloc(2))]));
    const other = await client(server);
    for (let i = 0; i < 5; i++) await other.echo();
    expect(committing).toEqual(['1.2.1', '1.2.2']);
    finish();
    for (const id of [1, 2, 3]) expect(answerOf(await raw.next()).messageIdBeingRespondedTo).toBe(id);
    await other.release();
  });

  it('that we do not know are answered 0211H, with and without data set; C-CANCEL is let pass', async () => {
    const { server } = await serve();
    const raw = peer(server);
    await raw.associate();
    raw.send(
      commandPdu(1, { commandField: 0x0fff, messageIdBeingRespondedTo: 1, dataSetType: NO_DATA_SET }),
      commandPdu(3, { commandField: 0x0020, messageId: 4, dataSetType: 1, affectedSopClassUid: CT_IMAGE }),
      dataSetPdu(Buffer.alloc(100)),
      commandPdu(3, { commandField: 0x0777, messageId: 5, dataSetType: NO_DATA_SET }),
    );
    expect(answerOf(await raw.next())).toMatchObject({
      commandField: 0x8020,
      messageIdBeingRespondedTo: 4,
      status: 0x0211,
    });
    expect(answerOf(await raw.next())).toMatchObject({
      commandField: 0x8777,
      messageIdBeingRespondedTo: 5,
      status: 0x0211,
    });
  });

  const echo = encodeCommandSet({ commandField: 0x30, messageId: 1, dataSetType: NO_DATA_SET });
  it.each<[string, Buffer[], { source: number; reason: number }]>([
    ['a context that was not accepted', [echoPdu(1, 5)], { source: 0, reason: 0 }],
    ['a data set without a command', [dataSetPdu(Buffer.alloc(2))], { source: 0, reason: 0 }],
    ['a command before the data set is complete', [storePdu(), echoPdu(2)], { source: 0, reason: 0 }],
    [
      'a data set on another context than its command',
      [storePdu(), dataSetPdu(Buffer.alloc(2), 1)],
      { source: 0, reason: 0 },
    ],
    [
      'a command on two contexts',
      [
        dataPdu(
          { contextId: 1, control: 1, bytes: echo.subarray(0, 4) },
          { contextId: 3, control: 3, bytes: echo.subarray(4) },
        ),
      ],
      { source: 0, reason: 0 },
    ],
    [
      'a command that does not parse',
      [dataPdu({ contextId: 1, control: 3, bytes: Buffer.from('hello!') })],
      { source: 0, reason: 0 },
    ],
    ['an empty command', [dataPdu({ contextId: 1, control: 3, bytes: Buffer.alloc(0) })], { source: 0, reason: 0 }],
    [
      'a request without an ID',
      [commandPdu(1, { commandField: 0x30, dataSetType: NO_DATA_SET })],
      { source: 0, reason: 0 },
    ],
    [
      'a response to nothing',
      [commandPdu(1, { commandField: 0x8030, messageIdBeingRespondedTo: 1, dataSetType: NO_DATA_SET, status: 0 })],
      { source: 0, reason: 0 },
    ],
    [
      'a command of more than 64 KiB',
      Array.from({ length: 6 }, () => dataPdu({ contextId: 1, control: 1, bytes: Buffer.alloc(16_000) })),
      { source: 0, reason: 0 },
    ],
    [
      'a thousand fragments without content',
      [
        storePdu(),
        dataPdu(...Array.from({ length: 1_001 }, () => ({ contextId: 3, control: 0, bytes: Buffer.alloc(0) }))),
      ],
      { source: 0, reason: 0 },
    ],
    ['a fragment of odd length', [storePdu(), dataSetPdu(Buffer.alloc(3))], { source: 2, reason: 6 }],
    ['a second A-ASSOCIATE-RQ', [associateRequest()], { source: 2, reason: 2 }],
    ['an A-ASSOCIATE-AC', [pdu(0x02, Buffer.alloc(68))], { source: 2, reason: 2 }],
    ['an A-RELEASE-RP', [pdu(0x06, Buffer.alloc(4))], { source: 2, reason: 2 }],
    ['an A-RELEASE-RQ within a message', [storePdu(), pdu(0x05, Buffer.alloc(4))], { source: 2, reason: 2 }],
    ['a PDU of unknown type', [pdu(0x99, Buffer.alloc(4))], { source: 2, reason: 1 }],
    ['a P-DATA-TF longer than agreed', [pdu(0x04, Buffer.alloc(0), 300_000)], { source: 2, reason: 6 }],
  ])('end with A-ABORT after %s, and nothing is kept', async (_, stream, abort) => {
    const { server, receiver } = await serve();
    const raw = peer(server);
    await raw.associate();
    raw.send(...stream);
    expect(abortOf(await raw.next())).toEqual(abort);
    await raw.closed();
    expect(receiver.received.filter((one) => one.end !== 'aborted')).toEqual([]);
  });
});

const anybody: PeerSettings = { calledAeTitles: 'any', unknownCallers: 'accepted', remoteAes: new Map() };

describe('the association', () => {
  it.each<[string, Partial<DimseServerOptions>, [number, number, number]]>([
    ['another called AE title', { peers: { ...anybody, calledAeTitles: ['OTHER'] } }, [1, 1, 7]],
    ['a calling AE title that is not on the list', { peers: { ...anybody, unknownCallers: 'rejected' } }, [1, 1, 3]],
    ['too many from one address', { limits: { maxAssociationsPerAddress: 1 } }, [2, 3, 2]],
    ['too many in all', { limits: { maxAssociations: 1 } }, [2, 3, 2]],
    [
      'too many of one title',
      { limits: {}, peers: { ...anybody, remoteAes: new Map([['TEST', { maxAssociations: 1 }]]) } },
      [2, 3, 2],
    ],
  ])('is rejected for %s', async (_, options, [result, source, reason]) => {
    const { server, events } = await serve({}, options);
    const holding = options.limits === undefined ? undefined : await client(server);
    await expect(client(server)).rejects.toThrow(
      expect.objectContaining({
        code: result === 2 ? 'unavailable' : 'forbidden',
        details: { result, source, reason },
      }),
    );
    expect(events.some((event) => event.kind === 'association-ended' && event.end === 'rejected')).toBe(true);
    await holding?.release();
    if (holding !== undefined) {
      await until(() => server.connectionCount === 0);
      await (await client(server)).release();
    }
  });

  it('is aborted when the peer takes PDUs of 1 or 7 bytes, but not when it takes any', async () => {
    const { server } = await serve();
    for (const maxPduBytes of [1, 7]) {
      const raw = peer(server).send(associateRequest({ maxPduBytes }));
      expect(abortOf(await raw.next())).toEqual({ source: 2, reason: 6 });
      await raw.closed();
    }
    const raw = peer(server);
    await raw.associate({ maxPduBytes: 0 });
    expect(answerOf(await raw.send(echoPdu()).next()).status).toBe(0);
  });

  it('opens though nothing in it is accepted, and says so for each context', async () => {
    const { server } = await serve();
    const contexts = [{ abstractSyntax: '1.2.840.10008.5.1.4.1.2.2.1', transferSyntaxes: [IMPLICIT] }];
    const association = await client(server, { contexts });
    expect(association.contexts).toEqual([]);
    await expect(association.echo()).rejects.toThrow(expect.objectContaining({ code: 'unsupported-transfer-syntax' }));
    await association.release();
  });

  it.each([
    ['before it is asked for', Buffer.from('01000000', 'hex'), undefined],
    ['between messages', Buffer.concat([associateRequest()]), { source: 2, reason: 0 }],
    ['within a message', Buffer.concat([associateRequest(), storePdu()]), { source: 2, reason: 0 }],
    ['within a PDU', Buffer.concat([associateRequest(), echoPdu().subarray(0, 20)]), { source: 2, reason: 0 }],
  ])('is cut when nothing comes %s', async (_, bytes, abort) => {
    const { server, receiver } = await serve({}, { limits: { artimMs: 100, idleTimeoutMs: 100, stallTimeoutMs: 100 } });
    const raw = peer(server).send(bytes);
    if (abort !== undefined) {
      await raw.next();
      expect(abortOf(await raw.next())).toEqual(abort);
    }
    await raw.closed();
    expect(receiver.received.every((one) => one.end === 'aborted')).toBe(true);
  });

  it('is not cut while we are the slow ones', async () => {
    const { server } = await serve(
      {
        outcome: async (received) => {
          await new Promise((resolve) => setTimeout(resolve, 300));
          return stored(received);
        },
      },
      { limits: { idleTimeoutMs: 100, stallTimeoutMs: 100 } },
    );
    const association = await client(server);
    expect(await association.store(instance(Buffer.alloc(10)))).toEqual({ status: 0 });
    await association.release();
  });
});

describe('closing the server', () => {
  it('ends idle associations at once and lets a running store finish', async () => {
    const { server, receiver } = await serve({}, { limits: { closeDeadlineMs: 20_000 } });
    const idle = peer(server);
    await idle.associate();
    const busy = peer(server);
    await busy.associate();
    busy.send(storePdu(), dataPdu({ contextId: 3, control: 0, bytes: Buffer.alloc(10) }));
    await until(() => receiver.received.length === 1);
    const closed = server.close();
    expect(abortOf(await idle.next())).toEqual({ source: 0, reason: 0 });
    busy.send(dataSetPdu(Buffer.alloc(10)));
    expect(answerOf(await busy.next()).status).toBe(0);
    expect(abortOf(await busy.next())).toEqual({ source: 0, reason: 0 });
    await closed;
    expect(receiver.received[0]?.end).toBe('committed');
    await expect(client(server)).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
  });

  it('aborts what has not finished by the deadline', async () => {
    const { server, receiver } = await serve({}, { limits: { closeDeadlineMs: 50 } });
    const raw = peer(server);
    await raw.associate();
    raw.send(storePdu());
    await until(() => receiver.received.length === 1);
    await server.close();
    expect(receiver.received[0]?.end).toBe('aborted');
    expect(abortOf(await raw.next())).toEqual({ source: 0, reason: 0 });
  });
});

/** The command of a PDU in fragments of 8 bytes, three to a PDU. */
function fragmented(command: Buffer): Buffer[] {
  const bytes = command.subarray(12);
  const values = [];
  for (let offset = 0; offset < bytes.length; offset += 8) {
    const isLast = offset + 8 >= bytes.length;
    values.push({
      contextId: command[10] as number,
      control: isLast ? 3 : 1,
      bytes: bytes.subarray(offset, offset + 8),
    });
  }
  const pdus = [];
  for (let i = 0; i < values.length; i += 3) pdus.push(dataPdu(...values.slice(i, i + 3)));
  return pdus;
}
