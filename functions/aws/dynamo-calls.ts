/**
 * How the index speaks to DynamoDB: single items on conditions, ranges of one partition, batches; what is throttled or fails on the way is
 * tried again with full jitter within a bounded time, and what comes of it is said in ArchiveErrors. The SDK itself tries nothing
 * again: whoever repeats a conditional write must know whether the first one may have been done (its answer lost).
 */
import { randomBytes } from 'node:crypto';
import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  type ConsumedCapacity,
  DeleteItemCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { inParallel } from '#shared/archive/walk.ts';
import { ArchiveError } from '#shared/errors.ts';
import { fromStored, type Item, type StoredItem, storedValue, toStored, type Value } from './dynamo-items.ts';
import type { ItemKey, Range } from './dynamo-keys.ts';
import { type IndexName, indexes, key } from './dynamo-table.ts';
import { faultOf } from './faults.ts';
import { defaultTiming, type Timing } from './retry.ts';
import { workInHand } from './work-in-hand.ts';

export interface DynamoOptions {
  readonly tableName: string;
  /** Endpoint, region and credentials where they are not those of the environment. */
  readonly client?: DynamoDBClientConfig;
  readonly timing?: Timing;
  /** Hears of each answer: for those who count. */
  readonly observe?: (call: { readonly operation: string; readonly units: number; readonly items: number }) => void;
}

/** How long one call may be tried again: less than a Lambda lives, and more than DynamoDB takes to split a partition that is hot. */
const PATIENCE_MS = 20_000;
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 2_000;

/** What one search may cost. What it is asked of may be a moment old, and costs half. */
export interface Meter {
  /** Used so far. */
  readUnits: number;
  /** Called before each read: throws when it has been enough. */
  check(): void;
}

export interface QueryRange {
  readonly index?: IndexName;
  readonly partition: string;
  readonly range: Range;
  readonly isNewestFirst?: boolean;
  /** Attributes wanted; absent: all that there are. */
  readonly only?: readonly string[];
  /** Items of the first round; later ones take what fits. Absent: what fits into 1 MB. */
  readonly firstLimit?: number;
  readonly meter?: Meter;
}

export type Written<T> =
  | { readonly isDone: true; readonly item: T }
  /** The condition was not met: what is there, if anything is. */
  | { readonly isDone: false; readonly item: T | undefined };

/** An SDK command's answer, as far as anybody looks at it. */
interface Answer {
  readonly ConsumedCapacity?: ConsumedCapacity | ConsumedCapacity[] | undefined;
  readonly Item?: StoredItem | undefined;
  readonly Items?: StoredItem[] | undefined;
  readonly Attributes?: StoredItem | undefined;
  readonly Count?: number | undefined;
  readonly LastEvaluatedKey?: StoredItem | undefined;
  readonly UnprocessedItems?: Record<string, unknown[]> | undefined;
  readonly UnprocessedKeys?: Record<string, { Keys?: StoredItem[] | undefined }> | undefined;
  readonly Responses?: Record<string, StoredItem[]> | undefined;
}

const READ_BATCH = 100;
const WRITE_BATCH = 25;
/** Of the attribute by which a write is known again. */
const WRITER_BYTES = 9;

export type Condition = {
  readonly text: string;
  readonly names?: Readonly<Record<string, string>>;
  readonly values?: Readonly<Record<string, NonNullable<Value>>>;
};

export type Calls = ReturnType<typeof createCalls>;

