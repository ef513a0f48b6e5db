/** What is in safe keeping: every version that came under the UIDs, and nothing that the cloud has lost. */
import { expect, it, onTestFinished } from 'vitest';
import { findingsFor, type SafekeepingOptions } from '#edge-gateway/commitment/safekeeping.ts';
import { packRefOf } from '#shared/archive/keys.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

async function holding(...instances: MadeInstance[]): Promise<ArchiveFixture> {
  const fixture = await makeArchive(instances.map(({ file }) => file));
  onTestFinished(fixture.close);
  return fixture;
}

function find(fixture: ArchiveFixture, of: MadeInstance, options: Partial<SafekeepingOptions> = {}) {
  const reference = {
    commitmentId: 1,
    position: 0,
    sopClassUid: of.sopClassUid,
    sopInstanceUid: of.ref.sopInstanceUid,
  };
  const { index, tenant } = fixture;
  const disk = { digest: async () => undefined };
  return findingsFor([reference], { index, tenant, mode: 'cloud', disk, log: silentLogger, ...options });
}

it('wants every version of an instance safe: whoever sent other bytes under its UIDs means his', async () => {
  const first = makeInstance();
  const fixture = await holding(first);
  const { index, tenant } = fixture;
  await fixture.add([makeInstance({ ...first.ref, sopClassUid: first.sopClassUid, patientName: 'Other^Bytes' }).file]);
  const flagged = (await index.getVersions(tenant, first.ref)).find(({ state }) => state === 'conflict')!;
  await index.updatePack(tenant, packRefOf(flagged), ['archived'], { state: 'sent' });
  expect(await find(fixture, first)).toMatchObject([{ packs: [{ packId: flagged.packId }] }]);
  await index.updatePack(tenant, packRefOf(flagged), ['sent'], { state: 'rejected' });
  expect(await find(fixture, first)).toMatchObject([{ reason: 0x0110 }]);
  await index.updatePack(tenant, packRefOf(flagged), ['rejected'], { state: 'archived' });
  expect(await find(fixture, first)).toMatchObject([{ reason: 0 }]);
});

it.each(['cloud', 'edge'] as const)('says 0110H of what the cloud has archived and lost (%s)', async (mode) => {
  const made = makeInstance();
  const fixture = await holding(made);
  const [pack] = fixture.packs;
  await fixture.index.updatePack(fixture.tenant, pack!, ['archived'], { evictedAtMs: 1 });
  expect(await find(fixture, made, { mode })).toMatchObject([{ reason: 0 }]);
  const isLost = ({ packId }: { packId: string }): boolean => packId === pack!.packId;
  expect(await find(fixture, made, { mode, isLost })).toMatchObject([{ reason: 0x0110 }]);
});
