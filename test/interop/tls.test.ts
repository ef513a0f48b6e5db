/**
 * DCMTK and OpenSSL at the TLS port of a whole gateway, set up by a settings file as in a hospital: the right certificate works for
 * verification, storage and queries; the wrong ones, old versions, weak suites and plain text get nothing.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect as connectDimse } from '#edge-gateway/dimse/client.ts';
import { loadTlsIdentity, tlsTo } from '#edge-gateway/dimse/tls.ts';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { silentLogger } from '#shared/log.ts';
import { Authority, type CertificateFiles } from '#test/support/certificates.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { freePorts } from '#test/support/system.ts';
import { hasPrograms, type Run, run } from './dcmtk.ts';

const isPossible = hasPrograms('echoscu', 'storescu', 'findscu');
const hasOpenssl = hasPrograms('openssl');

let work: string;
let authority: Authority;
let stranger: Authority;
let gateway: Gateway;
let port: number;
let certificates: Record<'ct1' | 'ct2' | 'expired' | 'stranger', CertificateFiles>;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'archipel-tls-'));
  authority = await Authority.create();
  stranger = await Authority.create('Somebody else');
  const own = await authority.issue({ commonName: 'gateway' });
  certificates = {
    ct1: await authority.issue({ commonName: 'CT1', dnsNames: ['ct1.hospital.example'] }),
    ct2: await authority.issue({ commonName: 'CT2', dnsNames: ['ct2.hospital.example'] }),
    expired: await authority.issue({ commonName: 'CT1', dnsNames: ['ct1.hospital.example'], isExpired: true }),
    stranger: await stranger.issue({ commonName: 'CT1', dnsNames: ['ct1.hospital.example'] }),
  };
  const file = join(work, 'gateway.toml');
  writeFileSync(
    file,
    `dataFolder = "${join(work, 'data')}"
dicomPort = 0
httpPort = 0
unknownCallers = "rejected"
[dicomTls]
port = 0
keyFile = "${own.keyFile}"
certificateFile = "${own.certificateFile}"
authorityFile = "${authority.authorityFile}"
clientCertificate = "required"
[[remoteAes]]
aeTitle = "CT1"
host = "127.0.0.1"
port = 104
addresses = ["127.0.0.0/8"]
certificateSubjects = ["ct1.hospital.example"]
[[remoteAes]]
aeTitle = "ELSEWHERE"
host = "10.0.0.1"
port = 104
addresses = ["10.0.0.0/8"]
`,
  );
  gateway = await startGateway(readEdgeSettings({ ARCHIPEL_EDGE_SETTINGS: file }), silentLogger);
  port = gateway.dicomTlsPort!;
});
afterAll(async () => {
  await gateway?.close();
  authority?.[Symbol.dispose]();
  stranger?.[Symbol.dispose]();
  rmSync(work, { recursive: true, force: true });
});

/** DCMTK's own check of our certificate is part of what is tested: by the same authority. */
function scu(
  name: string,
  aeTitle: string,
  who: keyof typeof certificates | undefined,
  ...more: string[]
): Promise<Run> {
  const certificate = who === undefined ? undefined : certificates[who];
  const tls = certificate === undefined ? ['+tla'] : ['+tls', certificate.keyFile, certificate.certificateFile];
  const trust = ['+cf', authority.authorityFile];
  return run(name, ['-v', ...tls, ...trust, '-aet', aeTitle, '-aec', 'ARCHIPEL', ...more, '127.0.0.1', String(port)]);
}

describe.skipIf(!isPossible)('DCMTK over TLS', () => {
  it('verifies with the right certificate', async () => {
    const { code, text } = await scu('echoscu', 'CT1', 'ct1');
    expect(text).toContain('Received Echo Response (Success)');
    expect(code).toBe(0);
  });

  it('stores, and finds what it stored', async () => {
    const instance = makeInstance({ studyInstanceUid: '1.2.3', patientId: 'TLS-1' });
    const file = join(work, 'instance.dcm');
    writeFileSync(file, instance.file);
    const { keyFile, certificateFile } = certificates.ct1;
    const secure = [
      '-v',
      '+tls',
      keyFile,
      certificateFile,
      '+cf',
      authority.authorityFile,
      '-aet',
      'CT1',
      '-aec',
      'ARCHIPEL',
    ];
    const stored = await run('storescu', [...secure, '127.0.0.1', String(port), file]);
    expect(stored.text).toContain('Received Store Response (Success)');
    const query = ['-S', '-k', 'QueryRetrieveLevel=STUDY', '-k', 'PatientID=TLS-1', '-k', 'StudyInstanceUID'];
    await expect
      .poll(async () => (await run('findscu', [...secure, ...query, '127.0.0.1', String(port)])).text, {
        timeout: 20_000,
      })
      .toContain('[1.2.3');
  });

  it.each<[string, keyof typeof certificates | undefined]>([
    ['expired', 'expired'],
    ['of another authority', 'stranger'],
    ['that is not there', undefined],
  ])('gets nothing with a certificate %s', async (_, who) => {
    const { code, text } = await scu('echoscu', 'CT1', who);
    expect(text).not.toContain('Success');
    expect(code).not.toBe(0);
  });

  it.each<[string, string, keyof typeof certificates]>([
    ["another's certificate", 'CT1', 'ct2'],
    ['a title that nobody knows', 'STRANGER', 'ct1'],
    ['a title of another address', 'ELSEWHERE', 'ct1'],
  ])('is rejected as calling AE with %s', async (_, aeTitle, who) => {
    const { code, text } = await scu('echoscu', aeTitle, who);
    expect(text).toMatch(/Result: Rejected Permanent, Source: Service User/);
    expect(text).toMatch(/Reason: Calling AE Title Not Recognized/);
    expect(code).not.toBe(0);
  });

  it('in plain text at the TLS port gets nothing, and at the other port a title that is bound to a certificate is rejected', async () => {
    const plain = (to: number) =>
      run('echoscu', ['-v', '-to', '5', '-ta', '5', '-aet', 'CT1', '-aec', 'ARCHIPEL', '127.0.0.1', String(to)]);
    expect((await plain(port)).text).not.toContain('Success');
    expect((await plain(gateway.dicomPort)).text).toMatch(/Reason: Calling AE Title Not Recognized/);
  });
});

