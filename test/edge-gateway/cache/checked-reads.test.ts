/** An instance that has changed on the disk is not given out whole, however it is read; everything else is as it was. */
import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checkedReads } from '#edge-gateway/cache/checked-reads.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange } from '#shared/archive/records.ts';
import { oneSeries, Receiving, TENANT } from './receiving.ts';

async function gathered(packs: PackStore, key: string, range?: ByteRange): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of await packs.stream(key, range)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function packOf(at: Receiving, instances: number) {
  const series = oneSeries();
  for (let i = 0; i < instances; i++) await at.stored({ ...series, rows: 40 + i * 7, columns: 64 });
  await at.receiver.flush();
  const [pack] = await at.index.listPacks(TENANT, series);
  const { items } = await at.index.listInstances(TENANT, series, { limit: 100 });
  const key = packKey(TENANT, pack!);
  const path = at.store.pathOf(key);
  const entries = items.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  return { pack: pack!, key, path, entries, bytes: readFileSync(path) };
}

it('gives every range of a healthy pack as it lies, at once or as a stream', async () => {
  await using at = await Receiving.start();
  const { key, bytes } = await packOf(at, 4);
  const packs = checkedReads(at.store, () => {
    throw new Error('nothing is wrong');
  });
  expect((await gathered(packs, key)).equals(bytes)).toBe(true);
  expect(Buffer.from(await packs.read(key)).equals(bytes)).toBe(true);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length), fc.nat(bytes.length), async (a, b) => {
      const [offsetBytes, end] = [Math.min(a, b), Math.max(a, b)];
      const range = { offsetBytes, lengthBytes: end - offsetBytes };
      const expected = bytes.subarray(offsetBytes, end);
      expect(Buffer.from(await packs.read(key, range)).equals(expected)).toBe(true);
      expect((await gathered(packs, key, range)).equals(expected)).toBe(true);
    }),
    { numRuns: 40 },
  );
});

it('fails before the end of an instance that has rotted, and says which pack; its neighbours are read', async () => {
  await using at = await Receiving.start();
  const { pack, key, path, entries, bytes } = await packOf(at, 4);
  const [first, second, third] = entries;
  const bad = Buffer.from(bytes);
  const place = second!.offsetBytes + second!.lengthBytes - 3;
  bad[place] = bad[place]! ^ 1;
  writeFileSync(path, bad);
  const suspects: string[] = [];
  const packs = checkedReads(at.store, ({ packId }) => suspects.push(packId));
  for (const good of [first!, third!]) {
    const range = { offsetBytes: good.offsetBytes, lengthBytes: good.lengthBytes };
    const expected = bytes.subarray(good.offsetBytes, good.offsetBytes + good.lengthBytes);
    expect(Buffer.from(await packs.read(key, range)).equals(expected)).toBe(true);
    expect((await gathered(packs, key, range)).equals(expected)).toBe(true);
  }
  expect(suspects).toEqual([]);
  const spoilt = { offsetBytes: second!.offsetBytes, lengthBytes: second!.lengthBytes };
  const run = { offsetBytes: first!.offsetBytes, lengthBytes: place + 3 - first!.offsetBytes };
  await expect(packs.read(key, spoilt)).rejects.toMatchObject({ code: 'damaged' });
  for (const range of [spoilt, run, undefined])
    await expect(gathered(packs, key, range)).rejects.toMatchObject({ code: 'damaged' });
  expect(suspects).toEqual(Array(4).fill(pack.packId));
  await at.store.delete(key);
  await expect(packs.read(key, spoilt)).rejects.toMatchObject({ code: 'not-found' });
  expect(suspects).toHaveLength(5);
});

it('reads instances of a pack that is still open, and manifests, as ever', async () => {
  await using at = await Receiving.start();
  const made = await at.stored();
  await expect.poll(() => at.index.getInstance(TENANT, made.ref)).toBeDefined();
  const record = (await at.index.getInstance(TENANT, made.ref))!;
  const packs = checkedReads(at.store, () => {});
  const file = await packs.read(packKey(TENANT, record), record);
  expect(Buffer.from(file.subarray(record.dataSetOffsetBytes)).equals(made.dataSet)).toBe(true);
});
