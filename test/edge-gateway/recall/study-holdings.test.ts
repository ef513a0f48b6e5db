/** What the cloud holds, made known here: as far as it is archived and what was asked about, and never in place of what is here. */
import { expect, it, onTestFinished } from 'vitest';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { openSite, tenant } from './recall-site.ts';

it('does not take the place of what is here while the cloud has not archived it, nor when it is of something else', async () => {
  const instance = makeInstance();
  const site = await openSite({ instances: [instance.file] });
  onTestFinished(site.close);
  await site.cloud.add([instance.file]);
  const [earlier, ours] = site.cloud.packs;
  // In the cloud's index and not archived: its ingest was broken off half-way.
  await site.cloud.index.updatePack(site.cloud.tenant, earlier!, ['archived'], { state: 'sealed' });
  await site.bringHere([ours!]);
  await site.index.updatePack(tenant, ours!, ['archived'], { state: 'sealed' });
  await site.recall.archive.index.getVersions(tenant, instance.ref);
  expect((await site.index.getInstance(tenant, instance.ref))?.packId).toBe(ours!.packId);
  // A cloud that answers about another study than it was asked about.
  const other = makeInstance();
  await site.cloud.add([other.file]);
  await site.cloud.index.updatePack(site.cloud.tenant, earlier!, ['sealed'], { state: 'archived' });
  site.trick = (request, answer) =>
    new URL(request.url).pathname === '/gateway/instances'
      ? (async () => {
          const { items } = (await (await answer()).json()) as { items: object[] };
          return Response.json({ items: items.map((item) => ({ ...item, ...other.ref })) });
        })()
      : undefined;
  site.nowMs += 3_600_000;
  await site.recall.archive.index.getStudy(tenant, instance.ref);
  await site.recall.archive.index.getVersions(tenant, instance.ref);
  expect(await site.index.getVersions(tenant, other.ref)).toEqual([]);
});
