/**
 * The ZIP format of packs: read back by us, by unzip and by Python, with every bit flipped and at every cut.
 */
/**
 * The ZIP format of packs, against other readers of ZIP files and against damage.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  checkDirectory,
  decodeLocalHeader,
  dosTimeOf,
  encodeDirectory,
  encodeLocalHeader,
  type PackEntry,
  RESERVED_HEADER_BYTES,
} from '#shared/archive/pack.ts';
import { PackScanner } from '#shared/archive/pack-scan.ts';
import { isArchiveError } from '#shared/errors.ts';

const dosTime = dosTimeOf(Date.UTC(2026, 10, 21, 18, 30, 14));

function makePack(
  contents: readonly Uint8Array[],
  options: { reserved?: boolean } = {},
): { bytes: Buffer; entries: PackEntry[] } {
  const parts: Uint8Array[] = [];
  const entries: PackEntry[] = [];
  let at = 0;
  for (const [i, data] of contents.entries()) {
    const entry = { name: `1.2.3.${i}.dcm`, crc32: crc32(data), lengthBytes: data.length, dosTime };
    const header = encodeLocalHeader(entry, options);
    parts.push(header, data);
    entries.push({ ...entry, headerOffsetBytes: at, offsetBytes: at + header.length });
    at += header.length + data.length;
  }
  parts.push(encodeDirectory(entries, at));
  return { bytes: Buffer.concat(parts), entries };
}

function scan(bytes: Uint8Array, chunkBytes = bytes.length): { entries: readonly PackEntry[]; contents: Buffer[] } {
  const contents: Buffer[] = [];
  let parts: Buffer[] = [];
  const scanner = new PackScanner({
    begin: () => {
      parts = [];
    },
    data: (part) => parts.push(Buffer.from(part)),
    end: () => contents.push(Buffer.concat(parts)),
  });
  for (let at = 0; at < bytes.length; at += chunkBytes) scanner.push(bytes.subarray(at, at + chunkBytes));
  return { entries: scanner.end(), contents };
}

const folder = mkdtempSync(join(tmpdir(), 'archipel-pack-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const has = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;

describe('a pack', () => {
  const contents = [randomBytes(1000), randomBytes(1), Buffer.alloc(0), randomBytes(70_000)];

  it('is read back as it was written, in whatever chunks it comes', () => {
    for (const reserved of [false, true]) {
      const { bytes, entries } = makePack(contents, { reserved });
      for (const chunkBytes of [bytes.length, 1, 7, 64, 30_000]) {
        const read = scan(bytes, chunkBytes);
        expect(read.entries).toEqual(entries);
        expect(read.contents.map((content, i) => Buffer.compare(content, contents[i] as Buffer))).toEqual([0, 0, 0, 0]);
      }
    }
  });

  it.skipIf(!has('unzip', '-v'))('is a ZIP file to unzip', () => {
    for (const reserved of [false, true]) {
      const file = join(folder, `unzip-${reserved}.zip`);
      writeFileSync(file, makePack(contents, { reserved }).bytes);
      expect(execFileSync('unzip', ['-t', file], { encoding: 'utf8' })).toContain('No errors detected');
      expect(execFileSync('unzip', ['-Z', '-T', file, '1.2.3.0.dcm'], { encoding: 'utf8' })).toMatch(
        /-rw-r--r--.*stor.*20261121\.183014/,
      );
    }
  });

  it.skipIf(!has('python3', '-c', 'import zipfile'))('is a ZIP file to Python', () => {
    const file = join(folder, 'python.zip');
    writeFileSync(file, makePack(contents, { reserved: true }).bytes);
    const program =
      'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), len(z.read("1.2.3.3.dcm")))';
    expect(execFileSync('python3', ['-c', program, file], { encoding: 'utf8' }).trim()).toBe('None 70000');
  });

  it('with more than 65,535 entries is ZIP64', () => {
    const { bytes, entries } = makePack(Array.from({ length: 65_600 }, () => Buffer.from('x')));
    expect(scan(bytes).entries).toHaveLength(entries.length);
    if (!has('unzip', '-v')) return;
    const file = join(folder, 'many.zip');
    writeFileSync(file, bytes);
    expect(execFileSync('unzip', ['-tq', file], { encoding: 'utf8' })).toContain('No errors detected');
  });

  it('is refused with every single bit flipped', () => {
    const { bytes } = makePack([randomBytes(20), randomBytes(3)]);
    const harmless = new Set<number>();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      try {
        scan(damaged);
        harmless.add(bit >> 3);
      } catch (error) {
        expect(isArchiveError(error, 'damaged'), String(error)).toBe(true);
      }
    }
    // Time stamps, versions, attributes, disk numbers: nothing that says which bytes are whose.
    expect(harmless.size).toBeLessThan(120);
  });

  it('is refused when it is cut anywhere or continued', () => {
    const { bytes } = makePack([randomBytes(20), randomBytes(3)]);
    for (let length = 0; length < bytes.length; length++)
      expect(() => scan(bytes.subarray(0, length), 13)).toThrow(expect.objectContaining({ code: 'damaged' }));
    for (const more of [1, 10_000])
      expect(() => scan(Buffer.concat([bytes, Buffer.alloc(more)]))).toThrow(
        expect.objectContaining({ code: 'damaged' }),
      );
  });

  it('never makes the reader fail in another way, whatever the bytes', () => {
    const { bytes } = makePack([randomBytes(40), randomBytes(3)]);
    const garbled = fc.tuple(fc.nat(bytes.length), fc.uint8Array({ maxLength: 40 })).map(([at, patch]) => {
      const copy = Buffer.from(bytes);
      copy.set(patch.subarray(0, copy.length - at), at);
      return copy;
    });
    fc.assert(
      fc.property(
        fc.oneof(garbled, fc.uint8Array({ maxLength: 300 })),
        fc.integer({ min: 1, max: 50 }),
        (data, chunk) => {
          try {
            scan(data, chunk);
          } catch (error) {
            if (!isArchiveError(error, 'damaged')) throw error;
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('headers', () => {
  it('hold lengths and offsets beyond 4 GiB', () => {
    for (const reserved of [false, true]) {
      const entry = { name: '1.2.dcm', crc32: 0xdeadbeef, lengthBytes: 5 * 2 ** 30 + 7, dosTime };
      const header = encodeLocalHeader(entry, { reserved });
      expect(decodeLocalHeader(header)).toEqual({ ...entry, headerLengthBytes: header.length });
    }
    const entries: PackEntry[] = [
      { name: 'a', crc32: 1, lengthBytes: 2 ** 32 - 1, dosTime, headerOffsetBytes: 0, offsetBytes: 51 },
      { name: 'b', crc32: 2, lengthBytes: 10, dosTime, headerOffsetBytes: 2 ** 32 + 50, offsetBytes: 2 ** 32 + 81 },
    ];
    const directory = encodeDirectory(entries, 2 ** 32 + 91);
    expect(() => checkDirectory(directory, entries, 2 ** 32 + 91)).not.toThrow();
    expect(() => checkDirectory(directory, entries, 2 ** 32 + 90)).toThrow();
    expect(() =>
      checkDirectory(directory, [{ ...entries[0]!, lengthBytes: 2 ** 33 }, entries[1]!], 2 ** 32 + 91),
    ).toThrow();
  });

  it('have one length when it is reserved', () => {
    for (const name of ['1.dcm', `${'9'.repeat(64)}.dcm`, `x${'0'.repeat(32)}.dcm`]) {
      for (const lengthBytes of [0, 2 ** 33]) {
        const header = encodeLocalHeader({ name, crc32: 0, lengthBytes, dosTime }, { reserved: true });
        expect(header).toHaveLength(RESERVED_HEADER_BYTES);
      }
    }
  });

  it('are told from anything else', () => {
    expect(decodeLocalHeader(Buffer.alloc(256))).toBeUndefined();
    expect(decodeLocalHeader(Buffer.alloc(0))).toBeUndefined();
    const header = encodeLocalHeader({ name: '1.dcm', crc32: 0, lengthBytes: 1, dosTime });
    for (let length = 0; length < header.length; length++)
      expect(decodeLocalHeader(header.subarray(0, length))).toBeUndefined();
  });
});
