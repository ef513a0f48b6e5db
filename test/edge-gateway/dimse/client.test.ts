/** Our SCU against peers that behave as no server of ours would. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeAssociateRequest, encodeAssociateAccept } from '#edge-gateway/dimse/associate-pdu.ts';
import { type ConnectOptions, connect } from '#edge-gateway/dimse/client.ts';
import { NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';
import { CT_IMAGE, commandPdu, dataPdu, EXPLICIT, IMPLICIT, pdu, usualContexts, VERIFICATION } from './raw-peer.ts';

const running: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
});

/** A server that answers each chunk it gets with the next of these replies. */
async function scripted(...replies: ((socket: Socket, chunk: Buffer) => void)[]): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let next = 0;
    socket.on('data', (chunk) => replies[next++]?.(socket, chunk));
  });
  running.push({
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const client = (port: number, options: Partial<ConnectOptions> = {}) =>
  connect({
    host: '127.0.0.1',
    port,
    callingAeTitle: 'US',
    calledAeTitle: 'PEER',
    contexts: usualContexts,
    ...options,
  });

const accept =
  (maxPduBytes = 16384, change: { result?: number; transferSyntax?: string } = {}) =>
  (socket: Socket, chunk: Buffer) => {
    const request = decodeAssociateRequest(chunk.subarray(6));
    const contexts = request.contexts.map(({ id, transferSyntaxes }) => ({
      id,
      result: change.result ?? 0,
      transferSyntax: change.transferSyntax ?? (transferSyntaxes[0] as string),
    }));
    const userInformation = { ...request.userInformation, maxPduBytes };
    socket.write(encodeAssociateAccept({ ...request, contexts, userInformation }));
  };

const echoAnswer = (messageIdBeingRespondedTo: number) =>
  commandPdu(1, { commandField: 0x8030, messageIdBeingRespondedTo, dataSetType: NO_DATA_SET, status: 0 });

describe('opening an association', () => {
  it('fails as unavailable where nobody listens', async () => {
    const port = await scripted();
    await running.pop()?.close();
    await expect(client(port)).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
  });

  it('fails as a timeout where nobody answers', async () => {
    const port = await scripted();
    await expect(client(port, { connectTimeoutMs: 50 })).rejects.toThrow(expect.objectContaining({ code: 'timeout' }));
  });

  it.each([
    ['closes', (socket: Socket) => socket.end(), 'unavailable'],
    ['aborts', (socket: Socket) => socket.write(pdu(0x07, Buffer.alloc(4))), 'unavailable'],
    ['sends garbage', (socket: Socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), 'protocol-violation'],
    ['accepts nonsense', (socket: Socket) => socket.write(pdu(0x02, Buffer.alloc(10))), 'protocol-violation'],
    ['takes PDUs of 7 bytes', accept(7), 'protocol-violation'],
    ['answers with a release', (socket: Socket) => socket.write(pdu(0x06, Buffer.alloc(4))), 'protocol-violation'],
  ])('fails when the peer %s', async (_, reply, code) => {
    const port = await scripted(reply);
    await expect(client(port)).rejects.toThrow(expect.objectContaining({ code }));
  });

  it.each([
    ['none', { result: 3 }],
    ['a transfer syntax that was not proposed', { transferSyntax: '1.2.3' }],
  ])('knows that of its contexts the peer accepted %s', async (_, change) => {
    const port = await scripted(accept(16384, change));
    const association = await client(port);
    expect(association.contexts).toEqual([]);
    const store = { sopClassUid: CT_IMAGE, sopInstanceUid: '1', transferSyntaxUid: EXPLICIT, dataSet: Buffer.alloc(2) };
    await expect(association.store(store)).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported-transfer-syntax' }),
    );
    association.abort();
  });

  it('is refused with no context or with more than 128', async () => {
    const contexts = Array.from({ length: 129 }, () => ({
      abstractSyntax: VERIFICATION,
      transferSyntaxes: [IMPLICIT],
    }));
    for (const wrong of [[], contexts])
      await expect(client(1, { contexts: wrong })).rejects.toThrow(expect.objectContaining({ code: 'bad-request' }));
  });
});

describe('a request', () => {
  it.each([
    ['is never answered', () => {}, 'timeout'],
    ['is answered by closing', (socket: Socket) => socket.destroy(), 'unavailable'],
    ['is answered by A-ABORT', (socket: Socket) => socket.write(pdu(0x07, Buffer.alloc(4))), 'unavailable'],
    ['is answered by A-RELEASE', (socket: Socket) => socket.write(pdu(0x05, Buffer.alloc(4))), 'unavailable'],
    ['is answered under another ID', (socket: Socket) => socket.write(echoAnswer(9)), 'protocol-violation'],
    [
      'is answered with a data set',
      (socket: Socket) => socket.write(dataPdu({ contextId: 1, control: 2, bytes: Buffer.alloc(2) })),
      'protocol-violation',
    ],
  ])('fails when it %s, and so does the next', async (_, reply, code) => {
    const port = await scripted(accept(), reply);
    const association = await client(port, { responseTimeoutMs: 100 });
    await expect(association.echo()).rejects.toThrow(expect.objectContaining({ code }));
    expect(association.isOpen).toBe(false);
    await expect(association.echo()).rejects.toThrow(expect.objectContaining({ code }));
    await association.release();
  });

  it('fails and aborts when the data set is of odd length or cannot be read to its end', async () => {
    const receiver = new MemoryReceiver();
    const log = silentLogger;
    const server = await createDimseServer({ host: '127.0.0.1', port: 0, aeTitle: 'PEER', receiver, log });
    running.push(server);
    const store = { sopClassUid: CT_IMAGE, sopInstanceUid: '1', transferSyntaxUid: EXPLICIT };
    const odd = await client(server.port);
    await expect(odd.store({ ...store, dataSet: Buffer.alloc(100_001) })).rejects.toThrow(
      expect.objectContaining({ code: 'bad-dicom' }),
    );
    const broken = await client(server.port);
    async function* failing() {
      yield Buffer.alloc(1_000_000);
      throw new Error('the disk is gone');
    }
    await expect(broken.store({ ...store, dataSet: failing() })).rejects.toThrow('the disk is gone');
    expect(broken.isOpen).toBe(false);
    while (server.connectionCount > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(receiver.received.filter((one) => one.end !== 'aborted')).toEqual([]);
  });

  it('keeps to the size of PDUs that the peer takes', async () => {
    const answer = { commandField: 0x8001, dataSetType: NO_DATA_SET, status: 0xb007 };
    const sizes: number[] = [];
    let rest = Buffer.alloc(0);
    const collect = (socket: Socket, chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 6 && rest.length >= 6 + rest.readUInt32BE(2)) {
        const body = rest.subarray(6, 6 + rest.readUInt32BE(2));
        rest = rest.subarray(6 + body.length);
        sizes.push(body.length);
        for (let offset = 0; offset < body.length; offset += 4 + body.readUInt32BE(offset))
          if (body[offset + 5] === 2) socket.write(commandPdu(3, { ...answer, messageIdBeingRespondedTo: 1 }));
      }
    };
    const port = await scripted(accept(100), ...Array.from({ length: 1000 }, () => collect));
    const association = await client(port, { pdvsPerPdu: 3 });
    const dataSet = Buffer.alloc(1000);
    const store = { sopClassUid: CT_IMAGE, sopInstanceUid: '1', transferSyntaxUid: EXPLICIT, dataSet };
    expect(await association.store(store)).toEqual({ status: 0xb007 });
    expect(Math.max(...sizes)).toBeLessThanOrEqual(100);
    association.abort();
  });

  it('may be unanswered together with others as far as was negotiated', async () => {
    const receiver = new MemoryReceiver();
    const log = silentLogger;
    const server = await createDimseServer({ host: '127.0.0.1', port: 0, aeTitle: 'PEER', receiver, log });
    running.push(server);
    for (const [asked, agreed] of [
      [1, 1],
      [4, 4],
      [50, 8],
    ] as const) {
      const association = await client(server.port, { operations: asked });
      expect(association.operations).toBe(agreed);
      const store = { sopClassUid: CT_IMAGE, transferSyntaxUid: EXPLICIT, dataSet: Buffer.alloc(10_000) };
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => association.store({ ...store, sopInstanceUid: `1.2.${i}` })),
      );
      expect(answers.every(({ status }) => status === 0)).toBe(true);
      await association.release();
    }
    expect(receiver.received.length).toBe(60);
  });
});

