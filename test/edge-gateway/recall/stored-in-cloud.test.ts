/**
 * What somebody stored into the cloud by STOW-RS, seen from a gateway: found by its search, fetched when it is retrieved, and kept.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createBatchReceiver } from '#functions/store/receiver.ts';
import { createStoreService } from '#functions/store/service.ts';
import { createDicomwebService } from '#shared/dicomweb/service.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { base, bytesOf } from '../../shared/dicomweb/ask.ts';
import { multipartOf, post, urlOf } from '../../shared/dicomweb/storing.ts';
import { openSite, tenant } from './recall-site.ts';

it('what was stored into the cloud is found, had and kept at a gateway, beside what is there of the same study', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-stored-'));
  const studyInstanceUid = freshUid();
  const [sent, ...stored] = Array.from({ length: 3 }, () => makeInstance({ studyInstanceUid, patientId: 'BOTH' }));
  const site = await openSite({ instances: [sent!.file] });
  const { archive } = site.cloud;
  const receiver = await createBatchReceiver({
    archive,
    scratchFolder: join(folder, 'scratch'),
    scratchBytes: 1024 ** 2,
    nowMs: Date.now,
    log: silentLogger,
  });
  const common = { render: renderFrame, transcode: transcodeFrame, log: silentLogger };
  try {
    await site.bringHere(await archive.index.listPacks(site.cloud.tenant, { studyInstanceUid }));
    const cloud = createStoreService({ ...common, archive, receiver, tenantOf: () => site.cloud.tenant });
    const lan = createDicomwebService({ ...common, archive: site.recall.archive, tenantOf: () => tenant });
    const answer = await post(cloud, '/studies', multipartOf(stored.map(({ file }) => file)));
    expect(answer.status).toBe(200);

    const found = (await (await lan(new Request(`${base}/studies?PatientID=BOTH`))).json()) as unknown[];
    expect(found).toMatchObject([{ '00201208': { Value: [3] }, '00080056': { Value: ['NEARLINE'] } }]);
    for (const made of stored) {
      const headers = { accept: 'application/dicom; transfer-syntax=*' };
      const file = await bytesOf(await lan(new Request(urlOf(made), { headers })));
      expect(Buffer.compare(file.subarray(144 + file.readUInt32LE(140)), made.dataSet)).toBe(0);
      expect(await site.index.getInstance(tenant, made.ref)).toMatchObject({ digest: made.digest });
    }
  } finally {
    await receiver.close();
    await site.close();
    rmSync(folder, { recursive: true });
  }
});
