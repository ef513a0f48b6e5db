import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeAssociateAccept } from '#edge-gateway/dimse/associate-pdu.ts';
import { type ConnectOptions, connect } from '#edge-gateway/dimse/client.ts';
import { type CommandSet, decodeCommandSet, encodeCommandSet, NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import { PDV_COMMAND, PDV_LAST } from '#edge-gateway/dimse/pdu.ts';
import {
  createDimseServer,
  type DimseEvent,
  type DimseServer,
  type DimseServerOptions,
} from '#edge-gateway/dimse/server.ts';
import { ArchiveError } from '#shared/errors.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver, type MemoryReceiverOptions, stored } from './memory-receiver.ts';
import {
  abortOf,
  associateRequest,
  CT_IMAGE,
  commandPdu,
  dataPdu,
  EXPLICIT,
  echoPdu,
  IMPLICIT,
  pdu,
  RawPeer,
  storePdu,
  usualContexts,
  VERIFICATION,
} from './raw-peer.ts';

const running: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
});

async function serve(receiving: MemoryReceiverOptions = {}, options: Partial<DimseServerOptions> = {}) {
  const receiver = new MemoryReceiver(receiving);
  const events: DimseEvent[] = [];
  const server = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'ARCHIPEL',
    receiver,
    log: silentLogger,
    onEvent: (event) => events.push(event),
    ...options,
    limits: { lingerMs: 100, closeDeadlineMs: 200, ...options.limits },
  });
  running.push(server);
  return { server, receiver, events };
}

function peer(server: DimseServer): RawPeer {
  const raw = new RawPeer(server.port);
  running.push({ close: () => raw.destroy() });
  return raw;
}

const client = (server: DimseServer, options: Partial<ConnectOptions> = {}) =>
  connect({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'TEST',
    calledAeTitle: 'ARCHIPEL',
    contexts: usualContexts,
    ...options,
  });

const instance = (dataSet: Uint8Array, sopInstanceUid = '1.2.3') => ({
  sopClassUid: CT_IMAGE,
  sopInstanceUid,
  transferSyntaxUid: EXPLICIT,
  dataSet,
});

const dataSetPdu = (bytes: Uint8Array, contextId = 3) => dataPdu({ contextId, control: PDV_LAST, bytes });
const answerOf = (bytes: Buffer): CommandSet => decodeCommandSet(bytes.subarray(12));

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

