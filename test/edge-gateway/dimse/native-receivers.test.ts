/**
 * Receivers that take native pixels only: C-GET and C-MOVE of what is compressed, in one piece and streamed, and what becomes
 * of the others when one cannot be decompressed.
 */
import { once } from 'node:events';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { deflateRawSync } from 'node:zlib';
import dimse from 'dcmjs-dimse';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CommandField } from '#edge-gateway/dimse/command-set.ts';
import type { RemoteAe } from '#edge-gateway/dimse/delivery.ts';
import type { DimseServer } from '#edge-gateway/dimse/server.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';
import { serveArchive } from './archive-server.ts';
import { identifier, QueryPeer, type Received, STUDY_ROOT } from './query-peer.ts';
import { CT_IMAGE, EXPLICIT, IMPLICIT } from './raw-peer.ts';

const { log, Scp, Server } = dimse;
log.disableAll();

const DEFLATED_FRAMES = '1.2.840.10008.1.2.8.1';
const MPEG2 = '1.2.840.10008.1.2.4.100';
const compressed = (study: string, instance: number, options: InstanceOptions) =>
  makeInstance({
    studyInstanceUid: study,
    seriesInstanceUid: `${study}.1`,
    sopInstanceUid: `${study}.1.${instance}`,
    transferSyntaxUid: DEFLATED_FRAMES,
    ...options,
  });
const frame = (value: number, lengthBytes: number): Uint8Array =>
  Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 7 + value) % 251);
const small = frame(1, 32);
/** Longer than what is decompressed before anything is said. */
const frames = [1, 2, 3, 4, 5, 6].map((value) => frame(value, 1024 * 1024));
const large = { rows: 1024, columns: 512, frames: frames.length };
const damaged = [...frames.slice(0, 5).map((one) => deflateRawSync(one)), Uint8Array.of(1, 2, 3, 4)];

let fixture: ArchiveFixture;
let server: DimseServer;
const remoteAes = new Map<string, RemoteAe>();
const running: { close(): unknown }[] = [];
beforeAll(async () => {
  fixture = await makeArchive(
    [
      compressed('1.1', 1, { pixels: [deflateRawSync(small)] }),
      compressed('1.1', 2, { ...large, pixels: frames.map((one) => deflateRawSync(one)) }),
      compressed('1.2', 1, { pixels: [deflateRawSync(small)] }),
      compressed('1.2', 2, { ...large, pixels: damaged }),
      compressed('1.2', 3, { pixels: [deflateRawSync(small)] }),
      compressed('1.2', 4, { transferSyntaxUid: MPEG2, pixels: [new Uint8Array(10)] }),
      compressed('1.2', 5, { pixels: [Uint8Array.of(1, 2, 3, 4)] }),
    ].map(({ file }) => file),
  );
  server = await serveArchive(fixture, { remoteAes });
});
afterAll(async () => {
  await server?.close();
  await fixture?.close();
});
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
});

async function peerWith(operation: '2' | '3', ...syntaxes: string[]): Promise<QueryPeer> {
  const storage = syntaxes.map((syntax) => ({ abstractSyntax: CT_IMAGE, transferSyntaxes: [syntax] }));
  const contexts = [{ abstractSyntax: `${STUDY_ROOT}${operation}`, transferSyntaxes: [EXPLICIT] }, ...storage];
  const roles = storage.length === 0 ? [] : [{ sopClassUid: CT_IMAGE, scu: false, scp: true }];
  const peer = new QueryPeer(server.port, { contexts, roles });
  running.push(peer);
  return peer.open();
}

function pixelsOf(dataSet: Buffer, transferSyntaxUid: string): Buffer {
  const { pixelData } = readHeader(dataSet, { transferSyntaxUid });
  const { offsetBytes = 0, lengthBytes = 0 } = pixelData ?? {};
  return dataSet.subarray(offsetBytes, offsetBytes + lengthBytes);
}

describe('C-GET', () => {
  it.each([IMPLICIT, EXPLICIT])('brings native pixels on contexts of %s, small and streamed', async (syntax) => {
    const peer = await peerWith('3', syntax);
    peer.request(CommandField.CGetRequest, identifier('STUDY', { '0020000D': ['UI', '1.1'] }));
    const stored: Received[] = [];
    const last = (await peer.responses((store) => stored.push(store) - stored.length)).at(-1);
    expect(last?.command).toMatchObject({ status: 0, completedSuboperations: 2 });
    expect(stored.map(({ command }) => command.affectedSopInstanceUid)).toEqual(['1.1.1.1', '1.1.1.2']);
    const pixels = stored.map(({ dataSet }) => pixelsOf(dataSet as Buffer, syntax));
    expect(pixels[0]).toEqual(Buffer.from(small));
    expect(pixels[1]?.equals(Buffer.concat(frames))).toBe(true);
  });

  it('brings what is compressed as it is where that was accepted', async () => {
    const peer = await peerWith('3', IMPLICIT, DEFLATED_FRAMES);
    peer.request(CommandField.CGetRequest, identifier('IMAGE', { '00080018': ['UI', '1.1.1.1'] }));
    const stored: Received[] = [];
    await peer.responses((store) => stored.push(store) - stored.length);
    expect(peer.accepted.get(stored[0]?.contextId ?? 0)).toBe(DEFLATED_FRAMES);
  });

  it('fails for video and for what cannot be decoded, and says so', async () => {
    const peer = await peerWith('3', IMPLICIT);
    const uids = ['1.2.1.1', '1.2.1.4', '1.2.1.5'];
    peer.request(CommandField.CGetRequest, identifier('IMAGE', { '00080018': ['UI', ...uids] }));
    const last = (await peer.responses()).at(-1) as Received;
    expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 1, failedSuboperations: 2 });
    expect(last.command.errorComment).toMatch(/need contexts that were not proposed|could not be decompressed/);
    expect(peer.json(last)['00080058']?.Value).toEqual(['1.2.1.4', '1.2.1.5']);
  });
});

describe('C-MOVE', () => {
  const received: string[] = [];
  let associations = 0;

  class ImplicitScp extends Scp {
    override associationRequested(association: Parameters<InstanceType<typeof Scp>['associationRequested']>[0]): void {
      associations++;
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
      received.push(String(request.getDataset()?.getElement('SOPInstanceUID')));
      const response = dimse.responses.CStoreResponse.fromRequest(request);
      response.setStatus(0);
      callback(response);
    }
    override associationReleaseRequested(): void {
      this.sendAssociationReleaseResponse();
    }
  }

  it('goes on over a new association when one breaks off in the middle of its frames', async () => {
    const scp = new Server(ImplicitScp as never);
    scp.listen(0);
    running.push(scp);
    const { server: listener } = scp as unknown as { server: NetServer };
    if (!listener.listening) await once(listener, 'listening');
    remoteAes.set('NATIVE', { host: '127.0.0.1', port: (listener.address() as AddressInfo).port });
    const peer = await peerWith('2');
    const keys = identifier('STUDY', { '0020000D': ['UI', '1.2'] });
    peer.request(CommandField.CMoveRequest, keys, { moveDestination: 'NATIVE' });
    const last = (await peer.responses()).at(-1) as Received;
    expect(last.command).toMatchObject({ status: 0xb000, completedSuboperations: 2, failedSuboperations: 3 });
    expect(last.command.errorComment).toBe('some instances could not be decompressed');
    expect(peer.json(last)['00080058']?.Value).toEqual(['1.2.1.2', '1.2.1.4', '1.2.1.5']);
    expect(received).toEqual(['1.2.1.1', '1.2.1.3']);
    expect(associations).toBe(2);
  });
});
