/**
 * A bucket to be tested against: the strict S3 of ours, or the one that ARCHIPEL_S3_ENDPOINT names (Ceph's radosgw, or AWS itself), in the
 * bucket ARCHIPEL_S3_BUCKET and with the keys of the environment (AWS_ACCESS_KEY_ID …). Keys of tests are new each time; what lies under
 * them is removed with the bucket by whoever made that.
 */
import { BucketAlreadyOwnedByYou, CreateBucketCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { startTestS3 } from './server.ts';

export interface TestBucket {
  readonly bucket: string;
  readonly client: S3ClientConfig;
  close(): Promise<void>;
}

export async function openTestBucket(): Promise<TestBucket> {
  const { ARCHIPEL_S3_ENDPOINT: endpoint, ARCHIPEL_S3_BUCKET: bucket = 'archipel-test' } = process.env;
  if (endpoint === undefined) {
    const s3 = await startTestS3();
    return { bucket: s3.bucketName, client: s3.client, close: () => s3.close() };
  }
  const config: S3ClientConfig = { endpoint, forcePathStyle: true, region: process.env.AWS_REGION ?? 'us-east-1' };
  const client = new S3Client(config);
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } catch (error) {
    if (!(error instanceof BucketAlreadyOwnedByYou)) throw error;
  } finally {
    client.destroy();
  }
  return { bucket, client: config, close: async () => {} };
}
