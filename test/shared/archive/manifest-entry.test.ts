/**
 * An entry that is made of one instance alone is the one that the manifest of its pack has: for every encoding, however
 * sloppy the object. Where another instance lies, there is an error and never its entry.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestKey } from '#shared/archive/keys.ts';
import { decodeManifest, type Manifest } from '#shared/archive/manifest.ts';
import { inspectEntry } from '#shared/archive/manifest-entry.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { codestreamOf } from '#test/shared/dicomweb/made-codestreams.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';

const series = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const jpeg = Buffer.from('ffd8ffe000104a46494600010100000100010000ffd9', 'hex');
const long = { tag: 0x00091010, vr: 'OB', value: Buffer.alloc(3 * 1024 * 1024, 7) };
const privateCreator = { tag: 0x00090010, vr: 'LO', value: 'ARCHIPEL TEST' };

const made = [
  makeInstance({ ...series }),
  makeInstance({ ...series, transferSyntaxUid: '1.2.840.10008.1.2' }),
  makeInstance({ ...series, transferSyntaxUid: '1.2.840.10008.1.2.2' }),
  makeInstance({ ...series, transferSyntaxUid: '1.2.840.10008.1.2.1.99' }),
  makeInstance({ ...series, frames: 5 }),
  makeInstance({ ...series, pixels: 'none' }),
  makeInstance({ ...series, extra: [privateCreator, long] }),
  makeInstance({ ...series, transferSyntaxUid: '1.2.840.10008.1.2.4.50', frames: 3, pixels: [jpeg, jpeg, jpeg] }),
  makeInstance({
    ...series,
    transferSyntaxUid: '1.2.840.10008.1.2.4.50',
    frames: 2,
    pixels: [jpeg, jpeg],
    offsetTable: 'empty',
  }),
];
/** Ends in the middle of its pixels. */
const cut = makeInstance({ ...series });

const side = 400;
const grain = Uint16Array.from({ length: side * side }, (_, i) => (Math.imul(i, 2654435761) >>> 20) & 0xfff);
const htj2k = await codestreamOf(
  new Uint8Array(grain.buffer),
  { rows: side, columns: side, bitsStored: 12 },
  '1.2.840.10008.1.2.4.202',
);
const progressive = makeInstance({
  ...series,
  transferSyntaxUid: '1.2.840.10008.1.2.4.202',
  rows: side,
  columns: side,
  frames: 2,
  pixels: [htj2k, Buffer.alloc(40_000, htj2k.subarray(0, 100))],
});

describe('an entry by itself', () => {
  let fixture: ArchiveFixture;
  let manifest: Manifest;
  const records: InstanceRecord[] = [];

  beforeAll(async () => {
    fixture = await makeArchive([...made.map(({ file }) => file), cut.file.subarray(0, -11), progressive.file]);
    const { index, packs } = fixture.archive;
    manifest = await decodeManifest(await packs.read(manifestKey(fixture.tenant, fixture.packs[0]!)));
    for (const { ref } of [...made, cut, progressive]) {
      const record = await index.getInstance(fixture.tenant, ref);
      if (record !== undefined) records.push(record);
    }
  });
  afterAll(() => fixture?.close());

  it('equals the one in the manifest of its pack', async () => {
    expect(records.length).toBe(made.length + 2);
    for (const record of records) {
      const entry = manifest.entries.find(({ offsetBytes }) => offsetBytes === record.offsetBytes);
      expect(await inspectEntry(fixture.archive.packs, record), record.transferSyntaxUid).toEqual(entry);
    }
  });

  it('says where the resolutions of an HTJ2K frame end, and nothing of a frame that is damaged', async () => {
    const { frames } = await inspectEntry(fixture.archive.packs, records.at(-1)!);
    if (frames.kind !== 'encapsulated') throw new Error('frames were not found');
    const [first, second] = frames.frames;
    expect(first?.prefixes?.length).toBe(5);
    for (const end of first?.prefixes ?? []) expect([htj2k[end], htj2k[end + 1]]).toEqual([0xff, 0x90]);
    expect(second).not.toHaveProperty('prefixes');
  });

  it('reads the header and skips what is long', async () => {
    const record = records[6]!;
    let readBytes = 0;
    const packs = {
      ...fixture.archive.packs,
      read: async (key: string, range?: { offsetBytes: number; lengthBytes: number }) => {
        const bytes = await fixture.archive.packs.read(key, range);
        readBytes += bytes.length;
        return bytes;
      },
    };
    const entry = await inspectEntry(packs, record);
    expect(entry.bulk['00091010']?.lengthBytes).toBe(long.value.length);
    expect(readBytes).toBeLessThan(512 * 1024);
  });

  it('is damage where another instance lies, or none', async () => {
    const [first, second] = records as [InstanceRecord, InstanceRecord];
    const { offsetBytes, lengthBytes, dataSetOffsetBytes } = second;
    const wrong = [
      { ...first, offsetBytes, lengthBytes, dataSetOffsetBytes },
      { ...first, seriesInstanceUid: first.seriesInstanceUid, sopInstanceUid: second.sopInstanceUid },
      { ...first, offsetBytes: first.offsetBytes + 2 },
      { ...first, dataSetOffsetBytes: first.dataSetOffsetBytes + 2 },
    ];
    for (const record of wrong)
      await expect(inspectEntry(fixture.archive.packs, record)).rejects.toMatchObject({ code: 'damaged' });
  });

  it('is not found in a pack that is not there', async () => {
    const record = { ...records[0]!, packId: '01900000-0000-7000-8000-000000000000' };
    await expect(inspectEntry(fixture.archive.packs, record)).rejects.toMatchObject({ code: 'not-found' });
  });
});
