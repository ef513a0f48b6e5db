/** A stream of PDUs in chunks of any size: the same values come out, and what is malformed stops it for good. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PDV_COMMAND, PDV_LAST } from '#edge-gateway/dimse/pdu.ts';
import { type PduHandler, PduReader } from '#edge-gateway/dimse/pdu-reader.ts';
import { dataPdu, pdu, type Value } from './raw-peer.ts';

/** Puts values together again from their pieces. */
class Recorder implements PduHandler {
  readonly values: { contextId: number; control: number; bytes: Buffer }[] = [];
  readonly pdus: { type: number; body: string }[] = [];
  readonly begun: number[] = [];
  error: unknown;
  caughtUpCount = 0;
  /** A promise per piece, if it is to wait. */
  wait: () => void | Promise<void> = () => {};
  #open: Buffer[] = [];

  pduBegins(type: number): void {
    this.begun.push(type);
  }
  pdu(type: number, body: Uint8Array): void {
    this.pdus.push({ type, body: Buffer.from(body).toString('hex') });
  }
  piece(contextId: number, control: number, bytes: Uint8Array, isEnd: boolean): void | Promise<void> {
    this.#open.push(Buffer.from(bytes));
    if (isEnd) {
      this.values.push({ contextId, control, bytes: Buffer.concat(this.#open) });
      this.#open = [];
    }
    return this.wait();
  }
  failed(error: unknown): void {
    this.error = error;
  }
  caughtUp(): void {
    this.caughtUpCount++;
  }
}

function read(bytes: Uint8Array, maxPduBytes = 262_144): Recorder {
  const recorder = new Recorder();
  new PduReader(recorder, maxPduBytes).push(bytes);
  return recorder;
}

const violation = (abortReason: number) =>
  expect.objectContaining({
    code: 'protocol-violation',
    details: expect.objectContaining({ abortSource: 2, abortReason }),
  });

describe('a stream of PDUs', () => {
  it('is cut into PDUs and presentation data values', () => {
    const recorder = read(
      Buffer.concat([
        pdu(0x05, Buffer.from('00000000', 'hex')),
        dataPdu(
          { contextId: 1, control: PDV_COMMAND | PDV_LAST, bytes: Buffer.from('abcd') },
          { contextId: 3, control: PDV_LAST, bytes: Buffer.alloc(0) },
        ),
        pdu(0x07, Buffer.from('00000206', 'hex')),
      ]),
    );
    expect(recorder.begun).toEqual([5, 4, 7]);
    expect(recorder.pdus).toEqual([
      { type: 5, body: '00000000' },
      { type: 7, body: '00000206' },
    ]);
    expect(recorder.values).toEqual([
      { contextId: 1, control: 3, bytes: Buffer.from('abcd') },
      { contextId: 3, control: 2, bytes: Buffer.alloc(0) },
    ]);
  });

  it.each([
    ['of an unknown type', pdu(0x08, Buffer.alloc(4)), 1],
    ['of type 0', Buffer.alloc(64), 1],
    ['that is HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 1],
    ['longer than agreed', pdu(0x04, Buffer.alloc(0), 262_145), 6],
    ['of 0xFFFFFFFF bytes', pdu(0x04, Buffer.alloc(0), 0xffffffff), 6],
    ['A-ASSOCIATE-RQ of 0xFFFFFFFF bytes', pdu(0x01, Buffer.alloc(0), 0xffffffff), 6],
    ['A-ASSOCIATE-RQ of more than 256 KiB', pdu(0x01, Buffer.alloc(0), 262_145), 6],
    ['A-RELEASE-RQ of 5 bytes', pdu(0x05, Buffer.alloc(5)), 6],
    ['A-ABORT of 0 bytes', pdu(0x07, Buffer.alloc(0)), 6],
    ['P-DATA-TF without a value', pdu(0x04, Buffer.alloc(0)), 6],
    ['P-DATA-TF with half a header', pdu(0x04, Buffer.alloc(5)), 6],
    ['value longer than its PDU', pdu(0x04, Buffer.from('000000ff0102', 'hex'), 16), 6],
    ['value of 0xFFFFFFFF bytes', pdu(0x04, Buffer.from('ffffffff0102', 'hex'), 16), 6],
    ['value too short for its header', pdu(0x04, Buffer.from('000000010102', 'hex')), 6],
    ['value of odd length', pdu(0x04, Buffer.from('0000000501020a0b0c', 'hex')), 6],
    ['torn value at the end', pdu(0x04, Buffer.from('0000000401020a0b0102', 'hex')), 6],
  ])('is a violation with a PDU %s', (_, bytes, abortReason) => {
    const recorder = read(bytes);
    expect(recorder.error).toEqual(violation(abortReason));
    expect(recorder.pdus).toEqual([]);
  });

  it('stops for good at a violation, whatever follows', () => {
    const recorder = new Recorder();
    const reader = new PduReader(recorder, 1000);
    reader.push(pdu(0x42, Buffer.alloc(4)));
    reader.push(pdu(0x05, Buffer.alloc(4)));
    expect(recorder.begun).toEqual([]);
  });

  it('gives the same values for any borders of fragments, PDUs and chunks, waiting or not', async () => {
    const fragment = fc.uint8Array({ maxLength: 60 }).map((bytes) => bytes.subarray(0, bytes.length & ~1));
    const value = fc.record({
      contextId: fc.constantFrom(1, 3),
      control: fc.constantFrom(0, 1, 2, 3),
      bytes: fragment,
    });
    const stream = fc.array(fc.array(value, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 8 });
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(stream, cuts, fc.boolean(), async (pdus, sizes, waits) => {
        const bytes = Buffer.concat(pdus.map((values) => dataPdu(...values)));
        const recorder = new Recorder();
        let calls = 0;
        if (waits) recorder.wait = () => (calls++ % 3 === 0 ? Promise.resolve() : undefined);
        const reader = new PduReader(recorder, 262_144);
        for (let offset = 0, i = 0; offset < bytes.length; i++) {
          const size = sizes[i % sizes.length] as number;
          reader.push(bytes.subarray(offset, offset + size));
          offset += size;
        }
        while (reader.isWaiting) await Promise.resolve();
        expect(recorder.error).toBeUndefined();
        expect(recorder.values).toEqual(pdus.flat().map((one: Value) => ({ ...one, bytes: Buffer.from(one.bytes) })));
        expect(reader.pduCount).toBe(pdus.length);
        expect(reader.isMidPdu).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('takes nothing more while a handler waits, and says when it has caught up', async () => {
    const recorder = new Recorder();
    let goOn = () => {};
    recorder.wait = () =>
      new Promise((resolve) => {
        goOn = resolve;
      });
    const reader = new PduReader(recorder, 1000);
    const one = dataPdu({ contextId: 1, control: 0, bytes: Buffer.from('ab') });
    reader.push(one);
    expect([reader.isWaiting, reader.isBehind]).toEqual([true, false]);
    reader.push(one);
    expect([reader.isWaiting, reader.isBehind, recorder.values.length]).toEqual([true, true, 1]);
    goOn();
    await Promise.resolve();
    await Promise.resolve();
    expect([recorder.values.length, recorder.caughtUpCount]).toEqual([2, 0]);
    goOn();
    await Promise.resolve();
    await Promise.resolve();
    expect([reader.isWaiting, recorder.caughtUpCount]).toEqual([false, 1]);
  });

  it.each([
    ['PDUs', Array.from({ length: 1_000 }, () => dataPdu({ contextId: 1, control: 0, bytes: Buffer.from('ab') }))],
    [
      'values in one PDU',
      [dataPdu(...Array.from({ length: 1_000 }, () => ({ contextId: 1, control: 0, bytes: Buffer.from('ab') })))],
    ],
  ])('lets others have their turn after some of many %s', async (_, pdus) => {
    const recorder = new Recorder();
    const reader = new PduReader(recorder, 100_000);
    reader.push(Buffer.concat(pdus));
    expect(recorder.values.length).toBeLessThan(130);
    expect(reader.isBehind).toBe(true);
    while (recorder.values.length < 1_000) await new Promise((resolve) => setImmediate(resolve));
    expect([reader.isBehind, recorder.error]).toEqual([false, undefined]);
  });

  it('gives up when a promise of a handler is rejected', async () => {
    const recorder = new Recorder();
    recorder.wait = () => Promise.reject(new Error('no'));
    new PduReader(recorder, 1000).push(dataPdu({ contextId: 1, control: 0, bytes: Buffer.from('ab') }));
    await Promise.resolve();
    await Promise.resolve();
    expect(recorder.error).toEqual(new Error('no'));
  });
});
