/**
 * Peers that mean harm or are broken: each script ends with its connection closed, nothing of it kept, and an honest
 * C-ECHO on another association answered all the while.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type RequestorAssociation } from '#edge-gateway/dimse/client.ts';
import { createDimseServer, type DimseServer } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';
import { associateRequest, dataPdu, echoPdu, pdu, RawPeer, storePdu, usualContexts } from './raw-peer.ts';

const receiver = new MemoryReceiver();
let server: DimseServer;
let honest: RequestorAssociation;

beforeAll(async () => {
  server = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'ARCHIPEL',
    receiver,
    log: silentLogger,
    limits: { artimMs: 500, idleTimeoutMs: 60_000, stallTimeoutMs: 300, lingerMs: 50, maxAssociationsPerAddress: 40 },
  });
  honest = await connect({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'HONEST',
    calledAeTitle: 'ARCHIPEL',
    contexts: usualContexts,
  });
});
afterAll(async () => {
  await honest.release();
  await server.close();
});

/** What each script has left behind at its end: nothing. */
async function expectNothingLeft(raw: RawPeer): Promise<void> {
  await raw.closed();
  expect(await honest.echo()).toEqual({ status: 0 });
  expect(receiver.received.filter((one) => one.end !== 'aborted')).toEqual([]);
  receiver.received.length = 0;
}

const zeros = (lengthBytes: number) => Buffer.alloc(lengthBytes);

describe('a hostile peer', () => {
  it.each<[string, Buffer]>([
    ['says nothing', zeros(0)],
    ['sends garbage', Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is how TLS begins')],
    ['sends a PDU of 0xFFFFFFFF bytes', pdu(0x01, zeros(10_000), 0xffffffff)],
    ['sends P-DATA before anything', dataPdu({ contextId: 1, control: 3, bytes: zeros(10) })],
    ['sends P-DATA of 0xFFFFFFFF bytes', Buffer.concat([associateRequest(), pdu(0x04, zeros(10_000), 0xffffffff)])],
    ['stops in the middle of its request', associateRequest().subarray(0, 100)],
    ['takes PDUs of 1 byte', Buffer.concat([associateRequest({ maxPduBytes: 1 }), echoPdu()])],
    ['takes PDUs of 7 bytes', Buffer.concat([associateRequest({ maxPduBytes: 7 }), echoPdu()])],
    [
      'aborts within a fragment',
      Buffer.concat([
        associateRequest(),
        storePdu(),
        dataPdu({ contextId: 3, control: 0, bytes: zeros(500) }).subarray(0, 100),
        pdu(0x07, zeros(4)),
      ]),
    ],
    [
      'stops within a fragment',
      Buffer.concat([
        associateRequest(),
        storePdu(),
        dataPdu({ contextId: 3, control: 0, bytes: zeros(500) }).subarray(0, 100),
      ]),
    ],
    ['releases without a data set', Buffer.concat([associateRequest(), storePdu(), pdu(0x05, zeros(4))])],
    ['releases what it never opened', pdu(0x05, zeros(4))],
  ])('that %s is closed', async (_, bytes) => {
    await expectNothingLeft(new RawPeer(server.port).send(bytes));
  });

  it('that sends its request a byte at a time is closed when the time for it is over', async () => {
    const raw = new RawPeer(server.port);
    const request = associateRequest();
    for (let i = 0; i < request.length && !raw.isClosed; i++) {
      raw.send(request.subarray(i, i + 1));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await expectNothingLeft(raw);
  });

  it('that half-closes in the middle of an instance is closed', async () => {
    const raw = new RawPeer(server.port);
    await raw.associate();
    raw.send(storePdu(), dataPdu({ contextId: 3, control: 0, bytes: zeros(500) }));
    raw.socket.end();
    await expectNothingLeft(raw);
  });

  it('that asks and asks and never reads is no longer read, and closed', async () => {
    const raw = new RawPeer(server.port);
    await raw.associate();
    raw.socket.pause();
    const echoes = Buffer.concat(Array.from({ length: 2_000 }, (_, i) => echoPdu(i + 1)));
    while (!raw.socket.destroyed && raw.socket.write(echoes)) await honest.echo();
    expect(raw.socket.writableNeedDrain).toBe(true);
    while (server.connectionCount > 1) await new Promise((resolve) => setTimeout(resolve, 10));
    await expectNothingLeft(raw);
  });

  it('that opens hundreds of connections gets a few of them, and others are served', async () => {
    const flood = Array.from({ length: 300 }, () => new RawPeer(server.port, '127.0.0.2'));
    const wishful = new RawPeer(server.port, '127.0.0.2').send(associateRequest());
    expect(await honest.echo()).toEqual({ status: 0 });
    const other = await connect({
      host: '127.0.0.1',
      port: server.port,
      callingAeTitle: 'OTHER',
      calledAeTitle: 'ARCHIPEL',
      contexts: usualContexts,
    });
    expect(await other.echo()).toEqual({ status: 0 });
    await other.release();
    expect(server.connectionCount).toBeLessThanOrEqual(82);
    await Promise.all([...flood, wishful].map((raw) => raw.closed()));
    expect(await honest.echo()).toEqual({ status: 0 });
  });

  it('that sends a thousand mutilated streams leaves the server as it was', async () => {
    const seed = 20_261_121;
    console.log(`mutated PDU streams: seed ${seed}`);
    const whole = Buffer.concat([
      associateRequest({ asynchronousOperations: { invoked: 0, performed: 0 } }),
      echoPdu(),
      storePdu(2),
      dataPdu({ contextId: 3, control: 0, bytes: zeros(64) }, { contextId: 3, control: 2, bytes: zeros(32) }),
      pdu(0x05, zeros(4)),
    ]);
    const mutation = fc.oneof(
      fc.record({
        kind: fc.constant('flip' as const),
        at: fc.nat(whole.length - 1),
        bits: fc.integer({ min: 1, max: 255 }),
      }),
      fc.record({
        kind: fc.constant('cut' as const),
        at: fc.nat(whole.length - 1),
        bits: fc.integer({ min: 1, max: 60 }),
      }),
      fc.record({
        kind: fc.constant('double' as const),
        at: fc.nat(whole.length - 1),
        bits: fc.integer({ min: 1, max: 60 }),
      }),
      fc.record({
        kind: fc.constant('ones' as const),
        at: fc.nat(whole.length - 1),
        bits: fc.integer({ min: 1, max: 4 }),
      }),
    );
    const streams = fc.sample(fc.array(mutation, { minLength: 1, maxLength: 4 }), { numRuns: 1_000, seed });
    const pending = [...streams];
    const worker = async () => {
      for (let mutations = pending.pop(); mutations !== undefined; mutations = pending.pop()) {
        let bytes = Buffer.from(whole);
        for (const { kind, at, bits } of mutations) {
          if (at >= bytes.length) continue;
          if (kind === 'flip') bytes[at] = (bytes[at] as number) ^ bits;
          else if (kind === 'ones') bytes.fill(0xff, at, Math.min(bytes.length, at + bits));
          else if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + bits)]);
          else bytes = Buffer.concat([bytes.subarray(0, at + bits), bytes.subarray(at)]);
        }
        const raw = new RawPeer(server.port).send(bytes);
        raw.socket.end();
        await raw.closed();
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    expect(await honest.echo()).toEqual({ status: 0 });
    while (server.connectionCount > 1) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(receiver.received.filter((one) => one.end === 'open')).toEqual([]);
    receiver.received.length = 0;
  });
});
