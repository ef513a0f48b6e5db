/**
 * What is answered when a part of what was asked for cannot be had: 206 with a Warning where that is known beforehand, an answer that
 * visibly breaks off where it is not, and never a shorter one that looks whole.
 */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveHttp } from '#edge-gateway/http/host.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, problemOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const seriesUids = [freshUid(), freshUid(), freshUid()].toSorted();
const slices = seriesUids.flatMap((seriesInstanceUid) =>
  [1, 2].map((instanceNumber) => makeInstance({ studyInstanceUid: study, seriesInstanceUid, instanceNumber })),
);
const path = `/studies/${study}`;

let fixture: ArchiveFixture;
let keys: string[];

beforeAll(async () => {
  fixture = await makeArchive(slices.map(({ file }) => file));
  keys = seriesUids.map((uid) =>
    packKey(fixture.tenant, fixture.packs.find(({ seriesInstanceUid }) => seriesInstanceUid === uid)!),
  );
});
afterAll(() => fixture.close());

/** Of which some packs sleep. */
function over(asleep: readonly string[], packs: PackStore = fixture.archive.packs): Service {
  const wake = <T>(key: string, work: () => Promise<T>): Promise<T> =>
    asleep.includes(key)
      ? Promise.reject(
          new ArchiveError('unavailable', 'The pixels are asleep; ask again.', { retryAfterSeconds: 3600 }),
        )
      : work();
  const sleepy: PackStore = {
    ...packs,
    head: (key) => wake(key, () => packs.head(key)),
    read: (key, range) => wake(key, () => packs.read(key, range)),
    stream: (key, range) => wake(key, () => packs.stream(key, range)),
  };
  return serviceOver(fixture, { archive: { ...fixture.archive, packs: sleepy } });
}

describe('a study of which some packs sleep', () => {
  it.each(['', '/bulkdata'])('is what there is, with 206, a Warning and when to come again: %s', async (what) => {
    const response = await ask(over([keys[1]!]), path + what);
    expect(response.status).toBe(206);
    expect(response.headers.get('warning')).toBe(
      `299 ${base}: "2 of 6 instances cannot be given now: The pixels are asleep; ask again."`,
    );
    expect(response.headers.get('retry-after')).toBe('3600');
    // It must not be kept in place of the whole.
    expect([response.headers.get('etag'), response.headers.get('cache-control')]).toEqual([null, 'no-store']);
    expect(await partsOf(response)).toHaveLength(4);
  });

  it('is no ZIP file: one that lacks files would look whole', async () => {
    const response = await ask(over([keys[1]!]), path, { accept: 'application/zip' });
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '3600']);
  });

  it('is 503 with Retry-After when all of them do, and the one series that does', async () => {
    for (const [asleep, resource] of [
      [keys, path],
      [[keys[0]!], `${path}/series/${seriesUids[0]}`],
    ] as const) {
      const response = await ask(over(asleep), resource);
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '3600']);
      expect((await problemOf(response)).detail).toBe('The pixels are asleep; ask again.');
    }
  });

  it('keeps its metadata', async () => {
    expect(await (await ask(over(keys), `${path}/metadata`)).json()).toHaveLength(6);
  });
});

describe('a study of which a pack is', () => {
  const without = (head: PackStore['head']): Service => {
    const { packs } = fixture.archive;
    return serviceOver(fixture, {
      archive: {
        ...fixture.archive,
        packs: { ...packs, head: (key) => (key === keys[2] ? head(key) : packs.head(key)) },
      },
    });
  };

  it.each([
    ['missing', async () => undefined],
    ['cut off', async () => ({ lengthBytes: 100 })],
  ])('%s is 206, says that something is broken, and names no file of ours', async (_, head) => {
    const response = await ask(without(head), path);
    expect(response.status).toBe(206);
    expect(response.headers.get('warning')).toBe(
      `299 ${base}: "2 of 6 instances cannot be given: a stored object cannot be read"`,
    );
    expect(await partsOf(response)).toHaveLength(4);
  });

  it('damaged where nobody could know breaks the connection off: no client takes it for whole', async () => {
    const { packs } = fixture.archive;
    const broken: PackStore = {
      ...packs,
      stream: async (key, range) =>
        key === keys[1]
          ? (new Blob([new Uint8Array(600)]).stream() as ReadableStream<Uint8Array>)
          : packs.stream(key, range),
    };
    const service = serviceOver(fixture, { archive: { ...fixture.archive, packs: broken } });
    const host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
    try {
      const url = `http://127.0.0.1:${host.port}/dicomweb${path}`;
      const response = await fetch(url);
      expect(response.status).toBe(200);
      await expect(response.arrayBuffer()).rejects.toThrow();
      await expect((await fetch(url, { headers: { accept: 'application/zip' } })).arrayBuffer()).rejects.toThrow();
      // On the wire: no last chunk of a chunked body.
      const raw = await new Promise<string>((resolve, reject) => {
        const socket = connect(host.port, '127.0.0.1', () => {
          socket.write(`GET /dicomweb${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        });
        const pieces: Buffer[] = [];
        socket.on('data', (piece) => pieces.push(piece));
        socket.on('error', reject);
        socket.on('close', () => resolve(Buffer.concat(pieces).toString('latin1')));
      });
      expect(raw).toMatch(/^HTTP\/1\.1 200/);
      expect(raw.endsWith('0\r\n\r\n')).toBe(false);
    } finally {
      await host.close();
    }
  });
});
