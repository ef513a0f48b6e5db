/**
 * The contract of pack stores, held on S3: over the wire of a strict stand-in, or of the S3 that ARCHIPEL_S3_ENDPOINT names.
 */
import { createS3PackStore } from '#functions/aws/s3-pack-store.ts';
import { openTestBucket } from '#test/support/s3/bucket.ts';
import { packStoreContract } from './pack-store.ts';

packStoreContract('S3PackStore', async () => {
  const { bucket, client, close } = await openTestBucket();
  const store = createS3PackStore({ bucket, client });
  return {
    store,
    async cleanup() {
      store.close();
      await close();
    },
  };
});
