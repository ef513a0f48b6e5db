/**
 * An authority of its own for a test, and the certificates that it signs, as PEM files: for servers, modalities, expired ones,
 * and those of somebody else's authority.
 */
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const HOUR_MS = 3_600_000;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface CertificateOptions {
  readonly commonName: string;
  /** Default: 127.0.0.1 and localhost. */
  readonly dnsNames?: readonly string[];
  readonly uris?: readonly string[];
  readonly emails?: readonly string[];
  readonly isExpired?: boolean;
}

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly keyFile: string;
  readonly certificateFile: string;
}

/** Signs certificates into a temporary folder, until it is disposed of. */
export class Authority implements Disposable {
  readonly authorityFile: string;
  readonly folder: string;
  readonly #x509: typeof import('@peculiar/x509');
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #name: string;
  #count = 0;

  private constructor(x509: typeof import('@peculiar/x509'), keys: webcrypto.CryptoKeyPair, name: string, pem: string) {
    this.#x509 = x509;
    this.#keys = keys;
    this.#name = name;
    this.folder = mkdtempSync(join(tmpdir(), 'archipel-certificates-'));
    this.authorityFile = join(this.folder, 'authority.pem');
    writeFileSync(this.authorityFile, pem);
  }

  static async create(name = 'Hospital CA'): Promise<Authority> {
    const x509 = await loadX509();
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: `CN=${name}`,
      keys,
      ...validity(false),
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    });
    return new Authority(x509, keys, `CN=${name}`, certificate.toString('pem'));
  }

  /** A key and the certificate that this authority signs for it, for servers and clients alike. */
  async issue(options: CertificateOptions): Promise<CertificateFiles> {
    const x509 = this.#x509;
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const { commonName, dnsNames = ['localhost'], uris = [], emails = [], isExpired = false } = options;
    const certificate = await x509.X509CertificateGenerator.create({
      subject: [{ CN: [commonName] }],
      issuer: this.#name,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      ...validity(isExpired),
      signingAlgorithm: algorithm,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
          ...emails.map((value) => ({ type: 'email' as const, value })),
          ...uris.map((value) => ({ type: 'url' as const, value })),
          { type: 'ip', value: '127.0.0.1' },
        ]),
      ],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    const base = join(this.folder, `certificate-${++this.#count}`);
    const files = { keyFile: `${base}.key.pem`, certificateFile: `${base}.pem` };
    writeFileSync(files.keyFile, x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'));
    writeFileSync(files.certificateFile, certificate.toString('pem'));
    return files;
  }

  /** A key that belongs to no certificate. */
  strayKey(): string {
    const path = join(this.folder, 'stray.key.pem');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function validity(isExpired: boolean): { notBefore: Date; notAfter: Date } {
  const untilMs = Date.now() + (isExpired ? -HOUR_MS : 1_000 * HOUR_MS);
  return { notBefore: new Date(Math.min(Date.now(), untilMs) - 48 * HOUR_MS), notAfter: new Date(untilMs) };
}

/** Its dependency injection asks Reflect, as it loads, for the metadata of decorators, of which there are none. */
async function loadX509(): Promise<typeof import('@peculiar/x509')> {
  const none = { getMetadata: () => undefined, getOwnMetadata: () => undefined, defineMetadata: () => undefined };
  if (!('getMetadata' in Reflect)) Object.assign(Reflect, none);
  return await import('@peculiar/x509');
}
