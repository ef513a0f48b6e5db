/**
 * Accept lists as clients really write them, and negotiation against a small model of it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { acceptOf, type MediaRange, negotiate, type Offer, parseAccept } from '#shared/dicomweb/accept.ts';
import { ArchiveError } from '#shared/errors.ts';

const EXPLICIT = '1.2.840.10008.1.2.1';
const JPEG_LS = '1.2.840.10008.1.2.4.80';

const range = (type: string, rest: Partial<MediaRange> = {}): MediaRange => ({
  type,
  form: 'single',
  transferSyntax: undefined,
  quality: 1,
  ...rest,
});

describe('parseAccept', () => {
  it.each<[string | null, readonly MediaRange[]]>([
    [null, [range('*/*', { form: 'either' })]],
    ['  ', [range('*/*', { form: 'either' })]],
    ['*', [range('*/*', { form: 'either' })]],
    ['application/dicom+json', [range('application/dicom+json')]],
    ['Application/DICOM', [range('application/dicom')]],
    ['image/*;q=0.5', [range('image/*', { quality: 0.5 })]],
    ['multipart/related', [range('*/*', { form: 'multipart' })]],
    ['multipart/related; type="*/*"', [range('*/*', { form: 'multipart' })]],
    ['multipart/related;type=application/octet-stream', [range('application/octet-stream', { form: 'multipart' })]],
    [
      'multipart/related; type="application/octet-stream"; transfer-syntax=*',
      [range('application/octet-stream', { form: 'multipart', transferSyntax: '*' })],
    ],
    [
      `multipart/related; type="image/jls; transfer-syntax=${JPEG_LS}"`,
      [range('image/jls', { form: 'multipart', transferSyntax: JPEG_LS })],
    ],
    [
      `multipart/related; type=image/jls; transfer-syntax="${JPEG_LS}"; q=0.9, application/dicom`,
      [range('image/jls', { form: 'multipart', transferSyntax: JPEG_LS, quality: 0.9 }), range('application/dicom')],
    ],
    ['nonsense, a/b/c, text/, application/json', [range('application/json')]],
    ['application/json; q=nonsense', [range('application/json')]],
  ])('reads %j', (text, expected) => expect(parseAccept(text)).toEqual(expected));

  it('keeps commas and semicolons within quotes together', () => {
    expect(parseAccept('multipart/related; type="application/dicom"; start="a,b;c", */*')).toHaveLength(2);
  });

  it('refuses a list of absurd length', () => {
    expect(() => parseAccept('a/b,'.repeat(2000))).toThrow(/longer than 4096/);
  });

  it('never throws anything else, and never hangs', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (text) => {
        for (const { quality } of parseAccept(text)) expect(quality).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 500 },
    );
  });
});

describe('acceptOf', () => {
  const ask = (search: string, header?: string): readonly MediaRange[] => {
    const url = new URL(`http://archive.example/dicomweb/studies${search}`);
    return acceptOf(new Request(url, header === undefined ? {} : { headers: { accept: header } }), url.searchParams);
  };

  it('lets the accept parameter speak for links, which cannot set header fields (dcm4chee#1460)', () => {
    expect(ask('?accept=application/zip', 'text/css')).toEqual([range('application/zip')]);
  });

  it('puts back the plus sign that URL decoding made a space', () => {
    expect(ask('?accept=application/dicom+json')).toEqual([range('application/dicom+json')]);
  });

  it('ignores an empty accept parameter', () => expect(ask('?accept=', 'image/png')).toEqual([range('image/png')]));

  it('refuses DICOM and rendered media types in one list (PS3.18 §8.7.5)', () => {
    expect(() => ask('', 'application/dicom, image/png')).toThrow(/one kind at a time/);
  });

  it('takes image/jpeg within multipart for Pixel Data', () => {
    expect(ask('', 'multipart/related; type=application/dicom, multipart/related; type=image/jpeg')).toHaveLength(2);
  });
});

