/**
 * The DynamoDB index keeps the contract of ArchiveIndex, over the wire of a stand-in. Searches are hundreds of requests each: all of
 * them, as other indexes are asked, with ARCHIPEL_ALL_SEARCHES=1.
 */
import { vi } from 'vitest';
import { createDynamoIndex } from '#functions/aws/dynamo-index.ts';
import { createTestTable } from '#test/support/dynamo.ts';
import { archiveIndexContract } from './archive-index.ts';

const share = process.env.ARCHIPEL_ALL_SEARCHES === undefined ? 0.05 : 1;
if (share === 1) vi.setConfig({ testTimeout: 600_000 });

archiveIndexContract(
  'the DynamoDB index',
  async () => {
    const { remove, ...table } = await createTestTable();
    return { index: createDynamoIndex(table), remove };
  },
  share,
);
