/**
 * What is said of an operation: its parameters, the bodies it takes, what it answers. operations.ts says it of each; the capabilities and the
 * OpenAPI document are made from it.
 */

export type Schema = Readonly<Record<string, unknown>>;

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'header';
  readonly description: string;
  readonly schema: Schema;
  readonly example: string | number | boolean;
}

/** What a body holds; openapi.ts has a schema for each. */
export type Content = 'data-sets' | 'store-response' | 'bytes' | 'text';

export interface Answer {
  readonly description: string;
  /** By media type, the default one first. */
  readonly content: Readonly<Record<string, Content>>;
  readonly headers?: readonly string[];
}

export interface Operation {
  readonly id: string;
  readonly group: 'Search' | 'Store' | 'Retrieve' | 'Render' | 'Delete' | 'Capabilities';
  readonly summary: string;
  /** Of PS3.18; 'an extension' where it has none. */
  readonly clause: string;
  readonly parameters: readonly Parameter[];
  /** Media types that are taken. */
  readonly body?: readonly string[];
  readonly answers: Readonly<Record<number, Answer>>;
  /** Statuses that are answered with application/problem+json. */
  readonly problems: readonly number[];
}
