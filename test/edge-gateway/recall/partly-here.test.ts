/**
 * A study of which only some packs are on the gateway's disk, while the cloud is away: what there is is given, and said to be a part.
 */
import { afterEach, expect, it } from 'vitest';
import { createDicomwebService } from '#shared/dicomweb/service.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { until } from '#test/support/system.ts';
import { openSite, type Site, tenant } from './recall-site.ts';

let site: Site;
afterEach(() => site.close());

it('is given with 206 and a Warning, and whole again when the cloud is back', async () => {
  const studyInstanceUid = freshUid();
  const instances = [freshUid(), freshUid(), freshUid()].flatMap((seriesInstanceUid) =>
    [1, 2].map((instanceNumber) => makeInstance({ studyInstanceUid, seriesInstanceUid, instanceNumber }).file),
  );
  site = await openSite({ instances });
  const lan = createDicomwebService({
    archive: site.recall.archive,
    tenantOf: () => tenant,
    render: renderFrame,
    transcode: transcodeFrame,
    log: silentLogger,
  });
  const get = () => lan(new Request(`http://gateway/dicomweb/studies/${studyInstanceUid}`));
  await site.bringHere(site.cloud.packs);
  await site.evict(site.cloud.packs.slice(1));
  await site.stopCloud();
  const part = await get();
  expect([part.status, part.headers.get('retry-after')]).toEqual([206, '30']);
  expect(part.headers.get('warning')).toMatch(/"4 of 6 instances cannot be given now: The cloud archive cannot/);
  expect((await part.text()).match(/Content-Location: /g)).toHaveLength(2);

  await site.startCloud();
  await until('the cloud to be noticed', 10_000, async () => site.recall.report().cloudAnswers);
  const whole = await get();
  expect([whole.status, whole.headers.get('warning')]).toEqual([200, null]);
  expect((await whole.text()).match(/Content-Location: /g)).toHaveLength(6);
});
