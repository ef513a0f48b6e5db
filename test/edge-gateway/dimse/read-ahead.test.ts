/** Reading ahead for retrievals: what is opened is always what was asked for, and a failure is that of its own instance. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';
import type { AcceptedContext } from '#edge-gateway/dimse/negotiation.ts';
import type { OutgoingDataSet } from '#edge-gateway/dimse/outgoing-data-set.ts';
import { ReadAhead } from '#edge-gateway/dimse/read-ahead.ts';
import { instancesOf, type StoredInstance, storedInstance } from '#edge-gateway/dimse/retrieve-selection.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { CT_IMAGE, EXPLICIT, IMPLICIT } from './raw-peer.ts';

const series = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const made = Array.from({ length: 4 }, () => makeInstance({ ...series, sopInstanceUid: freshUid() }));
const contexts: readonly AcceptedContext[] = [{ id: 1, abstractSyntax: CT_IMAGE, transferSyntaxUid: EXPLICIT }];
const decompressor = createDecompressor();

let fixture: ArchiveFixture;
let instances: readonly StoredInstance[];
beforeAll(async () => {
  fixture = await makeArchive(made.map(({ file }) => file));
  const found: StoredInstance[] = [];
  for await (const instance of instancesOf(fixture.archive.index, fixture.tenant, series))
    found.push(storedInstance(instance));
  instances = found;
});
afterAll(async () => {
  await fixture?.close();
  await decompressor.close();
});

const madeOf = ({ sopInstanceUid }: StoredInstance): MadeInstance =>
  made.find(({ ref }) => ref.sopInstanceUid === sopInstanceUid) as MadeInstance;
const bytesOf = ({ bytes }: OutgoingDataSet): Buffer => Buffer.from(bytes as Uint8Array);

/** The fixture's store, which tells of reads and can fail the one of an instance. */
function store(reads: string[], failing?: StoredInstance): PackStore {
  const { packs } = fixture.archive;
  return {
    ...packs,
    read: async (key, range) => {
      const instance = instances.find(({ offsetBytes }) => offsetBytes === range?.offsetBytes) as StoredInstance;
      reads.push(instance.sopInstanceUid);
      if (instance === failing) throw new ArchiveError('damaged', 'The pack ends too early.');
      return packs.read(key, range);
    },
  };
}

describe('reading ahead', () => {
  it('gives each data set once asked for, and reads the next one meanwhile', async () => {
    const reads: string[] = [];
    const ahead = new ReadAhead({ packs: store(reads), decompressor }, instances);
    for (const [i, instance] of instances.entries()) {
      const opened = await ahead.open(instance, EXPLICIT, contexts);
      expect(bytesOf(opened).equals(madeOf(instance).dataSet)).toBe(true);
      expect(reads).toHaveLength(Math.min(i + 2, instances.length));
    }
    expect(reads).toEqual(instances.map(({ sopInstanceUid }) => sopInstanceUid));
  });

  it('fails the instance that cannot be read, and no other', async () => {
    const [first, second, third] = instances as [StoredInstance, StoredInstance, StoredInstance];
    const ahead = new ReadAhead({ packs: store([], second), decompressor }, instances);
    await ahead.open(first, EXPLICIT, contexts);
    await expect(ahead.open(second, EXPLICIT, contexts)).rejects.toMatchObject({ code: 'damaged' });
    expect(bytesOf(await ahead.open(third, EXPLICIT, contexts)).equals(madeOf(third).dataSet)).toBe(true);
  });

  it('lets one be left out, and does not read what will have to be converted', async () => {
    const [first, , third] = instances as [StoredInstance, StoredInstance, StoredInstance];
    const reads: string[] = [];
    const ahead = new ReadAhead({ packs: store(reads), decompressor }, instances);
    await ahead.open(first, EXPLICIT, contexts);
    expect(bytesOf(await ahead.open(third, EXPLICIT, contexts)).equals(madeOf(third).dataSet)).toBe(true);
    const implicit = contexts.map((context) => ({ ...context, transferSyntaxUid: IMPLICIT }));
    reads.length = 0;
    const converted = await ahead.open(first, IMPLICIT, implicit);
    expect(bytesOf(converted).equals(madeOf(first).dataSet)).toBe(false);
    expect(reads).toEqual([first.sopInstanceUid]);
  });
});
