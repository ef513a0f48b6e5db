/**
 * A DynamoDB on this machine for tests: dynalite in memory, spoken to over a real socket, with the table that the index is deployed with.
 * ARCHIPEL_DYNAMODB_ENDPOINT names another one (DynamoDB Local, or AWS itself) to be tested against.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import {
  CreateTableCommand,
  DeleteTableCommand,
  DescribeTableCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
} from '@aws-sdk/client-dynamodb';
import { tableDefinition } from '#functions/aws/dynamo-table.ts';

// It has no types.
const dynalite = createRequire(import.meta.url)('dynalite') as (options: {
  readonly createTableMs: number;
  readonly deleteTableMs: number;
}) => Server;

export interface TestTable {
  readonly tableName: string;
  readonly client: DynamoDBClientConfig;
  /** Removes the table, and the server where it is ours. */
  remove(): Promise<void>;
}

export async function createTestTable(): Promise<TestTable> {
  const known = process.env.ARCHIPEL_DYNAMODB_ENDPOINT;
  const server = known === undefined ? dynalite({ createTableMs: 0, deleteTableMs: 0 }) : undefined;
  const endpoint = known ?? (await listening(server!));
  const isAws = /amazonaws\.com/.test(endpoint);
  const config: DynamoDBClientConfig = {
    endpoint,
    ...(!isAws && { region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }),
  };
  const client = new DynamoDBClient(config);
  const tableName = `archipel-test-${randomUUID()}`;
  await client.send(new CreateTableCommand({ TableName: tableName, ...tableDefinition() }));
  for (;;) {
    const { Table } = await client.send(new DescribeTableCommand({ TableName: tableName }));
    if (Table?.TableStatus === 'ACTIVE') break;
    await new Promise((done) => setTimeout(done, isAws ? 1_000 : 5));
  }
  return {
    tableName,
    client: config,
    async remove() {
      if (server === undefined) await client.send(new DeleteTableCommand({ TableName: tableName }));
      client.destroy();
      server?.closeAllConnections();
      if (server !== undefined) await new Promise((done) => server.close(done));
    },
  };
}

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
