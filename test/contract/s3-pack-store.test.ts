/**
 * The contract of pack stores, held on S3: over the wire of a strict stand-in.
 */
import { createS3PackStore } from '#functions/aws/s3-pack-store.ts';
import { startTestS3 } from '#test/support/s3/server.ts';
import { packStoreContract } from './pack-store.ts';

packStoreContract('S3PackStore', async () => {
  const s3 = await startTestS3();
  const store = createS3PackStore({ bucket: s3.bucketName, client: s3.client });
  return {
    store,
    async cleanup() {
      store.close();
      await s3.close();
    },
  };
});
