/**
 * The tail of an open pack after a crash (fault F4): cut at every byte and with every bit flipped, in memory; and a hole in
 * its middle.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { OpenFile } from '#edge-gateway/cache/files.ts';
import { scanOpenPack } from '#edge-gateway/cache/open-pack-scan.ts';
import { encodeDirectory, encodeLocalHeader, type PackEntry } from '#shared/archive/pack.ts';

function fileOf(bytes: Uint8Array): OpenFile {
  const never = () => Promise.reject(new Error('a scan changes nothing'));
  return {
    write: never,
    datasync: never,
    truncate: never,
    async read(into, positionBytes) {
      const part = bytes.subarray(positionBytes, positionBytes + into.length);
      into.set(part);
      return part.length;
    },
    lengthBytes: async () => bytes.length,
    close: async () => {},
  };
}

function packOf(lengths: readonly number[], reserved = false): { bytes: Buffer; entries: PackEntry[] } {
  const parts: Uint8Array[] = [];
  const entries: PackEntry[] = [];
  let at = 0;
  for (const [i, lengthBytes] of lengths.entries()) {
    const data = randomBytes(lengthBytes);
    const entry = { name: `1.2.3.${i}.dcm`, crc32: crc32(data), lengthBytes, dosTime: 0x5a755a75 };
    const header = encodeLocalHeader(entry, { reserved });
    parts.push(header, data);
    entries.push({ ...entry, headerOffsetBytes: at, offsetBytes: at + header.length });
    at += header.length + lengthBytes;
  }
  return { bytes: Buffer.concat(parts), entries };
}

const scan = (bytes: Uint8Array) => scanOpenPack(fileOf(bytes));
const ends = (entry: PackEntry): number => entry.offsetBytes + entry.lengthBytes;

describe('an open pack', () => {
  it('is whole when nothing has happened to it', async () => {
    for (const lengths of [[], [0], [10, 20], [3_000_000, 5, 1_048_576]]) {
      const { bytes, entries } = packOf(lengths);
      expect(await scan(bytes)).toEqual({ entries, holes: [], endBytes: bytes.length, lengthBytes: bytes.length });
    }
  });

  it('cut at every byte of its last three entries keeps all that are complete', async () => {
    const { bytes, entries } = packOf([50, 60, 70, 80]);
    for (let length = entries[1]!.headerOffsetBytes; length <= bytes.length; length++) {
      const found = await scan(bytes.subarray(0, length));
      const complete = entries.filter((entry) => ends(entry) <= length);
      expect(found.entries).toEqual(complete);
      expect(found).toMatchObject({ holes: [], endBytes: ends(complete.at(-1)!), lengthBytes: length });
    }
  });

  it('with any bit of its last three entries flipped loses that entry only, and says so when others follow', async () => {
    const { bytes, entries } = packOf([30, 33, 36, 39]);
    for (let bit = entries[1]!.headerOffsetBytes * 8; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const hit = entries.findIndex((entry) => bit >> 3 < ends(entry));
      const { entries: found, holes } = await scan(flipped);
      const others = entries.filter((_, i) => i !== hit);
      expect(found.filter((entry) => entry.headerOffsetBytes !== entries[hit]!.headerOffsetBytes)).toEqual(others);
      // Version, time and digits of the name are not covered by the CRC-32: the entry then counts as another one or as itself.
      if (found.length === others.length) expect(holes).toHaveLength(hit === entries.length - 1 ? 0 : 1);
      else expect(holes).toEqual([]);
    }
  });

  it('followed by a directory, whole or torn, ends before it', async () => {
    const { bytes, entries } = packOf([100, 200]);
    const directory = encodeDirectory(entries, bytes.length);
    for (const length of [1, 4, 50, directory.length]) {
      const found = await scan(Buffer.concat([bytes, directory.subarray(0, length)]));
      expect(found).toMatchObject({ entries, holes: [], endBytes: bytes.length });
    }
  });

  it('with zeros, noise or an overwritten sector in the middle is found on both sides of it', async () => {
    const { bytes, entries } = packOf([2000, 1_500_000, 3000, 20]);
    for (const fill of [Buffer.alloc(512), randomBytes(512)]) {
      const damaged = Buffer.from(bytes);
      damaged.set(fill, entries[1]!.offsetBytes + 700_000);
      const found = await scan(damaged);
      expect(found.entries).toEqual([entries[0], entries[2], entries[3]]);
      const hole = ends(entries[1]!) - entries[1]!.headerOffsetBytes;
      expect(found.holes).toEqual([{ offsetBytes: entries[1]!.headerOffsetBytes, lengthBytes: hole }]);
    }
  });

  it('that never got its header is empty', async () => {
    const { bytes } = packOf([5000], true);
    bytes.fill(0, 0, 256);
    expect(await scan(bytes)).toMatchObject({ entries: [], holes: [], endBytes: 0 });
  });

  it('full of false beginnings is given up in bounded time', async () => {
    const header = encodeLocalHeader({ name: '1.dcm', crc32: 1, lengthBytes: 100_000, dosTime: 0 });
    const bytes = Buffer.concat([...Array.from({ length: 5000 }, () => header), randomBytes(200_000)]);
    expect(await scan(bytes)).toMatchObject({ entries: [], endBytes: 0 });
  });
});
