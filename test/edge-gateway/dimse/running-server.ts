/** What every test of the DIMSE server wants: a server over a MemoryReceiver, peers for it, and their end after each test. */
import { afterEach } from 'vitest';
import { type ConnectOptions, connect } from '#edge-gateway/dimse/client.ts';
import { type CommandSet, decodeCommandSet } from '#edge-gateway/dimse/command-set.ts';
import type { DimseEvent } from '#edge-gateway/dimse/events.ts';
import { PDV_LAST } from '#edge-gateway/dimse/pdu.ts';
import { createDimseServer, type DimseServer, type DimseServerOptions } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver, type MemoryReceiverOptions } from './memory-receiver.ts';
import { CT_IMAGE, dataPdu, EXPLICIT, RawPeer, usualContexts } from './raw-peer.ts';

const running: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
});

export async function serve(receiving: MemoryReceiverOptions = {}, options: Partial<DimseServerOptions> = {}) {
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

export function peer(server: DimseServer): RawPeer {
  const raw = new RawPeer(server.port);
  running.push({ close: () => raw.destroy() });
  return raw;
}

export const client = (server: DimseServer, options: Partial<ConnectOptions> = {}) =>
  connect({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'TEST',
    calledAeTitle: 'ARCHIPEL',
    contexts: usualContexts,
    ...options,
  });

export const instance = (dataSet: Uint8Array, sopInstanceUid = '1.2.3') => ({
  sopClassUid: CT_IMAGE,
  sopInstanceUid,
  transferSyntaxUid: EXPLICIT,
  dataSet,
});

export const dataSetPdu = (bytes: Uint8Array, contextId = 3) => dataPdu({ contextId, control: PDV_LAST, bytes });
export const answerOf = (bytes: Buffer): CommandSet => decodeCommandSet(bytes.subarray(12));

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
