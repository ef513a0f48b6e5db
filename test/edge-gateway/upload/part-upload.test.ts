/**
 * A pack in parts from the gateway's side, against a cloud that counts: nothing that is there is sent again, whatever fails on
 * the way, and bytes that are not what was sealed never leave.
 */
import { createHash, randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { type PartUploadOptions, PartUploads } from '#edge-gateway/upload/part-upload.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { CompleteRequest } from '#shared/gateway-api.ts';

const bytes = randomBytes(10_500);
const hex = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const pack: PackRecord = {
  tenant: 'hospital',
  studyInstanceUid: '1.2',
  seriesInstanceUid: '1.2.3',
  packId: '0197a000-0000-7000-8000-000000000001',
  state: 'sealed',
  instanceCount: 1,
  lengthBytes: bytes.length,
  sha256: hex(bytes),
  createdAtMs: 1,
};
const grant = { kind: 'parts', packId: pack.packId, uploadId: 'u', partBytes: 1_000 } as const;

/** What the cloud holds, part by part, and what has been put, in order. */
let held: Map<number, Buffer>;
let puts: number[];
let completed: CompleteRequest[];
/** What happens instead, for the next puts. */
let tricks: (Error | 'lost-answer' | undefined)[];
let onDisk: Buffer;
let mayGoOn: () => boolean;
let uploads: PartUploads;

const options: PartUploadOptions = {
  tenant: 'hospital',
  signal: new AbortController().signal,
  pace: (body) => body,
  mayGoOn: () => mayGoOn(),
  isGood: ({ expiresAtMs }) => expiresAtMs > 0,
  sent: () => {},
  packs: {
    async stream(_key, range) {
      const { offsetBytes, lengthBytes } = range ?? { offsetBytes: 0, lengthBytes: onDisk.length };
      return new Blob([onDisk.subarray(offsetBytes, offsetBytes + lengthBytes) as Uint8Array<ArrayBuffer>]).stream();
    },
  },
  cloud: {
    async grantParts({ parts }) {
      const answers = parts.map(({ partNumber, sha256 }) => {
        const there = held.get(partNumber);
        if (there !== undefined && hex(there) === sha256) return { kind: 'confirmed' as const, partNumber };
        return { kind: 'put' as const, partNumber, url: `http://cloud/${partNumber}`, headers: {}, expiresAtMs: 1 };
      });
      return { serverTimeMs: 0, parts: answers };
    },
    async put({ url }, body, lengthBytes) {
      const partNumber = Number(url.split('/').at(-1));
      puts.push(partNumber);
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      const part = Buffer.concat(chunks);
      expect(part.length).toBe(lengthBytes);
      const trick = tricks.shift();
      if (trick instanceof Error) throw trick;
      held.set(partNumber, part);
      if (trick === 'lost-answer') throw new ArchiveError('unavailable', 'cut off');
      return 'created';
    },
    async complete(request) {
      completed.push(request);
      return { serverTimeMs: 0, result: 'created' };
    },
  },
};

beforeEach(() => {
  held = new Map();
  puts = [];
  completed = [];
  tricks = [];
  onDisk = bytes;
  mayGoOn = () => true;
  uploads = new PartUploads(options);
});

const wholeOf = (parts: ReadonlyMap<number, Buffer>): Buffer =>
  Buffer.concat([...parts].sort(([a], [b]) => a - b).map(([, part]) => part));

describe('a pack in parts', () => {
  it('is sent part by part and completed with the list of them', async () => {
    expect(await uploads.send(pack, grant)).toBe('done');
    expect(puts).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(wholeOf(held).equals(bytes)).toBe(true);
    const digests = [...held.values()].map((part) => Buffer.from(hex(part), 'hex'));
    expect(completed).toMatchObject([{ uploadId: 'u', partCount: 11, partsSha256: hex(Buffer.concat(digests)) }]);
  });

  it('sends only what is missing after it was cut off, in this process or the next', async () => {
    const cut = new ArchiveError('unavailable', 'cut off');
    tricks = [undefined, undefined, cut, cut, cut];
    await expect(uploads.send(pack, grant)).rejects.toBe(cut);
    expect(puts).toEqual([1, 2, 3, 3, 3]);
    puts = [];
    expect(await new PartUploads(options).send(pack, grant)).toBe('done');
    expect(puts).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(wholeOf(held).equals(bytes)).toBe(true);
  });

  it('does not send a part again of which only the answer was lost', async () => {
    tricks = ['lost-answer'];
    expect(await uploads.send(pack, grant)).toBe('done');
    expect(puts).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('stops between two parts when it is not the hour any more', async () => {
    mayGoOn = () => puts.length < 4;
    expect(await uploads.send(pack, grant)).toBe('paused');
    expect(puts).toEqual([1, 2, 3, 4]);
    expect(completed).toEqual([]);
  });

  it('sends nothing of a file that is not what was sealed', async () => {
    onDisk = Buffer.from(bytes);
    onDisk[5_000]! ^= 1;
    await expect(uploads.send(pack, grant)).rejects.toMatchObject({ code: 'damaged' });
    expect(puts).toEqual([]);
  });
});
