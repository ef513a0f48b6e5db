/**
 * The table of the index in DynamoDB, as data: what tests create on a stand-in and what CDK deploys are this one definition. It says
 * which attributes are keys and what each index repeats; how keys are made is dynamo-keys.ts.
 *
 * `days`: studies by day, a partition to a month, with what a study answers, so that a page of the study list is one query.
 * `lookups`: what leads to a study (patient ID, words of names, UIDs …), newest first under each value; keys alone.
 * `lists`: packs by state, conflicts, tombstones by change. `due`: tombstones that wait to be purged. All are sparse: an item without
 * the attributes of an index is not in it, and costs nothing there.
 */

/** Names of attributes that are keys. */
export const key = { partition: 'pk', sort: 'sk' } as const;

export interface IndexDefinition {
  readonly name: string;
  readonly partition: string;
  readonly sort: string;
  /** `keys`: those of the table and its own; `all`: whole items; or these beside the keys. */
  readonly projection: 'keys' | 'all' | readonly string[];
}

/** What the index of days repeats of a study: all that a search compares and answers, but not what changes with every recount. */
const studyAnswer = ['data', 'modalities', 'classes', 'seriesCount', 'instanceCount', 'uids'] as const;

export const indexes = {
  days: { name: 'days', partition: 'month', sort: 'day', projection: studyAnswer },
  lookups: { name: 'lookups', partition: 'lookup', sort: 'found', projection: 'keys' },
  lists: { name: 'lists', partition: 'list', sort: 'place', projection: 'all' },
  due: { name: 'due', partition: 'due', sort: 'dueAt', projection: 'all' },
} as const satisfies Record<string, IndexDefinition>;

export type IndexName = keyof typeof indexes;

/** What CreateTable takes, beside the name; every key is a text. */
export interface TableDefinition {
  readonly BillingMode: 'PAY_PER_REQUEST';
  readonly AttributeDefinitions: { AttributeName: string; AttributeType: 'S' }[];
  readonly KeySchema: { AttributeName: string; KeyType: 'HASH' | 'RANGE' }[];
  readonly GlobalSecondaryIndexes: {
    IndexName: string;
    KeySchema: { AttributeName: string; KeyType: 'HASH' | 'RANGE' }[];
    Projection: { ProjectionType: 'ALL' | 'KEYS_ONLY' | 'INCLUDE'; NonKeyAttributes?: string[] };
  }[];
}

export function tableDefinition(): TableDefinition {
  const all: readonly IndexDefinition[] = Object.values(indexes);
  const keys = [key, ...all].flatMap(({ partition, sort }) => [partition, sort]);
  return {
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: keys.map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
    KeySchema: schemaOf(key),
    GlobalSecondaryIndexes: all.map((index) => ({
      IndexName: index.name,
      KeySchema: schemaOf(index),
      Projection:
        index.projection === 'all'
          ? { ProjectionType: 'ALL' }
          : index.projection === 'keys'
            ? { ProjectionType: 'KEYS_ONLY' }
            : { ProjectionType: 'INCLUDE', NonKeyAttributes: [...index.projection] },
    })),
  };
}

const schemaOf = ({ partition, sort }: { readonly partition: string; readonly sort: string }) => [
  { AttributeName: partition, KeyType: 'HASH' as const },
  { AttributeName: sort, KeyType: 'RANGE' as const },
];
