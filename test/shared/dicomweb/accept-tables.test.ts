/**
 * What an Accept list gets, against the tables of PS3.18 §8.7.3 written down here a second time, from the standard and not from the code:
 * for every stored transfer syntax and every list of up to three ranges, with qualities.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { negotiate, parseAccept } from '#shared/dicomweb/accept.ts';
import { frameOffers, instanceOffers } from '#shared/dicomweb/transfer-syntax-offers.ts';

const EXPLICIT = '1.2.840.10008.1.2.1';
const IMPLICIT = '1.2.840.10008.1.2';
const uid = (last: string): string => `1.2.840.10008.1.2.${last}`;

/** Tables 8.7.3-4 and 8.7.3-5: each media type's transfer syntaxes, the default first. */
const table: Readonly<Record<string, readonly string[]>> = {
  'image/jpeg': [uid('4.70'), uid('4.50'), uid('4.51'), uid('4.57')],
  'image/dicom-rle': [uid('5')],
  'image/jls': [uid('4.80'), uid('4.81')],
  'image/jp2': [uid('4.90'), uid('4.91')],
  'image/jphc': [uid('4.201'), uid('4.202'), uid('4.203')],
  'video/mp4': [uid('4.102')],
  'image/jxl': [uid('4.110'), uid('4.111')],
  'application/x-deflate': [uid('8.1')],
};
const typeOf = (syntax: string): string =>
  syntax === EXPLICIT ? 'application/octet-stream' : Object.keys(table).find((type) => table[type]!.includes(syntax))!;
/** What nobody here decodes. */
const opaque = [uid('4.102')];
const lossy = [uid('4.50'), uid('4.51'), uid('4.81'), uid('4.91'), uid('4.203'), uid('4.111')];
const made = ['4.50', '4.70', '4.80', '4.90', '4.91', '4.201', '4.202', '4.203', '4.110', '5', '8.1'].map(uid);

const bitsOf = (syntax: string): readonly number[] =>
  syntax === uid('4.50') ? [8] : [uid('5'), uid('8.1')].includes(syntax) ? [8, 16, 32] : [8, 16];

interface Asked {
  readonly type: string;
  readonly syntax: string | undefined;
  readonly quality: number;
}
const textOf = ({ type, syntax, quality }: Asked): string =>
  `multipart/related; type="${type}"${syntax === undefined ? '' : `; transfer-syntax=${syntax}`}; q=${quality}`;

const qualities = fc.constantFrom(1, 0.8, 0.5);
const bits = fc.constantFrom(8, 16);
const stored = fc.constantFrom(EXPLICIT, ...Object.values(table).flat());

