/** Keys sort as what they are made of, whatever that is; items hold what they were given. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packAttributes, unpackAttributes } from '#functions/aws/dynamo-items.ts';
import {
  joined,
  momentPart,
  partOf,
  rangeOf,
  readCursor,
  sortKey,
  textOfPart,
  uidsOf,
  uidsToSay,
} from '#functions/aws/dynamo-keys.ts';
import { dayOf, dayPart } from '#functions/aws/dynamo-lookups.ts';
import { indexes, tableDefinition } from '#functions/aws/dynamo-table.ts';
import { UNSURE_DATE } from '#shared/archive/query.ts';
import { instanceRecord } from '#test/support/archive-records.ts';

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: fc.constantFrom('1', '.', '#', '$', ' ', '\0', '"', '%', 'é', '山', '😀'), maxLength: 6 }),
);
const bytes = (value: string): Buffer => Buffer.from(value);
const sign = (n: number): number => Math.sign(n);

describe('keys', () => {
  it('sort as their parts do, one by one', () => {
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 3, maxLength: 3 }),
        fc.array(text, { minLength: 3, maxLength: 3 }),
        (a, b) => {
          const order = a.map((part, i) => Buffer.compare(bytes(part), bytes(b[i]!))).find((n) => n !== 0) ?? 0;
          expect(sign(Buffer.compare(bytes(joined(...a)), bytes(joined(...b))))).toBe(order);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('give back what they were made of', () => {
    fc.assert(
      fc.property(text, (one) => {
        expect(textOfPart(partOf(one))).toBe(one);
      }),
    );
    const uids = ['1.2.3', '', `not # a $ uid${'é'.repeat(300)}`];
    for (const some of [uids, ['1.2', '3.4', '5.6']]) {
      const item = { pk: `t#${partOf(some[0]!)}`, sk: sortKey('INSTANCE', some[1]!, some[2]!), ...uidsToSay(some) };
      expect(uidsOf(item)).toEqual(some);
    }
    expect(uidsToSay(['1.2', '3.4'])).toEqual({});
  });

  it('are no longer than DynamoDB takes, and different for what is different', () => {
    const long = (last: string) => '山'.repeat(2_000) + last;
    expect(bytes(joined(long('1'), long('2'), long('3'), 'f'.repeat(64))).length).toBeLessThanOrEqual(1_024);
    expect(partOf(long('1'))).not.toBe(partOf(long('2')));
  });

  it('of a series do not take in those of one whose UID begins alike', () => {
    const { from, to } = rangeOf('INSTANCE', '1.2');
    const isIn = (key: string) => key >= from && key <= to;
    expect(isIn(sortKey('INSTANCE', '1.2', '9'))).toBe(true);
    expect(isIn(sortKey('INSTANCE', '1.2.3', '9'))).toBe(false);
    expect(isIn(sortKey('INSTANCE', '1.20', '9'))).toBe(false);
  });

  it('put later days first, what has to be looked at before them, and no date last', () => {
    const dates = [UNSURE_DATE, '99991231', '20240301', '20240229', '00010101', ''];
    const days = dates.map((date) => dayOf(date, '1.2'));
    expect(days.toSorted()).toEqual(days);
    expect(dayPart('20240301')).toBe('79759698');
    expect(dayOf('20240301', '1.2') < dayOf('20240301', '1.3')).toBe(true);
  });

  it('have moments in order, and no cursor that is not theirs', () => {
    const moments = [-5, 0, 1, 999, 1_700_000_000_000, Number.MAX_SAFE_INTEGER].map(momentPart);
    expect(moments.toSorted()).toEqual(moments);
    expect(readCursor('["a","b"]', ['', ''])).toEqual(['a', 'b']);
    for (const wrong of ['["a"]', '[1,"b"]', 'no', '{}', 'null'])
      expect(() => readCursor(wrong, ['', ''])).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });
});

describe('attributes', () => {
  it('come back as they were, in a third of the bytes', () => {
    const { attributes } = instanceRecord();
    const packed = packAttributes(attributes);
    expect(unpackAttributes(packed)).toEqual(attributes);
    expect(packed.length).toBeLessThan(JSON.stringify(attributes).length / 2);
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.record({ vr: fc.constant('LO' as const), Value: fc.array(text) })),
        (one) => {
          expect(unpackAttributes(packAttributes(one))).toEqual(one);
        },
      ),
    );
  });

  it('that nobody can read are damaged, not empty', () => {
    for (const data of [Buffer.of(2, 3), Buffer.of(1, 255, 255), packAttributes({}).subarray(0, 2)])
      expect(() => unpackAttributes(data)).toThrow(expect.objectContaining({ code: 'damaged' }));
  });

  it('written with the first dictionary are read for ever', () => {
    expect(unpackAttributes(Buffer.from('AasmlOQCDIkuAmoB', 'base64'))).toEqual({
      '00100020': { vr: 'LO', Value: ['P1'] },
      '00080060': { vr: 'CS', Value: ['CT'] },
    });
  });
});

describe('the table', () => {
  it('has each key once, and an index for each list that is asked for', () => {
    const table = tableDefinition();
    const names = table.AttributeDefinitions.map(({ AttributeName }) => AttributeName);
    expect(new Set(names).size).toBe(names.length);
    expect(table.GlobalSecondaryIndexes.map(({ IndexName }) => IndexName)).toEqual(Object.keys(indexes));
    const used = [table.KeySchema, ...table.GlobalSecondaryIndexes.map(({ KeySchema }) => KeySchema)].flat();
    expect(new Set(used.map(({ AttributeName }) => AttributeName))).toEqual(new Set(names));
  });
});
