/** C-STORE over real sockets: the bytes that reach the sink, every outcome, and whatever can go wrong on the way. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import { ArchiveError } from '#shared/errors.ts';
import { stored } from './memory-receiver.ts';
import { CT_IMAGE, commandPdu, dataPdu, EXPLICIT, echoPdu, pdu, type RawPeer, storePdu } from './raw-peer.ts';
import { answerOf, client, dataSetPdu, instance, peer, serve, until } from './running-server.ts';

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
      priority: 'medium',
      sourceAeTitle: 'TEST',
    });
    expect(first?.bytes.equals(dataSet)).toBe(true);
    expect(second?.lengthBytes).toBe(0);
    expect(events.map((event) => event.kind)).toEqual(['association-accepted', 'store', 'store', 'association-ended']);
    expect(events[1]).toMatchObject({
      outcome: 'stored',
      status: 0,
      lengthBytes: 1_234_568,
      peer: { callingAeTitle: 'TEST' },
    });
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

async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}

async function* counted(source: AsyncIterable<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    count(piece.length);
    yield piece;
  }
}