describe('negotiate', () => {
  const dicom: Offer<string> = {
    type: 'application/dicom',
    form: 'multipart',
    transferSyntax: { uids: [JPEG_LS], whenUnsaid: true },
    value: 'multipart',
  };
  const single: Offer<string> = { ...dicom, form: 'single', value: 'single' };
  const zip: Offer<string> = { type: 'application/zip', form: 'single', value: 'zip' };
  const choose = (accept: string | null): string => negotiate(parseAccept(accept), [dicom, single, zip]).value;

  it.each<[string | null, string]>([
    [null, 'multipart'],
    ['*/*', 'multipart'],
    ['application/dicom', 'single'],
    ['application/*', 'single'],
    ['application/zip', 'zip'],
    ['application/zip; transfer-syntax=*', 'zip'],
    ['multipart/related; type="*/*"', 'multipart'],
    ['application/dicom, application/zip', 'single'],
    ['application/zip, application/dicom', 'zip'],
    ['application/zip;q=0.5, application/dicom;q=0.4', 'zip'],
    ['application/dicom;q=0, application/*', 'zip'],
    ['*/*;q=0.1, application/zip', 'zip'],
    [`application/dicom; transfer-syntax=${JPEG_LS}`, 'single'],
    ['application/dicom; transfer-syntax=*', 'single'],
    [`application/dicom; transfer-syntax=${EXPLICIT}, */*;q=0.1`, 'multipart'],
  ])('%j gives %s', (accept, expected) => expect(choose(accept)).toBe(expected));

  it('says what can be had when nothing fits', () => {
    expect(() => choose(`application/dicom; transfer-syntax=${EXPLICIT}`)).toThrow(
      new ArchiveError(
        'not-acceptable',
        `None of the media types in Accept can be given here; ask for: multipart/related; type="application/dicom"; transfer-syntax=${JPEG_LS}, application/dicom; transfer-syntax=${JPEG_LS}, application/zip`,
      ),
    );
  });

  it('agrees with a table of what each range accepts', () => {
    const types = ['application/dicom', 'application/octet-stream', 'image/jls'];
    const syntaxes = [EXPLICIT, JPEG_LS];
    const offers = fc.uniqueArray(
      fc.record({
        type: fc.constantFrom(...types),
        form: fc.constantFrom('single' as const, 'multipart' as const),
        syntax: fc.option(fc.constantFrom(...syntaxes), { nil: undefined }),
      }),
      { minLength: 1, maxLength: 4, selector: (offer) => JSON.stringify(offer) },
    );
    // One range, so that the model needs no order of preference: the first offer that the table lets through wins.
    const ranges = fc.record({
      type: fc.constantFrom(...types, 'image/*', 'application/*', '*/*'),
      form: fc.constantFrom('single' as const, 'multipart' as const),
      syntax: fc.constantFrom(undefined, '*', ...syntaxes),
    });
    fc.assert(
      fc.property(offers, ranges, (given, asked) => {
        const syntax = asked.syntax === undefined ? '' : `; transfer-syntax=${asked.syntax}`;
        const isAny = asked.type === '*/*' && asked.form === 'single';
        const text =
          asked.form === 'multipart' ? `multipart/related; type="${asked.type}"${syntax}` : `${asked.type}${syntax}`;
        const expected = given.findIndex(
          (offer) =>
            (isAny || offer.form === asked.form) &&
            (asked.type === '*/*' ||
              asked.type === offer.type ||
              asked.type === `${offer.type.slice(0, offer.type.indexOf('/'))}/*`) &&
            (offer.syntax === undefined || [undefined, '*', offer.syntax].includes(asked.syntax)),
        );
        const list = given.map(
          ({ type, form, syntax: uid }, value): Offer<number> => ({
            type,
            form,
            value,
            ...(uid === undefined ? {} : { transferSyntax: { uids: [uid], whenUnsaid: true } }),
          }),
        );
        let chosen = -1;
        try {
          chosen = negotiate(parseAccept(text), list).value;
        } catch (error) {
          expect(error).toMatchObject({ code: 'not-acceptable' });
        }
        expect(chosen).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });
});