describe('frames', () => {
  const asked: fc.Arbitrary<Asked> = fc.record({
    type: fc.constantFrom('application/octet-stream', ...Object.keys(table), '*/*', 'image/*'),
    syntax: fc.constantFrom(undefined, undefined, '*', EXPLICIT, ...Object.values(table).flat()),
    quality: qualities,
  });

  /** Pairs of type and transfer syntax that a range may be answered with; the first is the best. */
  function answersTo({ type, syntax }: Asked, from: string, bitsAllocated: number): string[] {
    const canBe = (to: string): boolean =>
      to === from ||
      (!opaque.includes(from) && (to === EXPLICIT || (made.includes(to) && bitsOf(to).includes(bitsAllocated))));
    const said = (to: string): string => `${typeOf(to)} ${to}`;
    const isType = (to: string): boolean =>
      type === '*/*' || type === typeOf(to) || (type === 'image/*' && typeOf(to).startsWith('image/'));
    if (syntax === '*') {
      // Viewers say octets and mean what is stored; nothing is lost that nobody asked to lose.
      if (isType(from) || type === 'application/octet-stream') return [said(from)];
      return [EXPLICIT, ...made.filter((to) => to !== uid('4.50'))].filter((to) => isType(to) && canBe(to)).map(said);
    }
    if (syntax !== undefined) {
      if (syntax === from && type === 'application/octet-stream') return [said(from)];
      if (syntax === EXPLICIT && type === 'image/*') return [];
      return isType(syntax) && canBe(syntax) ? [said(syntax)] : [];
    }
    if (type === '*/*' || type === 'application/octet-stream') return canBe(EXPLICIT) ? [said(EXPLICIT)] : [];
    const types = type === 'image/*' ? Object.keys(table).filter((one) => one.startsWith('image/')) : [type];
    return types.flatMap((one) => {
      const byDefault = table[one]![0]!;
      // §8.7.3: what there is only in lossy form need not be the default; nor need what cannot be made.
      const own = typeOf(from) === one && (lossy.includes(from) || !made.includes(byDefault)) ? [said(from)] : [];
      return [...own, ...(canBe(byDefault) ? [said(byDefault)] : [])];
    });
  }

  it('are what the tables say, for one range', () => {
    fc.assert(
      fc.property(stored, bits, asked, (from, bitsAllocated, one) => {
        const offers = frameOffers({ transferSyntaxUid: from, bitsAllocated }, ['multipart']);
        const allowed = answersTo(one, from, bitsAllocated);
        let given: string | undefined;
        try {
          const { mediaType, transferSyntaxUid } = negotiate(parseAccept(textOf(one)), offers).value;
          given = `${mediaType} ${transferSyntaxUid}`;
        } catch (error) {
          expect(error).toMatchObject({ code: 'not-acceptable' });
        }
        if (given === undefined) expect(allowed).toEqual([]);
        else expect(allowed).toContain(given);
      }),
      { numRuns: 2000 },
    );
  });

  it('are what the range of the highest quality that can be had says, for several', () => {
    fc.assert(
      fc.property(
        stored,
        bits,
        fc.uniqueArray(asked, { minLength: 2, maxLength: 3, selector: ({ type }) => type }),
        (from, bitsAllocated, list) => {
          // A wildcard beside a type is the rest of that kind, which the more specific one takes out of it.
          fc.pre(!list.some(({ type }) => type.endsWith('/*')));
          const offers = frameOffers({ transferSyntaxUid: from, bitsAllocated }, ['multipart']);
          const answerable = list.filter((one) => answersTo(one, from, bitsAllocated).length > 0);
          const best = answerable.toSorted((a, b) => b.quality - a.quality)[0];
          const text = list.map(textOf).join(', ');
          if (best === undefined) {
            expect(() => negotiate(parseAccept(text), offers)).toThrow(/can be given here/);
            return;
          }
          const { mediaType, transferSyntaxUid } = negotiate(parseAccept(text), offers).value;
          expect(answersTo(best, from, bitsAllocated)).toContain(`${mediaType} ${transferSyntaxUid}`);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('are never labelled as another type than their transfer syntax has (dcm4chee#3443)', () => {
    for (const from of [EXPLICIT, ...Object.values(table).flat()])
      for (const { value } of frameOffers({ transferSyntaxUid: from, bitsAllocated: 8 }, ['single', 'multipart']))
        expect(value.mediaType).toBe(typeOf(value.transferSyntaxUid));
  });
});

describe('instances', () => {
  const syntaxes = fc.constantFrom(undefined, '*', EXPLICIT, IMPLICIT, ...made, uid('4.102'));

  it('are in Explicit VR Little Endian unless another is asked for (dcm4chee#1749, #2813)', () => {
    const set = fc.array(fc.record({ transferSyntaxUid: fc.oneof(stored, fc.constant(IMPLICIT)), bitsAllocated: bits, isImage: fc.constant(true) }), { minLength: 1, maxLength: 3 }); // biome-ignore format: a shape
    fc.assert(
      fc.property(set, syntaxes, (instances, syntax) => {
        const text = textOf({ type: 'application/dicom', syntax, quality: 1 });
        const wanted = syntax ?? EXPLICIT;
        const canBe = instances.map(
          ({ transferSyntaxUid: from, bitsAllocated }) =>
            wanted === '*' ||
            from === wanted ||
            (!opaque.includes(from) &&
              (wanted === EXPLICIT || (made.includes(wanted) && bitsOf(wanted).includes(bitsAllocated)))),
        );
        for (const isEnough of ['all', 'some'] as const) {
          const isThere = isEnough === 'all' ? canBe.every(Boolean) : canBe.some(Boolean);
          let given: string | undefined;
          try {
            const { transferSyntaxUid } = negotiate(parseAccept(text), instanceOffers(instances, isEnough)).value;
            given = transferSyntaxUid ?? 'as stored';
          } catch (error) {
            expect(error).toMatchObject({ code: 'not-acceptable' });
          }
          const isStored = instances.every(({ transferSyntaxUid: from }) => from === wanted);
          expect(given).toBe(isThere ? (wanted === '*' || isStored ? 'as stored' : wanted) : undefined);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('come in a ZIP file only where it is named', () => {
    const offers = instanceOffers([{ transferSyntaxUid: uid('4.102'), isImage: true, bitsAllocated: 8 }], 'all');
    expect(() => negotiate(parseAccept('*/*'), offers)).toThrow(/can be given here/);
    expect(negotiate(parseAccept('application/zip'), offers).value.form).toBe('zip');
    expect(negotiate(parseAccept('application/dicom; transfer-syntax=*'), offers).value.form).toBe('single');
  });
});