describe('releasing', () => {
  it('ends though the peer releases at the same time', async () => {
    let seen = '';
    const port = await scripted(
      accept(),
      // The peer's A-RELEASE-RQ crosses ours; each answers the other's.
      (socket, chunk) => {
        seen += chunk.toString('hex', 0, 1);
        socket.write(pdu(0x05, Buffer.alloc(4)));
      },
      (socket, chunk) => {
        seen += chunk.toString('hex', 0, 1);
        socket.write(pdu(0x06, Buffer.alloc(4)));
      },
    );
    const association = await client(port);
    await association.release();
    expect(seen).toBe('0506');
  });

  it('does not wait for ever for a peer that does not answer', async () => {
    const port = await scripted(accept());
    const association = await client(port, { responseTimeoutMs: 50 });
    await association.release();
    expect(association.isOpen).toBe(false);
  });
});

const openssl = spawnSync('openssl', ['version']).status === 0;
if (!openssl) console.warn('SKIPPED: openssl is not here; DIMSE over TLS is not tried');

describe.skipIf(!openssl)('TLS', () => {
  it('carries an association, and is refused when the certificate is not trusted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-tls-'));
    const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const made = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost';
    spawnSync('openssl', [
      ...made.split(' '),
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      keyFile,
      '-out',
      certFile,
    ]);
    const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)];
    rmSync(folder, { recursive: true });

    const log = silentLogger;
    const receiver = new MemoryReceiver();
    const server = await createDimseServer({ host: '127.0.0.1', port: 0, aeTitle: 'PEER', receiver, log });
    running.push(server);
    const front = createTlsServer({ key, cert }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(connectTcp(server.port, '127.0.0.1').on('error', () => {})).pipe(socket);
    });
    running.push(front);
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    const address = front.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;

    const association = await client(port, { tls: { ca: cert } });
    const dataSet = Buffer.alloc(500_000, 7);
    const store = { sopClassUid: CT_IMAGE, sopInstanceUid: '1', transferSyntaxUid: EXPLICIT, dataSet };
    expect(await association.store(store)).toEqual({ status: 0 });
    expect(receiver.received[0]?.bytes.equals(dataSet)).toBe(true);
    await association.release();
    await expect(client(port, { tls: {} })).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
  });
});
