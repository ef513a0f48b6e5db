/**
 * The schema of the settings file as a tree that can be walked: what fields there are, in which order, with which
 * defaults. For the example file, and for suggestions where a key is misspelt.
 */
import { z } from 'zod';
import { type Explanation, explanations, settingsFile } from './schema.ts';

export interface Field {
  readonly key: string;
  readonly explanation: Explanation;
  /** What it is when it is not given; undefined: nothing, or it depends on others. */
  readonly defaultValue: unknown;
  /** Whether it may be left out and is then nothing at all. */
  readonly isOptional: boolean;
  /** Smallest and greatest value of a number. */
  readonly range: readonly [number, number] | undefined;
  readonly kind: 'value' | 'table' | 'tables';
  /** Of a table, or of each of its tables. */
  readonly fields: readonly Field[];
}

export function settingsFields(): readonly Field[] {
  return fieldsOf(settingsFile);
}

/** Keys that a table may have, by its path in the file; numbers in the path count entries of a list. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  let fields = settingsFields();
  for (const step of path) if (typeof step === 'string') fields = fields.find(({ key }) => key === step)?.fields ?? [];
  return fields.map(({ key }) => key);
}

function fieldsOf(table: z.ZodObject): Field[] {
  return Object.entries(table.shape).map(([key, schema]): Field => {
    const explanation = explanations.get(schema as z.ZodType);
    if (explanation === undefined) throw new Error(`The field ${key} has no explanation.`);
    let inner = schema as z.ZodType;
    let defaultValue: unknown;
    while (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) {
      if (inner instanceof z.ZodDefault) defaultValue = inner.def.defaultValue;
      inner = inner.unwrap() as z.ZodType;
    }
    const isOptional = schema instanceof z.ZodOptional;
    const range = inner instanceof z.ZodNumber ? ([inner.minValue ?? 0, inner.maxValue ?? 0] as const) : undefined;
    const field = { key, explanation, defaultValue, range, isOptional };
    if (inner instanceof z.ZodObject) return { ...field, kind: 'table', fields: fieldsOf(inner) };
    if (inner instanceof z.ZodArray && inner.element instanceof z.ZodObject)
      return { ...field, kind: 'tables', fields: fieldsOf(inner.element) };
    return { ...field, kind: 'value', fields: [] };
  });
}
