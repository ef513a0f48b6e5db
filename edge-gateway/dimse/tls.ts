/**
 * DICOM over TLS by the BCP 195 profile (PS3.15 §B.12; RFC 9325): TLS 1.2 at least, 1.3 preferred, forward secrecy and
 * authenticated encryption only. Keys and certificates come from files, which are read again when they change, so that a
 * renewal needs no restart. Which AE title a certificate stands for is peers.ts.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  createSecureContext,
  createServer,
  type PeerCertificate,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { hasSubject, plainAddress } from './peers.ts';

/** RFC 9325 §4.2 and RFC 8446 §9.1, with ChaCha20-Poly1305 for machines without AES instructions. */
export const CIPHER_SUITES = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
] as const;

/** For both sides. Sessions are not resumed: each association shows its certificate anew. */
const profile: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHER_SUITES.join(':'),
  ecdhCurve: 'X25519:P-256:P-384:P-521',
  honorCipherOrder: true,
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
};

export interface TlsFiles {
  /** PEM. */
  readonly keyFile: string;
  /** PEM: our certificate, and those between it and its authority. */
  readonly certificateFile: string;
  /** PEM: those who sign our peers' certificates. */
  readonly authorityFile?: string;
}

export interface Credentials {
  readonly key: Buffer;
  readonly cert: Buffer;
  readonly ca?: Buffer;
}

export interface TlsIdentity {
  /** As the files had it when they were last read well. */
  readonly credentials: Credentials;
  /** Calls back after each renewal. */
  onRenewed(listener: (credentials: Credentials) => void): void;
  /** Stops looking at the files. */
  close(): void;
}

export interface TlsIdentityOptions extends TlsFiles {
  readonly log: Logger;
  /** How often the files are looked at; default 30 s. */
  readonly lookEveryMs?: number;
}

const EXPIRY_WARNING_MS = 30 * 24 * 3_600_000;

/** Error `bad-request`: a file cannot be read, or they do not fit together; the sentence says which and why. */
export function loadTlsIdentity(options: TlsIdentityOptions): TlsIdentity {
  const { keyFile, certificateFile, authorityFile, log, lookEveryMs = 30_000 } = options;
  const files = [keyFile, certificateFile, ...(authorityFile === undefined ? [] : [authorityFile])];
  const listeners: ((credentials: Credentials) => void)[] = [];
  let credentials = readCredentials(options);
  warnOfExpiry(credentials, log);
  const look = () => {
    try {
      const renewed = readCredentials(options);
      credentials = renewed;
      for (const listener of listeners) listener(renewed);
      log.info({ validTo: new X509Certificate(renewed.cert).validTo }, 'the TLS certificate was read again');
      warnOfExpiry(renewed, log);
    } catch (error) {
      // Key and certificate are rarely replaced in one step: the next look sees both.
      log.warn({ err: error }, 'changed TLS files are not taken; those read before stay in use');
    }
  };
  for (const file of files) watchFile(file, { interval: lookEveryMs, persistent: false }, look);
  return {
    get credentials() {
      return credentials;
    },
    onRenewed: (listener) => listeners.push(listener),
    close: () => {
      for (const file of files) unwatchFile(file, look);
    },
  };
}

function readCredentials({ keyFile, certificateFile, authorityFile }: TlsFiles): Credentials {
  const key = read(keyFile, 'TLS key');
  const cert = read(certificateFile, 'TLS certificate');
  const ca = authorityFile === undefined ? undefined : read(authorityFile, 'TLS authority');
  const certificate = parsed(certificateFile, 'PEM certificate', () => new X509Certificate(cert));
  const privateKey = parsed(keyFile, 'PEM private key without passphrase', () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey))
    throw new ArchiveError(
      'bad-request',
      `the TLS key ${keyFile} does not belong to the certificate ${certificateFile}`,
    );
  if (ca !== undefined && authorityFile !== undefined)
    parsed(authorityFile, 'PEM certificate of an authority', () => new X509Certificate(ca));
  const credentials = { key, cert, ...(ca === undefined ? {} : { ca }) };
  parsed(certificateFile, 'certificate that TLS of today can use', () =>
    createSecureContext({ ...profile, ...credentials }),
  );
  return credentials;
}

function read(file: string, what: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new ArchiveError(
      'bad-request',
      `the ${what} ${file} cannot be read; is it there, and may the gateway read it?`,
      {},
      cause,
    );
  }
}

function parsed<T>(file: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new ArchiveError('bad-request', `${file} is no ${what}`, {}, cause);
  }
}

function warnOfExpiry({ cert }: Credentials, log: Logger): void {
  const { validTo } = new X509Certificate(cert);
  if (Date.parse(validTo) - Date.now() < EXPIRY_WARNING_MS) log.warn({ validTo }, 'the TLS certificate expires soon');
}

