/**
 * The contract of grants, held by the store of one machine and by S3. What only one of them does is test/infra/local/signed-urls.test.ts,
 * part-store.test.ts and test/functions/aws/s3-grants.test.ts.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createS3Grants } from '#functions/aws/s3-grants.ts';
import { createS3PackStore } from '#functions/aws/s3-pack-store.ts';
import { createObjectStore } from '#infra/local/object-store.ts';
import { createPartStore } from '#infra/local/part-store.ts';
import { createSignedUrls } from '#infra/local/signed-urls.ts';
import { silentLogger } from '#shared/log.ts';
import { exchange } from '#test/support/s3/exchange.ts';
import { startTestS3 } from '#test/support/s3/server.ts';
import { grantsContract } from './grants.ts';

function clock() {
  let aheadMs = 0;
  return {
    nowMs: () => Date.now() + aheadMs,
    pass: (ms: number) => {
      aheadMs += ms;
    },
  };
}

grantsContract('those of one machine', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'archipel-grants-'));
  const { nowMs, pass } = clock();
  const packs = createDiskPackStore({ root: join(folder, 'packs') });
  const urls = createSignedUrls(folder, () => 'http://cloud');
  const shared = { packs, urls, arrived: async () => {}, nowMs, log: silentLogger };
  const parts = createPartStore({ ...shared, folder: join(folder, 'uploads') });
  const objects = createObjectStore({ ...shared, parts });
  return {
    packs,
    grantUpload: async (...args) => urls.signPut(...args),
    grantRead: async (...args) => urls.signGet(...args),
    multipart: parts,
    nowMs,
    pass,
    async send(method, url, headers, body) {
      const request = new Request(url, {
        method,
        headers: { ...headers, ...(body && { 'content-length': String(body.length) }) },
        ...(body && { body: body as Uint8Array<ArrayBuffer> }),
      });
      const response = await objects(request);
      return { status: response.status, bytes: Buffer.from(await response.arrayBuffer()) };
    },
    cleanup: () => rm(folder, { recursive: true, force: true }),
  };
});

grantsContract('those of S3', async () => {
  const { nowMs, pass } = clock();
  const s3 = await startTestS3({ nowMs });
  const options = { bucket: s3.bucketName, client: s3.client };
  const packs = createS3PackStore({ ...options, client: { ...s3.client } });
  const grants = createS3Grants({ ...options, nowMs });
  return {
    ...grants,
    packs,
    nowMs,
    pass,
    send: exchange,
    async cleanup() {
      packs.close();
      grants.close();
      await s3.close();
    },
  };
});
