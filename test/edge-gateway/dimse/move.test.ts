/** C-MOVE as SCP: to an AE of the table, over one association, with pending responses, and what fails when it breaks. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect as connectTcp, createServer, type Server as NetServer, type Socket } from 'node:net';
import dimse from 'dcmjs-dimse';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import type { RemoteAe } from '#edge-gateway/dimse/delivery.ts';
import type { DimseEvent } from '#edge-gateway/dimse/events.ts';
import { moveBatches } from '#edge-gateway/dimse/move-contexts.ts';
import { createDimseServer, type DimseServer } from '#edge-gateway/dimse/server.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { serveArchive } from './archive-server.ts';
import { MemoryReceiver, type MemoryReceiverOptions, stored } from './memory-receiver.ts';
import { identifier, QueryPeer, type Received, STUDY_ROOT } from './query-peer.ts';
import { EXPLICIT, IMPLICIT } from './raw-peer.ts';

const { Client, log, requests, Scp, Server } = dimse;
log.disableAll();

const MOVE = CommandField.CMoveRequest;
const RLE = '1.2.840.10008.1.2.5';
const ct = (series: string, instance: number, syntax = EXPLICIT): MadeInstance =>
  makeInstance({
    studyInstanceUid: '1.1',
    seriesInstanceUid: series,
    sopInstanceUid: `${series}.${instance}`,
    transferSyntaxUid: syntax,
    instanceNumber: instance,
    ...(syntax === RLE ? { pixels: [Uint8Array.of(1, 2, 3, 4)] } : {}),
  });
const instances = [ct('1.1.1', 1), ct('1.1.1', 2), ct('1.1.1', 3), ct('1.1.2', 1, RLE)];
const series1 = identifier('SERIES', { '0020000D': ['UI', '1.1'], '0020000E': ['UI', '1.1.1'] });
const study = identifier('STUDY', { '0020000D': ['UI', '1.1'] });

let fixture: ArchiveFixture;
let server: DimseServer;
/** The AE table, which tests add their destinations to. */
const remoteAes = new Map<string, RemoteAe>();
const running: { close(): unknown }[] = [];
beforeAll(async () => {
  fixture = await makeArchive(instances.map(({ file }) => file));
  server = await serveArchive(fixture, { remoteAes });
});
afterAll(async () => {
  await server?.close();
  await fixture?.close();
});
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
  remoteAes.clear();
});

async function destination(options: MemoryReceiverOptions = {}) {
  const receiver = new MemoryReceiver(options);
  const events: DimseEvent[] = [];
  const to = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'DEST',
    peers: { calledAeTitles: ['DEST'], unknownCallers: 'rejected', remoteAes: new Map([['ARCHIPEL', {}]]) },
    receiver,
    log: silentLogger,
    onEvent: (event) => events.push(event),
    limits: { lingerMs: 100, closeDeadlineMs: 200 },
  });
  running.push(to);
  remoteAes.set('DEST', { host: '127.0.0.1', port: to.port });
  return { receiver, to, events };
}

async function open(): Promise<QueryPeer> {
  const peer = new QueryPeer(server.port, {
    contexts: [{ abstractSyntax: `${STUDY_ROOT}2`, transferSyntaxes: [EXPLICIT] }],
  });
  running.push(peer);
  return peer.open();
}

async function move(keys: DicomJson, moveDestination = 'DEST') {
  const peer = await open();
  peer.request(MOVE, keys, { moveDestination, messageId: 42 });
  const responses = await peer.responses();
  const last = responses.at(-1) as Received;
  return { responses, last, failed: peer.json(last)['00080058']?.Value };
}