describe('C-STORE', () => {
  it('gives the sink the bytes as they came, and says from whom and in which transfer syntax', async () => {
    const { server, receiver, events } = await serve();
    const association = await client(server);
    const dataSet = randomBytes(1_234_568);
    expect(await association.store(instance(dataSet, '1.2.3.4'))).toEqual({ status: 0 });
    expect(await association.store(instance(new Uint8Array(0), '1.2.3.5'))).toEqual({ status: 0 });
    await association.release();
    const [first, second] = receiver.received;
    expect(first?.incoming).toEqual({
      sopClassUid: CT_IMAGE,
      sopInstanceUid: '1.2.3.4',
      transferSyntaxUid: EXPLICIT,
      sourceAeTitle: 'TEST',
    });
    expect(first?.bytes.equals(dataSet)).toBe(true);
    expect(second?.lengthBytes).toBe(0);
    expect(events.map((event) => event.kind)).toEqual(['association-accepted', 'store', 'store', 'association-ended']);
    expect(events[1]).toMatchObject({ outcome: 'stored', status: 0, lengthBytes: 1_234_568, callingAeTitle: 'TEST' });
    expect(events[3]).toMatchObject({ end: 'released' });
  });

  it('stores private classes in transfer syntaxes that nobody knows', async () => {
    const { server, receiver } = await serve();
    const contexts = [{ abstractSyntax: '1.3.12.2.1107.5.9.1', transferSyntaxes: ['1.2.3.4.5.6'] }];
    const association = await client(server, { contexts });
    const dataSet = randomBytes(100);
    await association.store({
      sopClassUid: '1.3.12.2.1107.5.9.1',
      sopInstanceUid: '1.2.3',
      transferSyntaxUid: '1.2.3.4.5.6',
      dataSet,
    });
    expect(receiver.received[0]?.bytes.equals(dataSet)).toBe(true);
    await association.release();
  });

  it('gives the sink the same bytes for any size of fragments, any number to a PDU and any chunks', async () => {
    const { server, receiver } = await serve();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 2, max: 70_000 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 50_000 }),
        async (halfLength, fragmentBytes, pdvsPerPdu, pieceBytes) => {
          const small = fragmentBytes < 100 ? 2_000 : 200_000;
          const dataSet = randomBytes(2 * (halfLength % small));
          const association = await client(server, { fragmentBytes, pdvsPerPdu });
          await association.store({ ...instance(dataSet), dataSet: pieces(dataSet, pieceBytes) });
          await association.release();
          const received = receiver.received.pop();
          expect(received?.bytes.equals(dataSet)).toBe(true);
          // However small the fragments are, the sink is spared them.
          expect(received?.writes ?? 0).toBeLessThanOrEqual(2 + dataSet.length / 2048);
        },
      ),
      { numRuns: 30 },
    );
  });

  it.each([
    ['duplicate', 0x0000],
    ['conflict', 0x0000],
  ] as const)('answers Success to a %s', async (kind, status) => {
    const { server } = await serve({ outcome: (received) => ({ ...stored(received), kind }) as never });
    const association = await client(server);
    expect(await association.store(instance(Buffer.alloc(10)))).toEqual({ status });
    await association.release();
  });

  it('says why an instance is refused, and takes the next', async () => {
    let count = 0;
    const { server } = await serve({
      outcome: (received) =>
        count++ > 0
          ? stored(received)
          : {
              kind: 'refused',
              code: 'out-of-resources',
              reason: 'the disk of the gateway is full; send this instance again later, when there is room',
              offendingElements: [0x0020000d],
            },
    });
    const association = await client(server);
    expect(await association.store(instance(Buffer.alloc(10)))).toEqual({
      status: 0xa700,
      comment: 'the disk of the gateway is full; send this instance again later,',
      offendingElements: [0x0020000d],
    });
    expect(await association.store(instance(Buffer.alloc(10)))).toEqual({ status: 0 });
    await association.release();
  });

  it.each([
    ['throws in begin', { begin: true }],
    ['throws in write', { write: true }],
    ['rejects in write', { reject: true }],
    ['rejects in commit', { commit: true }],
  ])('answers 0110H when the receiver %s, keeps nothing of it, and goes on', async (_, at: Record<string, boolean>) => {
    const fail = () => {
      throw new Error('secret path /var/lib');
    };
    const aborted: boolean[] = [];
    const { server } = await serve(
      {},
      {
        receiver: {
          begin: () => {
            if (at.begin) fail();
            return {
              write: () => (at.write ? fail() : at.reject ? Promise.reject(new Error('x')) : undefined),
              commit: async () => (at.commit ? fail() : Promise.reject(new Error('unexpected'))),
              abort: () => aborted.push(true),
            };
          },
        },
      },
    );
    const association = await client(server);
    const answer = { status: 0x0110, comment: 'the archive failed to process this message' };
    expect(await association.store(instance(Buffer.alloc(300_000)))).toEqual(answer);
    expect(await association.echo()).toEqual({ status: 0 });
    expect(aborted.length).toBe(at.begin || at.commit ? 0 : 1);
    await association.release();
  });

  it('answers with the status of an error that the receiver throws', async () => {
    const { server } = await serve({
      beforeWrite: () => {
        throw new ArchiveError('identity-mismatch', 'the class differs');
      },
    });
    const association = await client(server);
    expect(await association.store(instance(Buffer.alloc(10)))).toEqual({
      status: 0xa900,
      comment: 'the class differs',
    });
    await association.release();
  });

  it('answers only after commit has resolved', async () => {
    let finish = () => {};
    const committing = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const { server } = await serve({ outcome: (received) => committing.then(() => stored(received)) });
    const association = await client(server);
    let isAnswered = false;
    const answer = association.store(instance(Buffer.alloc(10))).then(() => {
      isAnswered = true;
    });
    const other = await client(server);
    for (let i = 0; i < 5; i++) await other.echo();
    expect(isAnswered).toBe(false);
    finish();
    await answer;
    await Promise.all([association.release(), other.release()]);
  });

  it('drops what it has when the sender aborts or goes away in the middle', async () => {
    const { server, receiver, events } = await serve();
    for (const goAway of [(raw: RawPeer) => raw.send(pdu(0x07, Buffer.alloc(4))), (raw: RawPeer) => raw.destroy()]) {
      const raw = peer(server);
      await raw.associate();
      raw.send(storePdu(), dataPdu({ contextId: 3, control: 0, bytes: Buffer.alloc(1000) }));
      await until(() => receiver.received.at(-1)?.end === 'open');
      goAway(raw);
      await until(() => receiver.received.at(-1)?.end === 'aborted');
    }
    await until(() => events.filter((event) => event.kind === 'association-ended').length === 2);
    expect(events.flatMap((event) => (event.kind === 'association-ended' ? [event.end] : []))).toEqual([
      'aborted-by-peer',
      'lost',
    ]);
    expect(events.flatMap((event) => (event.kind === 'store' ? [event.outcome] : []))).toEqual(['aborted', 'aborted']);
  });

  it('stops reading while the sink asks to wait', async () => {
    let goOn = () => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const { server, receiver } = await serve({ isKept: false, beforeWrite: () => gate });
    const association = await client(server);
    const dataSet = Buffer.alloc(32 * 1024 * 1024);
    let sent = 0;
    const answer = association.store({
      ...instance(dataSet),
      dataSet: counted(pieces(dataSet, 262_144), (bytes) => {
        sent += bytes;
      }),
    });
    // The rest does not fit into the buffers between us: how much does is the kernel's affair.
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(sent).toBeLessThan(dataSet.length);
    expect(receiver.received[0]?.writes).toBe(0);
    goOn();
    expect(await answer).toEqual({ status: 0 });
    expect(receiver.received[0]?.lengthBytes).toBe(dataSet.length);
    await association.release();
  });

  it('is refused where there is no data set or no storage context, and the association stays', async () => {
    const { server } = await serve();
    const raw = peer(server);
    await raw.associate();
    const command = { affectedSopClassUid: CT_IMAGE, commandField: 1, messageId: 1, affectedSopInstanceUid: '1.2' };
    raw.send(commandPdu(3, { ...command, dataSetType: NO_DATA_SET }));
    expect(answerOf(await raw.next()).status).toBe(0xc000);
    raw.send(commandPdu(1, { ...command, dataSetType: 0 }), dataSetPdu(Buffer.alloc(10), 1));
    expect(answerOf(await raw.next()).status).toBe(0x0122);
    expect(answerOf(await raw.send(echoPdu()).next()).status).toBe(0);
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

describe('the association', () => {
  it.each<[string, Partial<DimseServerOptions>, [number, number, number]]>([
    ['another called AE title', { isCalledAeTitleChecked: true, aeTitle: 'OTHER' }, [1, 1, 7]],
    ['a calling AE title that is not on the list', { callingAeTitles: ['CT1'] }, [1, 1, 3]],
    ['too many from one address', { limits: { maxConnectionsPerAddress: 0.5 } }, [2, 3, 2]],
    ['too many in all', { limits: { maxConnections: 0.5 } }, [2, 3, 2]],
  ])('is rejected for %s', async (_, options, [result, source, reason]) => {
    const first =
      options.limits === undefined ? options : { limits: { maxConnections: 1, maxConnectionsPerAddress: 1 } };
    const { server, events } = await serve({}, first);
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

async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}

async function* counted(source: AsyncIterable<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    count(piece.length);
    yield piece;
  }
}

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

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
