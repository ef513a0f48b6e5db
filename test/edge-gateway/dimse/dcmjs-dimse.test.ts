/**
 * Why dcmjs-dimse is not on the way of the bytes, kept true: as SCP with a streaming sink it drops bytes and answers
 * Success. And what it is good for: an independent peer for our own server.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { Writable } from 'node:stream';
import dimse from 'dcmjs-dimse';
import { afterEach, describe, expect, it } from 'vitest';
import { connect } from '#edge-gateway/dimse/client.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';
import { CT_IMAGE, EXPLICIT, usualContexts } from './raw-peer.ts';

const { Client, Dataset, log, requests, Scp, Server } = dimse;
log.disableAll();

const running: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one.close();
});

/** What the sink of a dcmjs-dimse SCP was given. */
const sinks: { lengthBytes: number; sha256: string }[] = [];

/** A sink that takes a moment for each write, as a disk does. */
class SlowSink extends Writable {
  readonly #hash = createHash('sha256');
  #lengthBytes = 0;

  constructor() {
    super({ highWaterMark: 1024 });
  }
  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.#hash.update(chunk);
    this.#lengthBytes += chunk.length;
    setImmediate(done);
  }
  override _final(done: () => void): void {
    sinks.push({ lengthBytes: this.#lengthBytes, sha256: this.#hash.digest('hex') });
    done();
  }
}

type ScpInstance = InstanceType<typeof Scp>;

class StreamingScp extends Scp {
  override createStoreWritableStream(): Writable {
    return new SlowSink();
  }
  override createDatasetFromStoreWritableStream(
    writable: Writable,
    _context: unknown,
    callback: (dataset: InstanceType<typeof Dataset>) => void,
  ): void {
    writable.end(() => callback(new Dataset({ SOPInstanceUID: '1.2.3' })));
  }
  override associationRequested(association: Parameters<ScpInstance['associationRequested']>[0]): void {
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(0, context.getTransferSyntaxUids()[0] as string);
    }
    this.sendAssociationAccept();
  }
  override cStoreRequest(
    request: Parameters<ScpInstance['cStoreRequest']>[0],
    callback: Parameters<ScpInstance['cStoreRequest']>[1],
  ): void {
    const response = dimse.responses.CStoreResponse.fromRequest(request);
    response.setStatus(dimse.constants.Status.Success);
    callback(response);
  }
  override associationReleaseRequested(): void {
    this.sendAssociationReleaseResponse();
  }
}

describe('dcmjs-dimse as SCP with a streaming sink', () => {
  it.each([
    [1, 'keeps', true],
    [4, 'loses', false],
  ])('with %i values to a PDU %s what was sent, and says Success', async (pdvsPerPdu, _, isKept) => {
    const scp = new Server(StreamingScp as never);
    scp.listen(0);
    running.push(scp);
    const { server } = scp as unknown as { server: NetServer };
    if (!server.listening) await once(server, 'listening');
    const association = await connect({
      host: '127.0.0.1',
      port: (server.address() as AddressInfo).port,
      callingAeTitle: 'US',
      calledAeTitle: 'DCMJS',
      contexts: usualContexts,
      pdvsPerPdu,
      fragmentBytes: 2048,
    });
    const dataSet = randomBytes(500_000);
    const answer = await association.store({
      sopClassUid: CT_IMAGE,
      sopInstanceUid: '1.2.3',
      transferSyntaxUid: EXPLICIT,
      dataSet,
    });
    association.abort();
    expect(answer.status).toBe(0);
    const sink = sinks.pop();
    expect(sink?.sha256 === createHash('sha256').update(dataSet).digest('hex')).toBe(isKept);
    if (!isKept) expect(sink?.lengthBytes).toBeLessThan(dataSet.length);
  });
});

describe('dcmjs-dimse as SCU', () => {
  it('verifies and stores at our server', async () => {
    const receiver = new MemoryReceiver();
    const server = await createDimseServer({
      host: '127.0.0.1',
      port: 0,
      aeTitle: 'ARCHIPEL',
      receiver,
      log: silentLogger,
    });
    running.push(server);
    const dataset = new Dataset({
      SOPClassUID: CT_IMAGE,
      SOPInstanceUID: '1.2.3.4',
      StudyInstanceUID: '1.2.3',
      SeriesInstanceUID: '1.2.3.1',
      PatientName: 'A^B',
      Rows: 512,
      Columns: 512,
      BitsAllocated: 16,
      PixelData: [new Uint8Array(512 * 512 * 2).buffer],
      _vrMap: { PixelData: 'OW' },
    });
    const statuses: number[] = [];
    const client = new Client();
    for (const request of [new requests.CEchoRequest(), new requests.CStoreRequest(dataset)]) {
      request.on('response', (response: { getStatus(): number }) => {
        statuses.push(response.getStatus());
      });
      client.addRequest(request);
    }
    const closed = new Promise<void>((resolve) => {
      client.on('closed', () => resolve());
    });
    client.send('127.0.0.1', server.port, 'DCMJS', 'ARCHIPEL', {});
    await closed;
    expect(statuses).toEqual([0, 0]);
    const [received] = receiver.received;
    expect(received?.incoming).toMatchObject({
      sopClassUid: CT_IMAGE,
      sopInstanceUid: '1.2.3.4',
      sourceAeTitle: 'DCMJS',
    });
    expect(received?.lengthBytes).toBeGreaterThan(512 * 512 * 2);
    expect(received?.bytes.includes('1.2.3.4')).toBe(true);
  });
});