export function createCalls({ tableName, client: config = {}, timing = defaultTiming, observe }: DynamoOptions) {
  const client = new DynamoDBClient({
    requestHandler: { connectionTimeout: 2_000, requestTimeout: 5_000, throwOnRequestTimeout: true },
    ...config,
    maxAttempts: 1,
  });
  const inHand = workInHand('The index');

  type Command = { readonly input: object };
  const sendOnce = (command: Command): Promise<Answer> =>
    client.send(command as GetItemCommand) as Promise<unknown> as Promise<Answer>;

  /** @param again whether an answer says that part of it is to be asked again, and how */
  async function send(
    command: Command,
    meter?: Meter,
    again: (answer: Answer) => Command | undefined = () => undefined,
  ): Promise<{ readonly answers: readonly Answer[]; readonly isUnsure: boolean }> {
    const endMs = timing.nowMs() + PATIENCE_MS;
    const answers: Answer[] = [];
    let isUnsure = false;
    let current = command;
    for (let round = 0; ; round++) {
      let cause: unknown;
      meter?.check();
      try {
        const answer: Answer = await sendOnce(current);
        note(current, answer, meter);
        answers.push(answer);
        const next = again(answer);
        if (next === undefined) return { answers, isUnsure };
        current = next;
      } catch (error) {
        const fault = faultOf(error, 'the index');
        if (fault.kind === 'refused') throw new Refusal(error, isUnsure);
        if (fault.kind === 'failed') throw fault.error;
        isUnsure ||= fault.kind === 'unsure';
        cause = error;
      }
      const pauseMs = timing.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(round, 10));
      if (timing.nowMs() + pauseMs >= endMs) throw busy(cause);
      await timing.sleep(pauseMs);
    }
  }

  function note(command: Command, answer: Answer, meter: Meter | undefined): void {
    const capacity = answer.ConsumedCapacity;
    const all = capacity === undefined ? [] : Array.isArray(capacity) ? capacity : [capacity];
    const units = all.reduce((sum, one) => sum + (one.CapacityUnits ?? 0), 0);
    if (meter !== undefined) meter.readUnits += units;
    const got = Object.values(answer.Responses ?? {}).flat().length;
    observe?.({ operation: command.constructor.name, units, items: answer.Count ?? (answer.Item ? 1 : got) });
  }

  const base = { TableName: tableName, ReturnConsumedCapacity: 'TOTAL' as const };

  async function conditional<T>(command: Command, at: ItemKey, writer?: string): Promise<Written<T>> {
    try {
      const { answers } = await send(command);
      return { isDone: true, item: fromStored<T>(answers[0]?.Attributes ?? {}) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const stored = error.item ?? (await getStored(at));
      const item = stored && fromStored<T & { writer?: string }>(stored);
      // It was done, and the answer got lost: nobody else has this word.
      if (error.isUnsure && (writer === undefined ? item === undefined : item?.writer === writer))
        return { isDone: true, item: item as T };
      return { isDone: false, item };
    }
  }

  async function getStored({ pk, sk }: ItemKey): Promise<StoredItem | undefined> {
    const command = new GetItemCommand({ ...base, Key: toStored({ pk, sk }), ConsistentRead: true });
    return (await send(command)).answers[0]?.Item;
  }

  const expression = ({ text, names, values }: Condition) => ({
    ConditionExpression: text,
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
    ...(names && { ExpressionAttributeNames: { ...names } }),
    ...(values && { ExpressionAttributeValues: toStored(values) }),
  });

  const calls = {
    async get<T>(at: ItemKey): Promise<T | undefined> {
      const stored = await getStored(at);
      return stored && fromStored<T>(stored);
    },

    /** Puts the whole item, on a condition. */
    put<T>(item: ItemKey & Item, condition: Condition): Promise<Written<T>> {
      const writer = randomBytes(WRITER_BYTES).toString('base64url');
      const command = new PutItemCommand({ ...base, Item: toStored({ ...item, writer }), ...expression(condition) });
      return conditional<T>(command, item, writer);
    },

    /** Sets attributes, and removes those that are undefined; answers the item as it is then. */
    update<T>(at: ItemKey, change: Item, condition: Condition): Promise<Written<T>> {
      const writer = randomBytes(WRITER_BYTES).toString('base64url');
      const entries = Object.entries({ ...change, writer } as Item).map(([name, value], i) => ({ name, value, i }));
      const set = entries.filter(({ value }) => value !== undefined).map(({ i }) => `#f${i} = :f${i}`);
      const remove = entries.filter(({ value }) => value === undefined).map(({ i }) => `#f${i}`);
      const names = Object.fromEntries(entries.map(({ name, i }) => [`#f${i}`, name]));
      const values: Record<string, NonNullable<Value>> = {};
      for (const { value, i } of entries) if (value !== undefined) values[`:f${i}`] = value;
      const command = new UpdateItemCommand({
        ...base,
        ...expression({
          text: condition.text,
          names: { ...condition.names, ...names },
          values: { ...condition.values, ...values },
        }),
        Key: toStored({ pk: at.pk, sk: at.sk }),
        UpdateExpression: `SET ${set.join(', ')}${remove.length > 0 ? ` REMOVE ${remove.join(', ')}` : ''}`,
        ReturnValues: 'ALL_NEW',
      });
      return conditional<T>(command, at, writer);
    },

    delete<T>(at: ItemKey, condition: Condition): Promise<Written<T>> {
      return conditional<T>(
        new DeleteItemCommand({ ...base, Key: toStored({ pk: at.pk, sk: at.sk }), ...expression(condition) }),
        at,
      );
    },

    /** Those that are there, in any order, each once. */
    async getMany<T>(keys: readonly ItemKey[], meter?: Meter): Promise<T[]> {
      const unique = [...new Map(keys.map((one) => [`${one.pk}\n${one.sk}`, one])).values()];
      const found = await inParallel(chunks(unique, READ_BATCH), async (some) => {
        const asked = (Keys: StoredItem[]) =>
          new BatchGetItemCommand({ RequestItems: { [tableName]: { Keys } }, ReturnConsumedCapacity: 'TOTAL' });
        const { answers } = await send(
          asked(some.map(({ pk, sk }) => toStored({ pk, sk }))),
          meter,
          ({ UnprocessedKeys }) => {
            const left = UnprocessedKeys?.[tableName]?.Keys ?? [];
            return left.length === 0 ? undefined : asked(left);
          },
        );
        return answers.flatMap(({ Responses }) => (Responses?.[tableName] ?? []).map((item) => fromStored<T>(item)));
      });
      return found.flat();
    },

    /** Puts and deletes without conditions: for items whose keys nobody else writes. */
    async writeMany(puts: readonly (ItemKey & Item)[], deletes: readonly ItemKey[] = []): Promise<void> {
      const requests = [
        ...puts.map((item) => ({ PutRequest: { Item: toStored(item) } })),
        ...deletes.map(({ pk, sk }) => ({ DeleteRequest: { Key: toStored({ pk, sk }) } })),
      ];
      await inParallel(chunks(requests, WRITE_BATCH), async (some) => {
        const asked = (list: readonly unknown[]) =>
          new BatchWriteItemCommand({
            RequestItems: { [tableName]: list as typeof requests },
            ReturnConsumedCapacity: 'TOTAL',
          });
        await send(asked(some), undefined, ({ UnprocessedItems }) => {
          const left = UnprocessedItems?.[tableName] ?? [];
          return left.length === 0 ? undefined : asked(left);
        });
      });
    },

    /** Items of one partition in the order of their sort keys, page by page as they are pulled. Consistent where the table itself is asked without a meter. */
    async *pages<T>(asked: QueryRange): AsyncGenerator<readonly T[], void, void> {
      for await (const { Items } of rounds(asked)) yield (Items ?? []).map((item) => fromStored<T>(item));
    },

    /** The first of them. */
    async first<T>(asked: QueryRange, limit: number): Promise<T[]> {
      const items: T[] = [];
      const firstLimit = Number.isFinite(limit) ? { firstLimit: limit } : {};
      for await (const page of calls.pages<T>({ ...firstLimit, ...asked })) {
        items.push(...page);
        if (items.length >= limit) break;
      }
      return items.slice(0, limit);
    },

    /** How many there are: costs as many units as reading them. */
    async count(asked: QueryRange): Promise<number> {
      let count = 0;
      for await (const { Count } of rounds(asked, true)) count += Count ?? 0;
      return count;
    },

    /** Runs what somebody asks of the index: to its end before it closes, and not at all afterwards. */
    guard: inHand.guard,

    async close(): Promise<void> {
      await inHand.close();
      client.destroy();
    },
  };
  return calls;

  async function* rounds(asked: QueryRange, isCount = false): AsyncGenerator<Answer, void, void> {
    const { partition, sort } = asked.index === undefined ? key : indexes[asked.index];
    if (asked.range.from > asked.range.to) return;
    let from: StoredItem | undefined;
    do {
      const command: QueryCommand = new QueryCommand({
        ...base,
        ...(asked.index === undefined ? { ConsistentRead: asked.meter === undefined } : { IndexName: asked.index }),
        KeyConditionExpression: '#p = :p AND #s BETWEEN :from AND :to',
        ExpressionAttributeNames: {
          '#p': partition,
          '#s': sort,
          ...Object.fromEntries((asked.only ?? []).map((name, i) => [`#a${i}`, name])),
        },
        ExpressionAttributeValues: {
          ':p': storedValue(asked.partition),
          ':from': storedValue(asked.range.from),
          ':to': storedValue(asked.range.to),
        },
        ...(asked.isNewestFirst && { ScanIndexForward: false }),
        ...(asked.only && !isCount && { ProjectionExpression: asked.only.map((_, i) => `#a${i}`).join(', ') }),
        ...(isCount && { Select: 'COUNT' as const }),
        ...(from === undefined && asked.firstLimit !== undefined && { Limit: asked.firstLimit }),
        ...(from && { ExclusiveStartKey: from }),
      });
      const { answers } = await send(command, asked.meter);
      const answer: Answer = answers[0] ?? {};
      yield answer;
      from = answer.LastEvaluatedKey;
    } while (from !== undefined);
  }
}

/** The condition of a write was not met. */
class Refusal extends Error {
  readonly item: StoredItem | undefined;
  /** Whether an earlier attempt of the same write may have been done. */
  readonly isUnsure: boolean;

  constructor(cause: unknown, isUnsure: boolean) {
    super('the condition was not met', { cause });
    this.item = (cause as { readonly Item?: StoredItem }).Item;
    this.isUnsure = isUnsure;
  }
}

function busy(cause: unknown): ArchiveError {
  return new ArchiveError(
    'unavailable',
    'The index is busy or out of reach; try again in a minute.',
    { retryAfterSeconds: 60 },
    cause,
  );
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let i = 0; i < items.length; i += size) parts.push(items.slice(i, i + size));
  return parts;
}
