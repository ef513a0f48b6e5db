/**
 * Keys and packIds: what they are made of, that they sort by time, and that nothing a sender writes leads out of the store.
 */
/**
 * Keys and pack identifiers: what may become part of a path, and what never does.
 */
import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isPackId,
  isStoreKey,
  isTenant,
  keyPartOf,
  manifestKey,
  newPackId,
  packIdBefore,
  packIdTimeMs,
  packKey,
  parsePackKey,
} from '#shared/archive/keys.ts';

const packId = newPackId(1_763_750_000_123, randomBytes(10));
const ref = { studyInstanceUid: '1.2.840.1', seriesInstanceUid: '1.2.840.1.2', packId };

describe('packId', () => {
  it('is a UUIDv7 that carries its time', () => {
    expect(isPackId(packId)).toBe(true);
    expect(packIdTimeMs(packId)).toBe(1_763_750_000_123);
    expect(newPackId(0, new Uint8Array(10).fill(255))).toBe('00000000-0000-7fff-bfff-ffffffffffff');
  });

  it('sorts by the time of its making', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31), fc.nat(2 ** 31), fc.uint8Array({ minLength: 10, maxLength: 10 }), (a, b, random) => {
        const [x, y] = [newPackId(a, random), newPackId(b, random)];
        expect(Math.sign(a - b)).toBe(x < y ? -1 : x > y ? 1 : 0);
      }),
    );
  });

  it('has one directly before it, of the same millisecond', () => {
    expect(packIdBefore('00000000-0001-7001-8000-000000000000')).toBe('00000000-0001-7000-bfff-ffffffffffff');
    expect(packIdBefore(newPackId(0, new Uint8Array(10).fill(255)))).toBe('00000000-0000-7fff-bfff-fffffffffffe');
    expect(() => packIdBefore('00000000-0001-7000-8000-000000000000')).toThrow(RangeError);
    fc.assert(
      fc.property(fc.nat(2 ** 31), fc.uint8Array({ minLength: 10, maxLength: 10 }), (ms, random) => {
        fc.pre(random.some((byte, i) => i > 2 && byte > 0));
        const id = newPackId(ms, random);
        const before = packIdBefore(id);
        expect([isPackId(before), before < id, packIdTimeMs(before)]).toEqual([true, true, packIdTimeMs(id)]);
      }),
    );
  });

  it('is recognised strictly', () => {
    for (const bad of ['', packId.toUpperCase(), `${packId} `, packId.replaceAll('-', ''), `../${packId}`])
      expect(isPackId(bad)).toBe(bad === packId);
    expect(() => newPackId(0, new Uint8Array(9))).toThrow(RangeError);
  });
});

describe('keys', () => {
  it('name a pack and its manifest', () => {
    expect(packKey('hospital', ref)).toBe(`hospital/1.2.840.1/1.2.840.1.2/${packId}.zip`);
    expect(manifestKey('hospital', ref)).toBe(`hospital/1.2.840.1/1.2.840.1.2/${packId}.manifest.zst`);
    expect(parsePackKey(packKey('hospital', ref))).toEqual({ tenant: 'hospital', ref });
    expect(parsePackKey(manifestKey('hospital', ref))).toBeUndefined();
    expect(isStoreKey(manifestKey('hospital', ref))).toBe(true);
  });

  it('never hold what is not a valid UID', () => {
    const hostile = { ...ref, studyInstanceUid: '../../etc', seriesInstanceUid: '1.2/3\0' };
    const key = packKey('hospital', hostile);
    expect(key).toMatch(/^hospital\/x[0-9a-f]{32}\/x[0-9a-f]{32}\/[0-9a-f-]{36}\.zip$/);
    const parsed = parsePackKey(key);
    expect(parsed && packKey(parsed.tenant, parsed.ref)).toBe(key);
  });

  it('stay below their root, whatever a sender wrote', () => {
    const nasty = fc.oneof(
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc.constantFrom('..', '.', '', 'CON', '%2e%2e', '1..2', '1.2.', 'x'.repeat(33), '9'.repeat(65)),
    );
    fc.assert(
      fc.property(nasty, nasty, (study, series) => {
        const key = packKey('t', { studyInstanceUid: study, seriesInstanceUid: series, packId });
        expect(posix.normalize(`/root/${key}`)).toBe(`/root/${key}`);
        expect(isStoreKey(key)).toBe(true);
        expect(key.split('/')).toHaveLength(4);
      }),
    );
  });

  it('are parsed only when they could have been made', () => {
    const key = packKey('hospital', ref);
    const changed = fc
      .tuple(fc.nat(key.length), fc.constantFrom('/', '.', '\0', '%', '\\', ' ', '..', 'A', '~'))
      .map(([at, text]) => key.slice(0, at) + text + key.slice(at));
    fc.assert(
      fc.property(fc.oneof(fc.string(), changed), (text) => {
        const parsed = parsePackKey(text);
        if (parsed !== undefined) expect(packKey(parsed.tenant, parsed.ref)).toBe(text);
      }),
    );
  });

  it('belong to tenants with harmless names', () => {
    for (const good of ['a', 'st-anna', '0', 'a'.repeat(63)]) expect(isTenant(good)).toBe(true);
    for (const bad of ['', '-a', 'A', 'a/b', '..', 'a'.repeat(64), 'a_b', 'ä']) expect(isTenant(bad)).toBe(false);
    expect(() => packKey('..', ref)).toThrow(RangeError);
    expect(() => packKey('a', { ...ref, packId: '..' })).toThrow(RangeError);
  });

  it('leave a key part as it is', () => {
    expect(keyPartOf('1.2.3')).toBe('1.2.3');
    expect(keyPartOf(keyPartOf('no uid'))).toBe(keyPartOf('no uid'));
    expect(keyPartOf('no uid')).not.toBe(keyPartOf('no uid '));
  });
});
