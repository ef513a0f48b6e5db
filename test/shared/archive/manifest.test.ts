/**
 * Manifests: the same after writing and reading, small, quick, and damage is told.
 */
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BULK_DATA_PREFIX,
  decodeManifest,
  encodeManifest,
  type Manifest,
  type ManifestEntry,
} from '#shared/archive/manifest.ts';
import type { FrameLocation } from '#shared/dicom/frame-ranges.ts';

const entry = (i: number, change: Partial<ManifestEntry> = {}): ManifestEntry => ({
  sopInstanceUid: `1.2.3.${i}`,
  sopClassUid: '1.2.840.10008.5.1.4.1.1.2',
  transferSyntaxUid: '1.2.840.10008.1.2.1',
  digest: i.toString(16).padStart(64, '0'),
  offsetBytes: i * 525_000 + 100,
  lengthBytes: 524_900,
  dataSetOffsetBytes: 320,
  frames: { kind: 'native', offsetBytes: 600, frameBits: 4_194_304, count: 1 },
  bulk: { '7FE00010': { offsetBytes: 600, lengthBytes: 524_288, vr: 'OW' } },
  metadata: JSON.stringify({
    '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Müller^\n"x"', Ideographic: '山田' }] },
    '7FE00010': { vr: 'OW', BulkDataURI: `${BULK_DATA_PREFIX}7FE00010` },
  }),
  ...change,
});

const manifest = (entries: readonly ManifestEntry[]): Manifest => ({
  tenant: 'hospital',
  studyInstanceUid: '1.2.3',
  seriesInstanceUid: '1.2.3.4',
  packId: '01900000-0000-7000-8000-000000000000',
  sha256: 'a'.repeat(64),
  lengthBytes: 12_345,
  entries,
});

/** Such as is stored as it is, where nothing else would notice a change. */
const randomText = randomBytes(200).toString('base64');

describe('a manifest', () => {
  it('is read back as it was written, with every kind of frames', async () => {
    const frames = [
      { offsetBytes: 1000, lengthBytes: 50, fragments: 1 },
      { offsetBytes: 1058, lengthBytes: 2000, fragments: 3 },
      { offsetBytes: 900, lengthBytes: 8, fragments: 1 },
      { offsetBytes: 5000, lengthBytes: 90_000, fragments: 1, prefixes: [300, 2_000, 20_000] },
    ];
    const whole = manifest([
      entry(0),
      entry(1, { frames: { kind: 'encapsulated', frames } }),
      entry(2, { frames: { kind: 'deflated', offsetBytes: 10, frameBits: 1, count: 7 }, bulk: {} }),
      entry(3, { frames: { kind: 'none' }, metadata: '{}' }),
    ]);
    expect(await decodeManifest(await encodeManifest(whole))).toEqual(whole);
    expect(await decodeManifest(await encodeManifest(manifest([])))).toEqual(manifest([]));
  });

  it('names the prefixes of frames beside what readers that do not know them read', async () => {
    const frame = { offsetBytes: 1000, lengthBytes: 90_000, fragments: 1 };
    const bytesOf = (frames: FrameLocation[]): Promise<Uint8Array> =>
      encodeManifest(manifest([entry(0, { frames: { kind: 'encapsulated', frames } })]));
    const locatorsOf = async (frames: FrameLocation[]): Promise<Record<string, unknown>> =>
      JSON.parse((await promisify(zstdDecompress)(await bytesOf(frames))).toString('utf8').split('\n')[1] ?? '');
    const numbers = [1000, 90_000, 1, 0, 90_000, 1];
    const next = { ...frame, offsetBytes: 91_000 };
    expect((await locatorsOf([frame, next])).frames).toEqual({ kind: 'encapsulated', numbers });
    const known = await locatorsOf([frame, { ...next, prefixes: [300, 2_000] }]);
    expect(known.frames).toEqual({ kind: 'encapsulated', numbers, prefixes: { 1: [300, 2_000] } });
  });

  it('keeps any frame table and any text', async () => {
    const frame = fc.record({
      offsetBytes: fc.nat(2 ** 40),
      lengthBytes: fc.nat(2 ** 31),
      fragments: fc.integer({ min: 1, max: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 20 }), fc.string({ unit: 'binary' }), async (frames, text) => {
        const whole = manifest([
          entry(0, { frames: { kind: 'encapsulated', frames }, metadata: JSON.stringify({ text }) }),
        ]);
        expect(await decodeManifest(await encodeManifest(whole))).toEqual(whole);
      }),
      { numRuns: 20 },
    );
  });

  it('says when it is damaged, and never more', async () => {
    const bytes = await encodeManifest(manifest([entry(0), entry(1)]));
    const damaged: Uint8Array[] = [new Uint8Array(), randomBytes(100), bytes.subarray(0, bytes.length - 3)];
    for (const text of [
      '',
      'x',
      '{}',
      '{"format":2,"entries":0}\n',
      '{"format":1,"entries":1}\n',
      '{"format":1,"entries":0}\nmore\n',
      'null\n',
    ])
      damaged.push(await promisify(zstdCompress)(Buffer.from(text)));
    for (const bad of damaged) await expect(decodeManifest(bad)).rejects.toMatchObject({ code: 'damaged' });
  });

  it('is never taken for another one when a bit of it has flipped', async () => {
    const whole = manifest([entry(0), entry(1), entry(2, { metadata: JSON.stringify({ text: randomText }) })]);
    const bytes = await encodeManifest(whole);
    for (let at = 0; at < bytes.length; at++) {
      const bad = Uint8Array.from(bytes);
      bad[at]! ^= 1 << (at % 8);
      const decoded = await decodeManifest(bad).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'damaged' });
        return whole;
      });
      expect(decoded).toEqual(whole);
    }
  });

  it('of 3,000 slices is small, and reading it parses no metadata', async () => {
    const metadata = (i: number): string =>
      JSON.stringify(
        Object.fromEntries(
          Array.from({ length: 110 }, (_, tag) => [
            tag.toString(16).padStart(8, '0').toUpperCase(),
            { vr: 'DS', Value: [tag * 1.5, i] },
          ]),
        ),
      );
    const whole = manifest(Array.from({ length: 3000 }, (_, i) => entry(i, { metadata: metadata(i) })));
    const bytes = await encodeManifest(whole);
    expect(bytes.length).toBeLessThan(3000 * 300);
    const startedAt = performance.now();
    const again = await decodeManifest(bytes);
    console.info(
      `manifest of 3,000 entries: ${(bytes.length / 1024).toFixed(0)} KiB, decoded in ${(performance.now() - startedAt).toFixed(0)} ms`,
    );
    expect(again.entries[2999]).toEqual(whole.entries[2999]);
  });
});