describe.skipIf(!isPossible)('DCMTK storescp called over TLS', () => {
  it('takes what we send with our certificate, and is not called when it is not who it should be', async () => {
    const folder = join(work, 'storescp');
    mkdirSync(folder);
    const [to] = (await freePorts(1)) as [number];
    const { keyFile, certificateFile } = certificates.ct2;
    const secure = ['+tls', keyFile, certificateFile, '+cf', authority.authorityFile];
    const storescp = spawn('storescp', [...secure, '-od', folder, String(to)], { stdio: 'ignore' });
    try {
      const settings = { ...certificates.ct1, authorityFile: authority.authorityFile, log: silentLogger };
      const identity = loadTlsIdentity(settings);
      identity.close();
      const { sopClassUid, transferSyntaxUid, ref, dataSet } = makeInstance();
      const call = (certificateSubjects: readonly string[]) =>
        connectDimse({
          ...{ host: '127.0.0.1', port: to, callingAeTitle: 'ARCHIPEL', calledAeTitle: 'CT2' },
          contexts: [{ abstractSyntax: sopClassUid, transferSyntaxes: [transferSyntaxUid] }],
          tls: tlsTo({ tls: true, certificateSubjects }, identity) ?? {},
        });
      let association = await call(['CT2']).catch(() => undefined);
      for (let tries = 0; association === undefined && tries < 100; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        association = await call(['CT2']).catch(() => undefined);
      }
      const { sopInstanceUid } = ref;
      expect(await association?.store({ sopClassUid, transferSyntaxUid, sopInstanceUid, dataSet })).toEqual({
        status: 0,
      });
      await association?.release();
      await expect(call(['CT3'])).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
      expect(readdirSync(folder)).toHaveLength(1);
    } finally {
      storescp.kill();
    }
  });
});

describe.skipIf(!hasOpenssl)('OpenSSL s_client', () => {
  /** The protocol and suite that were agreed, or the alert by which the gateway refused. */
  async function handshake(...parameters: string[]): Promise<string> {
    const { keyFile, certificateFile } = certificates.ct1;
    const identity = ['-key', keyFile, '-cert', certificateFile, '-CAfile', authority.authorityFile];
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...identity, ...parameters]);
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
      });
    child.stdin.on('error', () => {});
    child.stdin.end();
    await new Promise((ended) => child.once('close', ended));
    const agreed = /New, (TLSv[\d.]+), Cipher is (\S+)/.exec(text);
    return agreed === null ? (/alert [a-z ]+/.exec(text)?.[0] ?? text) : `${agreed[1]} ${agreed[2]}`;
  }

  it.each([
    [['-tls1_3'], 'TLSv1.3 TLS_AES_256_GCM_SHA384'],
    [['-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256'], 'TLSv1.3 TLS_AES_128_GCM_SHA256'],
    [['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'], 'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256'],
    [['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384'], 'TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384'],
    [['-tls1_2', '-cipher', 'ECDHE-ECDSA-CHACHA20-POLY1305'], 'TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305'],
  ])('agrees with %j', async (parameters, agreed) => {
    expect(await handshake(...parameters)).toBe(agreed);
  });

  it.each([
    ['TLS 1.0', ['-tls1', '-cipher', 'ALL:@SECLEVEL=0']],
    ['TLS 1.1', ['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0']],
    ['no forward secrecy', ['-tls1_2', '-cipher', 'AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA']],
    ['CBC', ['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA']],
    ['anonymous', ['-tls1_2', '-cipher', 'aNULL:@SECLEVEL=0']],
    ['no encryption', ['-tls1_2', '-cipher', 'eNULL:@SECLEVEL=0']],
    ['finite fields', ['-tls1_2', '-cipher', 'DHE']],
    ['short tags', ['-tls1_3', '-ciphersuites', 'TLS_AES_128_CCM_8_SHA256']],
  ])('does not agree on %s', async (_, parameters) => {
    expect(await handshake(...parameters)).toMatch(/^alert (protocol version|handshake failure)/);
  });
});

it('an honest peer is served while garbage and silence come to the TLS port', async () => {
  const garbage = [
    Buffer.from([0x16, 3, 1, 0xff, 0xff, ...Array<number>(1_000).fill(7)]),
    Buffer.alloc(5_000, 1),
    Buffer.alloc(0),
  ];
  const sockets = Array.from({ length: 90 }, (_, i) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${2 + (i % 6)}` });
    socket.on('error', () => {});
    socket.write(garbage[i % 3] ?? '');
    return socket;
  });
  if (isPossible) expect((await scu('echoscu', 'CT1', 'ct1')).text).toContain('Success');
  for (const socket of sockets) socket.destroy();
});