describe('a move', () => {
  it('brings every instance as it is stored, over one association', async () => {
    const { receiver, events } = await destination();
    const { last, responses } = await move(study);
    expect(last.command).toMatchObject({
      commandField: 0x8021,
      messageIdBeingRespondedTo: 42,
      status: 0,
      completedSuboperations: 4,
      failedSuboperations: 0,
      warningSuboperations: 0,
    });
    expect(last.dataSet).toBeUndefined();
    expect(responses[0]?.command).toMatchObject({
      status: 0xff00,
      remainingSuboperations: 3,
      completedSuboperations: 1,
    });
    expect(receiver.received.map(({ bytes }) => bytes)).toEqual(instances.map(({ dataSet }) => Buffer.from(dataSet)));
    expect(receiver.received.map(({ incoming }) => incoming.transferSyntaxUid)).toEqual([
      EXPLICIT,
      EXPLICIT,
      EXPLICIT,
      RLE,
    ]);
    expect(events.filter(({ kind }) => kind === 'association-accepted')).toHaveLength(1);
  });

  it('of nothing is a success of nothing, for which nobody is called', async () => {
    const { events } = await destination();
    const { last } = await move(identifier('STUDY', { '0020000D': ['UI', '9.9'] }));
    expect(last.command).toMatchObject({ status: 0, completedSuboperations: 0 });
    expect(events).toEqual([]);
  });

  it('to an AE that is not in the table is A801', async () => {
    const { last } = await move(study, 'NOBODY');
    expect(last.command).toMatchObject({ status: 0xa801, errorComment: expect.stringMatching(/AE table/) });
  });

  it('without its unique key is A900', async () => {
    await destination();
    expect((await move(identifier('SERIES', {}))).last.command).toMatchObject({ status: 0xa900 });
  });

  it('says that it is still there while the destination takes its time, and can be cancelled', async () => {
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await destination({ outcome: (received) => held.then(() => stored(received)) });
    const peer = await open();
    peer.request(MOVE, series1, { moveDestination: 'DEST', messageId: 3 });
    for (let i = 0; i < 2; i++)
      expect((await peer.next()).command).toMatchObject({
        status: 0xff00,
        remainingSuboperations: 3,
        completedSuboperations: 0,
      });
    peer.cancel(3);
    setTimeout(letGo, 50);
    const last = (await peer.responses()).at(-1);
    expect(last?.command).toMatchObject({ status: 0xfe00, completedSuboperations: 1, remainingSuboperations: 2 });
  });
});

describe('what fails', () => {
  it('is all of it, with A702 and a list, when nobody listens', async () => {
    const { to } = await destination();
    await to.close();
    const { last, failed } = await move(series1);
    expect(last.command).toMatchObject({ status: 0xa702, failedSuboperations: 3 });
    expect(last.command.errorComment).toMatch(/destination/);
    expect(failed).toEqual(['1.1.1.1', '1.1.1.2', '1.1.1.3']);
  });

  it('is what the destination refuses', async () => {
    await destination({
      outcome: (received) =>
        received.incoming.sopInstanceUid === '1.1.1.2'
          ? { kind: 'refused', code: 'out-of-resources', reason: 'full' }
          : stored(received),
    });
    const { last, failed } = await move(series1);
    expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 2, failedSuboperations: 1 });
    expect(failed).toEqual(['1.1.1.2']);
  });

  it('is everything from where the connection breaks', async () => {
    const sockets: Socket[] = [];
    const { to } = await destination({
      outcome: (received) => {
        if (received.incoming.sopInstanceUid === '1.1.1.2') for (const socket of sockets) socket.destroy();
        return stored(received);
      },
    });
    const relay = await listen((socket) => {
      const onward = connectTcp(to.port, '127.0.0.1');
      sockets.push(socket, onward);
      for (const end of [socket, onward]) end.on('error', () => {});
      socket.pipe(onward).pipe(socket);
    });
    remoteAes.set('DEST', { host: '127.0.0.1', port: relay });
    const { last, failed } = await move(study);
    expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 1, failedSuboperations: 3 });
    expect(failed).toEqual(['1.1.1.2', '1.1.1.3', '1.1.2.1']);
  });
});

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const relay = createServer(onConnection);
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  running.push(relay);
  return (relay.address() as AddressInfo).port;
}

