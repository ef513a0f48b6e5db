/** Memory stays flat while an object larger than any buffer goes through: client, upper layer and sink together. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { connect } from '#edge-gateway/dimse/client.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';
import { CT_IMAGE, EXPLICIT, usualContexts } from './raw-peer.ts';

const LENGTH_BYTES = 200 * 1024 * 1024;

it.each([1, 20])('200 MiB go through in bounded memory with %i values to a PDU', async (pdvsPerPdu) => {
  const receiver = new MemoryReceiver({ isKept: false });
  const log = silentLogger;
  const server = await createDimseServer({ host: '127.0.0.1', port: 0, aeTitle: 'ARCHIPEL', receiver, log });
  const association = await connect({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'LARGE',
    calledAeTitle: 'ARCHIPEL',
    contexts: usualContexts,
    pdvsPerPdu,
  });
  const hash = createHash('sha256');
  let peak = 0;
  async function* dataSet() {
    const before = process.memoryUsage();
    for (let sent = 0, i = 0; sent < LENGTH_BYTES; i++) {
      const piece = Buffer.alloc(1024 * 1024, i);
      hash.update(piece);
      sent += piece.length;
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before.arrayBuffers);
      yield piece;
    }
  }
  const answer = await association.store({
    sopClassUid: CT_IMAGE,
    sopInstanceUid: '1.2.3',
    transferSyntaxUid: EXPLICIT,
    dataSet: dataSet(),
  });
  expect(answer).toEqual({ status: 0 });
  expect(receiver.received[0]?.lengthBytes).toBe(LENGTH_BYTES);
  expect(receiver.received[0]?.sha256).toBe(hash.digest('hex'));
  // Mostly garbage that nobody has collected yet.
  expect(peak).toBeLessThan(100 * 1024 * 1024);
  await association.release();
  await server.close();
});
