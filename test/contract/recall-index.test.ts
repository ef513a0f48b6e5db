/**
 * The gateway's index with a cloud behind it that has nothing keeps the contract of ArchiveIndex: what is here is answered as without
 * a cloud. What both have is merged-search.test.ts and recall.test.ts.
 */
import { openSite } from '#test/edge-gateway/recall/recall-site.ts';
import { archiveIndexContract } from './archive-index.ts';

archiveIndexContract('the index with the cloud behind it', async () => {
  const site = await openSite({ instances: [], inProcess: true });
  return { index: site.recall.archive.index, remove: () => site.close() };
});