describe('dcmjs-dimse', () => {
  const originators: unknown[] = [];
  const received: { sopInstanceUid: unknown; transferSyntaxUid: string }[] = [];

  class ImplicitScp extends Scp {
    override associationRequested(association: Parameters<InstanceType<typeof Scp>['associationRequested']>[0]): void {
      for (const { id } of association.getPresentationContexts()) {
        const context = association.getPresentationContext(id);
        const isTaken = context.getTransferSyntaxUids().includes(IMPLICIT);
        context.setResult(isTaken ? 0 : 4, isTaken ? IMPLICIT : (context.getTransferSyntaxUids()[0] as string));
      }
      this.sendAssociationAccept();
    }
    override cStoreRequest(
      request: Parameters<InstanceType<typeof Scp>['cStoreRequest']>[0],
      callback: Parameters<InstanceType<typeof Scp>['cStoreRequest']>[1],
    ): void {
      const command = request.getCommandDataset();
      originators.push([
        command.getElement('MoveOriginatorApplicationEntityTitle'),
        command.getElement('MoveOriginatorMessageID'),
      ]);
      received.push({
        sopInstanceUid: request.getDataset()?.getElement('SOPInstanceUID'),
        transferSyntaxUid: request.getDataset()?.getTransferSyntaxUid() ?? '',
      });
      const response = dimse.responses.CStoreResponse.fromRequest(request);
      response.setStatus(0);
      callback(response);
    }
    override associationReleaseRequested(): void {
      this.sendAssociationReleaseResponse();
    }
  }

  it('asks for a move and is its destination, which takes Implicit VR alone: others are converted or fail', async () => {
    const scp = new Server(ImplicitScp as never);
    scp.listen(0);
    running.push(scp);
    const { server: listener } = scp as unknown as { server: NetServer };
    if (!listener.listening) await once(listener, 'listening');
    remoteAes.set('DCMJSSCP', { host: '127.0.0.1', port: (listener.address() as AddressInfo).port });
    const client = new Client();
    const request = requests.CMoveRequest.createStudyMoveRequest('DCMJSSCP', '1.1');
    const finals: number[] = [];
    request.on('response', (response: { getStatus(): number }) => finals.push(response.getStatus()));
    client.addRequest(request);
    await new Promise<void>((resolve, reject) => {
      client.on('closed', () => resolve());
      client.on('networkError', reject);
      client.send('127.0.0.1', server.port, 'DCMJS', 'ARCHIPEL');
    });
    expect(finals.at(-1)).toBe(0xb000);
    expect(received).toEqual(
      ['1.1.1.1', '1.1.1.2', '1.1.1.3'].map((sopInstanceUid) => ({ sopInstanceUid, transferSyntaxUid: IMPLICIT })),
    );
    expect(originators[0]).toEqual(['DCMJS', expect.any(Number)]);
  });
});

describe('presentation contexts', () => {
  const instance = (sopClassUid: string, transferSyntaxUid: string) => ({
    sopClassUid,
    transferSyntaxUid,
    sopInstanceUid: '1',
    packKey: '',
    offsetBytes: 0,
    lengthBytes: 2,
  });

  it('are one for each stored pair, and what native data sets can be converted to', () => {
    const [batch, ...more] = moveBatches([
      instance('1.2', EXPLICIT),
      instance('1.2', RLE),
      instance('1.3', '1.2.840.10008.1.2.2'),
    ]);
    expect(more).toEqual([]);
    expect(
      batch?.contexts.map(({ abstractSyntax, transferSyntaxes }) => `${abstractSyntax} ${transferSyntaxes}`),
    ).toEqual([
      `1.2 ${EXPLICIT}`,
      `1.2 ${IMPLICIT}`,
      `1.2 ${RLE}`,
      '1.3 1.2.840.10008.1.2.2',
      `1.3 ${EXPLICIT}`,
      `1.3 ${IMPLICIT}`,
    ]);
  });

  it('are never more than 128 in one association, and none is without its instances', () => {
    const all = Array.from({ length: 300 }, (_, i) => instance(`1.2.${i % 150}`, i < 150 ? EXPLICIT : RLE));
    const batches = moveBatches(all);
    expect(batches.length).toBeGreaterThan(3);
    expect(batches.flatMap((batch) => batch.instances)).toHaveLength(300);
    for (const { contexts, instances: own } of batches) {
      expect(contexts.length).toBeLessThanOrEqual(128);
      for (const { sopClassUid, transferSyntaxUid } of own)
        expect(contexts).toContainEqual({ abstractSyntax: sopClassUid, transferSyntaxes: [transferSyntaxUid] });
    }
  });
});

describe('what arrives', () => {
  it('reads as what was stored', async () => {
    const { receiver } = await destination();
    await move(series1);
    const numbers = receiver.received.map(({ bytes }) =>
      readHeader(bytes, { transferSyntaxUid: EXPLICIT }).dataSet.number(0x00200013),
    );
    expect(numbers).toEqual([1, 2, 3]);
  });
});
