/** An index that was lost, or is older than the packs beside it: what was acknowledged is found again and goes to the cloud. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { findUnknownPacks } from '#edge-gateway/cache/unknown-packs.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import type { MadeInstance } from '#test/support/dicom-factory.ts';
import { oneSeries, Receiving, rival, sealedFiles, TENANT } from './receiving.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-unknown-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const loseIndex = (): void => {
  for (const name of ['index.sqlite', 'index.sqlite-wal', 'index.sqlite-shm'])
    rmSync(join(folder, name), { force: true });
};

async function look(at: Receiving): Promise<PackRecord[]> {
  const found: PackRecord[] = [];
  const unknown = findUnknownPacks({
    tenant: TENANT,
    index: at.index,
    packs: at.store,
    root: join(folder, 'packs'),
    isBusy: () => false,
    found: (pack) => found.push(pack),
    log: silentLogger,
  });
  await unknown.done;
  return found;
}

/** Three packs: two of a series, with a conflict in the second, and one of another series. */
async function fill(): Promise<{ made: MadeInstance[]; sealed: PackRecord[] }> {
  await using at = await Receiving.start({}, folder);
  const series = oneSeries();
  const made = [await at.stored(series), await at.stored(series)];
  await at.receiver.flush();
  const other = rival(made[0]!);
  expect(await at.send(other)).toMatchObject({ kind: 'conflict' });
  made.push(await at.stored(series), await at.stored());
  await at.receiver.flush();
  expect(await look(at)).toEqual([]);
  return { made: [...made, other], sealed: at.sealed };
}

it('takes up again every pack when the index is lost, as it was sealed, and only once', async () => {
  const { made, sealed } = await fill();
  loseIndex();
  await using at = await Receiving.start({}, folder);
  expect(await at.index.getInstance(TENANT, made[0]!.ref)).toBeUndefined();
  const found = await look(at);
  expect(
    found.map(({ packId, sha256, instanceCount, state }) => ({ packId, sha256, instanceCount, state })).sort(byId),
  ).toEqual(
    sealed.map(({ packId, sha256, instanceCount }) => ({ packId, sha256, instanceCount, state: 'sealed' })).sort(byId),
  );
  for (const { ref, digest, dataSet } of made) {
    const versions = await at.index.getVersions(TENANT, ref);
    expect(versions.some((version) => version.digest === digest)).toBe(true);
    if (versions.length === 1) expect((await at.dataSet(ref))?.equals(dataSet)).toBe(true);
  }
  expect(await at.index.getVersions(TENANT, made[0]!.ref)).toHaveLength(2);
  expect((await at.index.packsInState(TENANT, 'sealed', { limit: 10 })).items).toHaveLength(3);
  expect(await look(at)).toEqual([]);
});

it('says of a pack that cannot be read again that it cannot, and leaves its file', async () => {
  const { sealed } = await fill();
  loseIndex();
  const [file] = sealedFiles(folder);
  const bytes = readFileSync(file!);
  bytes[600] = bytes[600]! ^ 1;
  writeFileSync(file!, bytes);
  await using at = await Receiving.start({}, folder);
  expect(await look(at)).toHaveLength(sealed.length - 1);
  const { items } = await at.index.packsInState(TENANT, 'rejected', { limit: 10 });
  expect(items).toMatchObject([{ reason: expect.stringContaining('did not know') }]);
  expect(readFileSync(file!).equals(bytes)).toBe(true);
});

const byId = (a: { packId: string }, b: { packId: string }): number => (a.packId < b.packId ? -1 : 1);
