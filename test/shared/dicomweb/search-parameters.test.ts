/**
 * Queries as clients write them, well and badly.
 */
import { describe, expect, it } from 'vitest';
import type { Level } from '#shared/archive/records.ts';
import { parseSearch, type SearchParameters } from '#shared/dicomweb/search-parameters.ts';

const limits = { defaultLimit: 100, maximumLimit: 1000 };
const parse = (query: string, level: Level = 'study'): SearchParameters =>
  parseSearch(new URLSearchParams(query), level, limits);
const keysOf = (query: string, level?: Level) => parse(query, level).keys.map(({ path, vr, text }) => [path, vr, text]);

describe('parseSearch', () => {
  it('takes a keyword or a tag in either case of its digits', () => {
    const expected = [[[0x00100010], 'PN', 'A*']];
    expect(keysOf('PatientName=A*')).toEqual(expected);
    expect(keysOf('00100010=A*')).toEqual(expected);
    expect(keysOf('0020000d=1.2')).toEqual([[[0x0020000d], 'UI', '1.2']]);
  });

  it('takes paths through sequences by tag and by keyword', () => {
    const expected = [[[0x00400275, 0x00400009], 'SH', 'S1']];
    expect(keysOf('00400275.00400009=S1', 'series')).toEqual(expected);
    expect(keysOf('RequestAttributesSequence.ScheduledProcedureStepID=S1', 'series')).toEqual(expected);
  });

  it('joins lists of UIDs, by commas, by backslashes or repeated', () => {
    const expected = [[[0x0020000d], 'UI', '1.2\\1.3']];
    expect(keysOf('StudyInstanceUID=1.2,1.3')).toEqual(expected);
    expect(keysOf('StudyInstanceUID=1.2%5C1.3')).toEqual(expected);
    expect(keysOf('StudyInstanceUID=1.2&StudyInstanceUID=1.3')).toEqual(expected);
  });

  it('reads a list of ModalitiesInStudy as any of them', () => {
    expect(keysOf('ModalitiesInStudy=CT,PT')).toEqual([[[0x00080061], 'CS', 'CT\\PT']]);
  });

  it('does not split names at commas', () => {
    expect(keysOf('PatientName=Meier, Anna')).toEqual([[[0x00100010], 'PN', 'Meier, Anna']]);
  });

  it('returns a key without a value and matches nothing by it', () => {
    const { keys, included } = parse('StudyDescription=');
    expect(keys).toEqual([]);
    expect([...included]).toEqual([0x00081030]);
  });

  it('takes includefield repeated, with commas, escaped commas, paths and all (OHIF)', () => {
    const fields = 'includefield=00081030%2C00080060&includefield=PatientAge,ProcedureCodeSequence.CodeValue';
    expect([...parse(fields, 'series').included]).toEqual([0x00081030, 0x00080060, 0x00101010, 0x00081032]);
    expect(parse(fields, 'series').warnings).toEqual([]);
    expect(parse('includefield=ALL').includeAll).toBe(true);
    expect(parse('includefield=all').warnings).toEqual([]);
  });

  it('names what it knows and does not return, and what it does not know', () => {
    const { warnings, included } = parse('includefield=00081030,00080060,PixelSpacing,Nonsense,RetrieveURL,00201206');
    expect(warnings).toEqual([
      'The following parameters are not supported: Nonsense',
      'The following attributes are not returned by a search at this level: 00080060, 00280030',
    ]);
    expect([...included]).toEqual([0x00081030, 0x00081190, 0x00201206]);
  });

  it('warns about what it does not know or cannot match at the level, in words without the client’s special characters', () => {
    const { keys, warnings } = parse('Nonsense%0D%0Ax=1&PatientComments=x&SeriesNumber=2&PatientID=1');
    expect(keys).toHaveLength(1);
    expect(warnings).toEqual([
      'The following parameters are not supported: Nonsense??x, PatientComments, SeriesNumber',
    ]);
  });

  it('says what fuzzy matching was, where it was any', () => {
    const { keys, warnings } = parse('fuzzymatching=true&PatientName=Smith&ReferringPhysicianName=*x*&PatientID=P');
    expect(keys.map(({ condition }) => condition.kind)).toEqual(['fuzzy', 'fuzzy', 'values']);
    expect(warnings).toEqual([expect.stringMatching(/^Person names were matched by their words .* as they sound/)]);
    expect(parse('fuzzymatching=true&PatientID=P').warnings).toEqual([]);
    expect(parse('FuzzyMatching=false&PatientName=Smith').keys[0]?.condition.kind).toBe('names');
    expect(() => parse('fuzzymatching=maybe')).toThrow(/either true or false/);
  });

  it('takes a time zone for what dates and times mean, and never as a key (Orthanc 5639)', () => {
    for (const zone of ['%2B0900', '+0900', '0900']) {
      const { keys, included, warnings } = parse(`StudyDate=20240101&TimezoneOffsetFromUTC=${zone}`);
      expect(keys.map(({ condition }) => condition)).toEqual([
        {
          kind: 'combined',
          timeTag: 0x00080030,
          from: '20240101000000.000000',
          to: '20240101235959.999999',
          offsetMinutes: 540,
        },
      ]);
      expect([...included]).toEqual([0x00080020, 0x00080201]);
      expect(warnings).toEqual([]);
    }
    expect(parse('StudyDate=20240101-&StudyTime=10-&00080201=-0500').keys).toHaveLength(1);
    expect(parse('StudyTime=10-12&00080201=-0500').warnings).toEqual([
      'Times without a date were compared as they are written, whatever their time zone',
    ]);
    expect(() => parse('TimezoneOffsetFromUTC=CET')).toThrow(/-0500 or %2B0100/);
    expect(() => parse('TimezoneOffsetFromUTC=%2B9900')).toThrow(/-0500 or %2B0100/);
  });

  it('does not call parameters of the standard unknown', () => {
    expect(
      parse('emptyvaluematching=true&multiplevaluematching=true&accept=application/json&charset=utf-8').warnings,
    ).toEqual([]);
  });

  it('refuses wild cards where the standard has none, in dates, times and UIDs', () => {
    for (const query of ['StudyDate=2024*', 'StudyTime=1?', 'StudyInstanceUID=1.2.*']) {
      expect(() => parse(query)).toThrow(expect.objectContaining({ code: 'bad-request' }));
    }
  });

  it('matches empty values', () => {
    expect(parse('AccessionNumber=%22%22').keys[0]?.condition).toEqual({ kind: 'empty' });
  });

  it('bounds the page, also where none is asked for, and says so (OHIF#943, OHIF#1491)', () => {
    expect(parse('')).toMatchObject({ limit: 100, offset: 0, warnings: [] });
    expect(parse('limit=101&offset=7')).toMatchObject({ limit: 101, offset: 7, warnings: [] });
    expect(parse('limit=5000')).toMatchObject({
      limit: 1000,
      warnings: ['The limit is too large; at most 1000 results are returned at once.'],
    });
  });

  it.each(['limit=-1', 'limit=ten', 'limit=1e3', 'offset=1.5', 'offset=99999999999'])('refuses %s', (query) => {
    expect(() => parse(query)).toThrow(/whole number from 0 on/);
  });

  it.each(['StudyDate=2024-13-45', 'StudyDate=notadate', 'StudyInstanceUID=abc'])('refuses %s', (query) => {
    expect(() => parse(query)).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  it('is not confused by names of Object.prototype', () => {
    expect(parse('__proto__=1&constructor=2').warnings[0]).toContain('__proto__, constructor');
  });
});
