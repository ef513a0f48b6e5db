/** Files on their way to a peer: associations for the pairs they need, a result for each, the bytes as they lie there. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type SendResult, sendFiles } from '#edge-gateway/dimse/send.ts';
import { createDimseServer, type DimseServer } from '#edge-gateway/dimse/server.ts';
import { encodeFileMeta } from '#shared/dicom/part10.ts';
import { silentLogger } from '#shared/log.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { MemoryReceiver, type MemoryReceiverOptions, stored } from './memory-receiver.ts';
import { CT_IMAGE, EXPLICIT, IMPLICIT } from './raw-peer.ts';

let folder: string;
let server: DimseServer;
let receiver: MemoryReceiver;

async function serve(options: MemoryReceiverOptions = {}): Promise<void> {
  receiver = new MemoryReceiver(options);
  const log = silentLogger;
  server = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'PEER',
    receiver,
    log,
    limits: { lingerMs: 50 },
  });
}
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-send-'));
});
afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function send(files: readonly string[], operations = 1) {
  const results: SendResult[] = [];
  const totals = await sendFiles({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'US',
    calledAeTitle: 'PEER',
    files,
    operations,
    onResult: (result) => results.push(result),
  });
  return { results, totals };
}

/** A file of Explicit VR little endian whose data set is its UIDs and a filling. */
async function file(
  name: string,
  sopClassUid: string,
  sopInstanceUid: string,
  transferSyntaxUid = EXPLICIT,
  extra = 0,
) {
  const element = (hex: string, value: string) => {
    const padded = value.length % 2 === 0 ? value : `${value}\0`;
    const length = Buffer.from([padded.length, 0]);
    return Buffer.concat([Buffer.from(hex, 'hex'), Buffer.from('UI'), length, Buffer.from(padded)]);
  };
  const path = join(folder, name);
  await writeFile(
    path,
    Buffer.concat([
      encodeFileMeta({ sopClassUid, sopInstanceUid, transferSyntaxUid }),
      element('08001600', sopClassUid),
      element('08001800', sopInstanceUid),
      element('20000d00', '1.2.3'),
      Buffer.alloc(extra),
    ]),
  );
  return path;
}

describe('sending files', () => {
  it('opens as many associations as the pairs of class and transfer syntax need', async () => {
    await serve();
    const files = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        file(`${i}.dcm`, `1.2.9.${i % 150}`, `1.2.3.4.${i}`, i % 2 ? EXPLICIT : `1.2.77.${i % 150}`),
      ),
    );
    for (const operations of [1, 8]) {
      const { results, totals } = await send(files, operations);
      expect(totals).toMatchObject({ sent: 300, failed: 0 });
      expect(new Set(results.map((result) => result.file)).size).toBe(300);
      expect(results[0]).toMatchObject({ status: 0, studyInstanceUid: '1.2.3' });
    }
    expect(new Set(receiver.received.map((one) => one.incoming.sopInstanceUid)).size).toBe(300);
  });

  it('gives every file a result of its own, and goes on', async () => {
    await serve({
      outcome: (received) =>
        received.incoming.sopInstanceUid === '1.2.3.1'
          ? { kind: 'refused', code: 'out-of-resources', reason: 'no room' }
          : stored(received),
    });
    await writeFile(
      join(folder, 'text'),
      'not a DICOM file, only a text that is long enough to be tried as one\n'.repeat(9),
    );
    const files = [
      await file('a', CT_IMAGE, '1.2.3.0'),
      await file('b', CT_IMAGE, '1.2.3.1'),
      join(folder, 'text'),
      join(folder, 'missing'),
      await file('odd', CT_IMAGE, '1.2.3.2', EXPLICIT, 1),
      await file('find', '1.2.840.10008.5.1.4.1.2.2.1', '1.2.3.3'),
      await file('c', CT_IMAGE, '1.2.3.4'),
    ];
    const { results, totals } = await send(files);
    expect(totals).toMatchObject({ sent: 2, failed: 5 });
    const outcome = new Map(results.map((result) => [result.file.slice(folder.length + 1), result]));
    expect(outcome.get('a')?.status).toBe(0);
    expect(outcome.get('b')).toMatchObject({ status: 0xa700, comment: 'no room' });
    expect(outcome.get('text')?.status).toBeUndefined();
    expect(outcome.get('missing')?.error?.code).toBe('bad-request');
    expect(outcome.get('odd')?.error?.code).toBe('bad-dicom');
    expect(outcome.get('find')?.error?.code).toBe('unsupported-transfer-syntax');
    expect(outcome.get('c')?.status).toBe(0);
  });

  it('opens a lost association anew for the files that are left, but not for ever', async () => {
    await serve({
      beforeWrite: (received) => {
        if (received.incoming.sopInstanceUid !== '1.2.3.1') return;
        // What a peer does that goes away within an instance.
        void server.close();
      },
    });
    const files = await Promise.all([0, 1, 2, 3].map((i) => file(`${i}`, CT_IMAGE, `1.2.3.${i}`, IMPLICIT, 20_000)));
    const { results } = await send(files);
    expect(results.map((result) => result.status === 0)).toEqual([true, true, false, false]);
    expect(results.slice(2).every((result) => result.error?.code === 'unavailable')).toBe(true);
  });
});

describe.skipIf(samplesFolder() === undefined)('sending the samples', () => {
  it('brings the data set bytes of every file as they are', async () => {
    await serve({ isKept: true });
    const files = ['transfer-syntaxes', 'modalities', 'charsets', 'grayscale-luts'].flatMap((name) =>
      sampleFiles(name),
    );
    const { results, totals } = await send(files, 4);
    expect(totals.sent).toBeGreaterThan(150);
    const byDigest = new Set(receiver.received.map((one) => one.sha256));
    for (const { file: path, status, lengthBytes, error } of results) {
      if (status === undefined) {
        expect(error?.message).toMatch(/odd length|no SOP|not a DICOM|DICOM/);
        continue;
      }
      expect(status).toBe(0);
      const bytes = await readFile(path);
      const dataSet = bytes.subarray(bytes.length - lengthBytes);
      const padded = lengthBytes % 2 === 0 ? dataSet : Buffer.concat([dataSet, Buffer.alloc(1)]);
      expect(byDigest.has(createHash('sha256').update(padded).digest('hex'))).toBe(true);
    }
  });
});