/** What the listening side is set to. */
function tlsServerOptions(
  credentials: Credentials,
  clientCertificate: 'required' | 'none',
): SecureContextOptions & TlsOptions {
  const isRequired = clientCertificate === 'required';
  return { ...profile, ...credentials, requestCert: isRequired, rejectUnauthorized: isRequired };
}

export interface TlsListenerOptions {
  readonly identity: TlsIdentity;
  /** Whether clients must show a certificate that an authority of the identity has signed. */
  readonly clientCertificate: 'required' | 'none';
}

export interface TlsListenerEvents {
  readonly handshakeTimeoutMs: number;
  /** A TCP connection, before its handshake. */
  readonly onConnection: (socket: Socket) => void;
  readonly onSecure: (socket: TLSSocket) => void;
  /** No handshake came of it, whatever it was: plain text, an old version, no certificate, silence. It is closed. */
  readonly onFailed: (address: string, code: string) => void;
}

/** A server that does not listen yet; takes renewed certificates by itself. Error `bad-request`: see `clientCertificate`. */
export function createTlsListener(options: TlsListenerOptions, events: TlsListenerEvents): Server {
  const { identity, clientCertificate } = options;
  // Without it Node would take whatever the public authorities have signed.
  if (clientCertificate === 'required' && identity.credentials.ca === undefined)
    throw new ArchiveError(
      'bad-request',
      'client certificates are required, but no authority file says who signs them',
    );
  const server = createServer({
    ...tlsServerOptions(identity.credentials, clientCertificate),
    handshakeTimeout: events.handshakeTimeoutMs,
  });
  identity.onRenewed((credentials) => server.setSecureContext({ ...profile, ...credentials }));
  server.on('connection', (socket) => events.onConnection(socket));
  server.on('secureConnection', (socket) => events.onSecure(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const address = plainAddress(socket.remoteAddress ?? '');
    // A handshake that has timed out is left open by Node.
    socket.destroy();
    events.onFailed(address, error.code ?? '');
  });
  return server;
}

/** How a peer is called by TLS. */
export interface ClientTls {
  /** Who signs the peer's certificate; absent: the authorities that the system trusts. */
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** The name that the peer's certificate must have, where it is not that of the host. */
  readonly servername?: string;
  /** CN or SAN, one of which the peer's certificate must have instead of the name of the host. */
  readonly certificateSubjects?: readonly string[];
}

/** An AE of the settings, as far as calling it over TLS goes. */
export interface TlsRemote {
  readonly tls?: boolean;
  readonly certificateSubjects?: readonly string[];
}

/**
 * How an AE is called; undefined: in plain text. We show our own certificate, and hold its one against our authority file,
 * or against the authorities that the system trusts when there is none.
 */
export function tlsTo(remote: TlsRemote, identity: TlsIdentity | undefined): ClientTls | undefined {
  if (remote.tls !== true) return undefined;
  const { certificateSubjects = [] } = remote;
  return { ...identity?.credentials, certificateSubjects };
}

/** What the calling side is set to. */
export function tlsClientOptions({ certificateSubjects = [], ...given }: ClientTls, host: string): ConnectionOptions {
  const { servername = isIP(host) === 0 ? host : '' } = given;
  return {
    ...profile,
    ...given,
    servername: isIP(servername) === 0 ? servername : '',
    rejectUnauthorized: true,
    ...(certificateSubjects.length === 0
      ? {}
      : {
          checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
            hasSubject(subjectsOf(certificate), certificateSubjects)
              ? undefined
              : new Error('the certificate of the peer has none of the names that the settings ask for'),
        }),
  };
}

/** CN and the SANs (dNSName, URI) of the peer's certificate, where that was verified; empty otherwise. */
export function verifiedSubjects(socket: TLSSocket): readonly string[] {
  if (!socket.authorized) return [];
  const certificate: PeerCertificate | Record<string, never> = socket.getPeerCertificate();
  return 'subject' in certificate ? subjectsOf(certificate as PeerCertificate) : [];
}

/**
 * One name after the other, from the start: `DNS:a.example, URI:"urn:a,b"`. Node quotes values with commas or quotes as JSON strings,
 * within which nothing is a name (CVE-2021-44532).
 */
const alternativeName = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy;

function subjectsOf(certificate: PeerCertificate): readonly string[] {
  const common: unknown = certificate.subject?.CN;
  const names = [...(certificate.subjectaltname ?? '').matchAll(alternativeName)]
    .filter(([, type]) => type === 'DNS' || type === 'URI')
    .map(([, , name = '']) => unquoted(name));
  return [...(Array.isArray(common) ? common : [common]), ...names].filter((name) => typeof name === 'string');
}

function unquoted(name: string): string | undefined {
  if (!name.startsWith('"')) return name;
  try {
    const text: unknown = JSON.parse(name);
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}
