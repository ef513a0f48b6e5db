/** DICOM over TLS with real sockets and certificates: who gets in and who does not, by which versions and suites, and renewal. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConnectOptions, connect } from '#edge-gateway/dimse/client.ts';
import { createDimseServer, type DimseServer, type DimseServerOptions } from '#edge-gateway/dimse/server.ts';
import { type ClientTls, loadTlsIdentity, type TlsIdentity, tlsTo } from '#edge-gateway/dimse/tls.ts';
import { silentLogger } from '#shared/log.ts';
import { Authority, type CertificateFiles } from '#test/support/certificates.ts';
import { MemoryReceiver } from './memory-receiver.ts';
import { associateRequest, usualContexts } from './raw-peer.ts';
import { instance, until } from './running-server.ts';

let authority: Authority;
let stranger: Authority;
let own: CertificateFiles;
let gateway: TlsIdentity;
let identities: Record<'ct1' | 'ct2' | 'sly' | 'expired' | 'stranger', CertificateFiles>;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await Authority.create();
  stranger = await Authority.create('Somebody else');
  own = await authority.issue({ commonName: 'gateway', dnsNames: ['localhost', 'gateway.example'] });
  gateway = identityOf(own);
  identities = {
    ct1: await authority.issue({ commonName: 'CT1', dnsNames: ['ct1.example'], uris: ['urn:device:ct1,"a"'] }),
    ct2: await authority.issue({ commonName: 'CT2', dnsNames: ['ct2.example'] }),
    sly: await authority.issue({
      commonName: 'SLY',
      dnsNames: [],
      emails: ['a, DNS:ct1.example, b'],
      uris: ['urn:sly'],
    }),
    expired: await authority.issue({ commonName: 'CT1', dnsNames: ['ct1.example'], isExpired: true }),
    stranger: await stranger.issue({ commonName: 'CT1', dnsNames: ['ct1.example'] }),
  };
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
  authority[Symbol.dispose]();
  stranger[Symbol.dispose]();
});

function identityOf(files: CertificateFiles, lookEveryMs = 30_000): TlsIdentity {
  const identity = loadTlsIdentity({
    ...files,
    authorityFile: authority.authorityFile,
    log: silentLogger,
    lookEveryMs,
  });
  closing.push(() => identity.close());
  return identity;
}

async function serve(
  options: Partial<DimseServerOptions> = {},
  clientCertificate: 'required' | 'none' = 'required',
  identity = gateway,
): Promise<DimseServer & { readonly tlsPort: number }> {
  const server = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'ARCHIPEL',
    receiver: new MemoryReceiver(),
    log: silentLogger,
    tls: { port: 0, identity, clientCertificate },
    ...options,
    limits: { lingerMs: 100, closeDeadlineMs: 200, ...options.limits },
  });
  closing.push(() => server.close());
  return server as DimseServer & { readonly tlsPort: number };
}

function tlsOf(name: keyof typeof identities): ClientTls {
  const { authorityFile } = authority;
  const identity = loadTlsIdentity({ ...identities[name], authorityFile, log: silentLogger });
  identity.close();
  return identity.credentials;
}

const call = (port: number, tls: ClientTls, options: Partial<ConnectOptions> = {}) =>
  connect({
    host: '127.0.0.1',
    port,
    callingAeTitle: 'CT1',
    calledAeTitle: 'ARCHIPEL',
    contexts: usualContexts,
    tls,
    ...options,
  });

describe('a client with a certificate of our authority', () => {
  it('stores over TLS 1.3, and is told to be secure', async () => {
    const events: string[] = [];
    const server = await serve({
      onEvent: (event) => 'peer' in event && events.push(`${event.kind} ${event.peer.isSecure}`),
    });
    const association = await call(server.tlsPort, tlsOf('ct1'));
    expect(await association.store(instance(Buffer.alloc(1_000_000)))).toEqual({ status: 0 });
    await association.release();
    await until(() => server.connectionCount === 0);
    expect(events).toEqual(['association-accepted true', 'store true', 'association-ended true']);
  });

  it.each<[string, keyof typeof identities, readonly string[], string]>([
    ['by its CN', 'ct1', ['CT1'], 'accepted'],
    ['by its dNSName', 'ct1', ['other', 'CT1.example'], 'accepted'],
    ['by its URI, whatever is in it', 'ct1', ['urn:device:ct1,"a"'], 'accepted'],
    ['of another', 'ct2', ['CT1', 'ct1.example'], 'rejected'],
    ['that hides a name in another kind of name', 'sly', ['ct1.example'], 'rejected'],
    ['by its URI, whatever stands before that', 'sly', ['urn:sly'], 'accepted'],
  ])('is bound to its title %s', async (_, name, certificateSubjects, expected) => {
    const server = await serve({
      peers: {
        calledAeTitles: 'any',
        unknownCallers: 'rejected',
        remoteAes: new Map([['CT1', { certificateSubjects }]]),
      },
    });
    const calling = call(server.tlsPort, tlsOf(name));
    if (expected === 'accepted') await (await calling).release();
    else
      await expect(calling).rejects.toThrow(expect.objectContaining({ details: { result: 1, source: 1, reason: 3 } }));
    // The same title in plain text has no certificate to show.
    await expect(connect({ ...plain, port: server.port })).rejects.toThrow(
      expect.objectContaining({ code: 'forbidden' }),
    );
  });
});

const plain = { host: '127.0.0.1', callingAeTitle: 'CT1', calledAeTitle: 'ARCHIPEL', contexts: usualContexts };

describe('what is no such client', () => {
  it.each<[string, keyof typeof identities | undefined]>([
    ['an expired certificate', 'expired'],
    ['a certificate of another authority', 'stranger'],
    ['no certificate', undefined],
  ])('%s gets no association', async (_, name) => {
    const server = await serve();
    const { ca } = tlsOf('ct1');
    const tls = name === undefined ? {} : tlsOf(name);
    await expect(call(server.tlsPort, { ...tls, ...(ca && { ca }) })).rejects.toThrow(
      expect.objectContaining({ code: 'unavailable' }),
    );
  });

  it('needs none where clients show none', async () => {
    const server = await serve({}, 'none');
    const { ca } = tlsOf('ct1');
    await (await call(server.tlsPort, { ...(ca && { ca }) })).release();
  });

  it.each<[string, ConnectionOptions]>([
    ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }],
    ['no forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256:AES256-GCM-SHA384' }],
    ['CBC', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' }],
    ['finite fields', { maxVersion: 'TLSv1.2', ciphers: 'DHE-RSA-AES128-GCM-SHA256' }],
  ])('%s is refused in the handshake', async (_, options) => {
    const server = await serve();
    await expect(handshake(server.tlsPort, options)).rejects.toThrow();
    await until(() => server.connectionCount === 0);
  });

  it.each(['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305'])(
    'TLS 1.2 with %s will do',
    async (suite) => {
      const server = await serve();
      expect(await handshake(server.tlsPort, { maxVersion: 'TLSv1.2', ciphers: suite })).toBe(`TLSv1.2 ${suite}`);
    },
  );

  it('plain text is closed at once, silence when the time for the handshake is over; both are told', async () => {
    const events: unknown[] = [];
    const server = await serve({
      onEvent: (event) => events.push(event),
      limits: { handshakeTimeoutMs: 100, artimMs: 60_000 },
    });
    const sockets = [associateRequest(), Buffer.alloc(0), Buffer.from([0x16, 3, 1, 2])].map((bytes) => {
      const socket = createConnection(server.tlsPort, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(bytes);
      return new Promise((closed) => socket.on('close', closed));
    });
    await Promise.all(sockets);
    await until(() => server.connectionCount === 0);
    await until(() => events.length > 0);
    expect(events[0]).toMatchObject({ kind: 'connections-cut', why: 'handshake-failed' });
  });

  it('a flood of handshakes that never end leaves room for an honest caller', async () => {
    const server = await serve({
      limits: { maxWaiting: 4, maxAssociationsPerAddress: 8, handshakeTimeoutMs: 60_000 },
    });
    const flood = Array.from({ length: 20 }, () => createConnection(server.tlsPort, '127.0.0.1').on('error', () => {}));
    await until(() => server.connectionCount === 4);
    await (await call(server.tlsPort, tlsOf('ct1'))).release();
    for (const socket of flood) socket.destroy();
  });

  function handshake(port: number, options: ConnectionOptions): Promise<string> {
    const { ca, cert, key } = tlsOf('ct1');
    return new Promise((resolve, reject) => {
      const socket = connectTls({ host: '127.0.0.1', port, ...(ca && { ca }), cert, key, ...options }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  }
});

describe('calling a server', () => {
  it.each<[string, ClientTls, 'accepted' | 'refused']>([
    ['by the address in its certificate', {}, 'accepted'],
    ['by a name in its certificate', { servername: 'gateway.example' }, 'accepted'],
    ['by a name that it has not', { servername: 'other.example' }, 'refused'],
    ['with a name that the settings ask for', { certificateSubjects: ['gateway'] }, 'accepted'],
    ['without a name that the settings ask for', { certificateSubjects: ['other'] }, 'refused'],
  ])('%s', async (_, change, expected) => {
    const server = await serve();
    const tls = { ...tlsOf('ct1'), ...change };
    if (expected === 'accepted') await (await call(server.tlsPort, tls)).release();
    else await expect(call(server.tlsPort, tls)).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
  });

  it('of another authority is refused', async () => {
    const server = await serve();
    const ca = readFileSync(stranger.authorityFile);
    await expect(call(server.tlsPort, { ...tlsOf('ct1'), ca })).rejects.toThrow(
      expect.objectContaining({ code: 'unavailable' }),
    );
  });

  it('is done over TLS where the settings say so, with what we are', () => {
    const identity = gateway;
    expect(tlsTo({}, identity)).toBeUndefined();
    expect(tlsTo({ tls: false }, identity)).toBeUndefined();
    expect(tlsTo({ tls: true, certificateSubjects: ['x'] }, identity)).toEqual({
      ...identity.credentials,
      certificateSubjects: ['x'],
    });
    expect(tlsTo({ tls: true }, undefined)).toEqual({ certificateSubjects: [] });
  });
});

describe('the files', () => {
  it.each<[string, () => Partial<CertificateFiles & { authorityFile: string }>, RegExp]>([
    ['a key that is not there', () => ({ keyFile: '/nowhere/key.pem' }), /TLS key \/nowhere\/key.pem cannot be read/],
    [
      'a certificate that is not there',
      () => ({ certificateFile: '/nowhere/c.pem' }),
      /TLS certificate .* cannot be read/,
    ],
    ['a certificate that is none', () => ({ certificateFile: own.keyFile }), /is no PEM certificate/],
    ['a key that is none', () => ({ keyFile: own.certificateFile }), /is no PEM private key/],
    ['a key of another certificate', () => ({ keyFile: authority.strayKey() }), /does not belong to the certificate/],
    ['an authority that is none', () => ({ authorityFile: own.keyFile }), /is no PEM certificate of an authority/],
  ])('say what is wrong with %s', (_, change, message) => {
    expect(() => loadTlsIdentity({ ...own, log: silentLogger, ...change() })).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringMatching(message) }),
    );
  });

  it('must say who signs clients when those must show certificates', async () => {
    const identity = loadTlsIdentity({ ...own, log: silentLogger });
    closing.push(() => identity.close());
    await expect(serve({}, 'required', identity)).rejects.toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  it('are taken when they are renewed, and not while they do not fit together', async () => {
    const files = {
      keyFile: join(authority.folder, 'own.key.pem'),
      certificateFile: join(authority.folder, 'own.pem'),
    };
    copyFileSync(own.keyFile, files.keyFile);
    copyFileSync(own.certificateFile, files.certificateFile);
    const identity = identityOf(files, 20);
    const server = await serve({}, 'required', identity);
    const subject = () =>
      new Promise<string>((resolve, reject) => {
        const socket = connectTls({ host: '127.0.0.1', port: server.tlsPort, ...tlsOf('ct1') }, () => {
          resolve(String(socket.getPeerCertificate().subject.CN));
          socket.destroy();
        });
        socket.on('error', reject);
      });
    expect(await subject()).toBe('gateway');
    const before = identity.credentials;
    const renewed = await authority.issue({ commonName: 'renewed' });
    writeFileSync(files.keyFile, 'half a fi');
    copyFileSync(renewed.certificateFile, files.certificateFile);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(identity.credentials).toBe(before);
    expect(await subject()).toBe('gateway');
    rmSync(files.keyFile);
    copyFileSync(renewed.keyFile, files.keyFile);
    await until(() => identity.credentials !== before);
    expect(await subject()).toBe('renewed');
  });
});
