/**
 * Dates, times and their ranges in all the forms that the reader of keys accepts (PS3.5 §6.2, PS3.4 §C.2.2.2.5).
 */
import { describe, expect, it } from 'vitest';
import { parseDate, parseDateTime, parseOffset, parseRange, parseTime, toUtc } from '#shared/dicom/date-time.ts';

describe('dates', () => {
  it.each(['20240102', '2024.01.02', '2024-01-02'])('%s', (text) => {
    expect(parseDate(text)).toEqual({ from: '20240102', to: '20240102' });
  });
  it.each(['2024', '202401', '20241301', '20240100', '20240132', '2024.01-02', '2024010a', '', ' 20240102'])(
    'not %j',
    (text) => {
      expect(parseDate(text)).toBeUndefined();
    },
  );
});

describe('times', () => {
  it.each([
    ['12', '120000.000000', '125959.999999'],
    ['1234', '123400.000000', '123459.999999'],
    ['123456', '123456.000000', '123456.999999'],
    ['123456.7', '123456.700000', '123456.799999'],
    ['123456.123456', '123456.123456', '123456.123456'],
    ['12:34', '123400.000000', '123459.999999'],
    ['12:34:56.5', '123456.500000', '123456.599999'],
    ['235960', '235960.000000', '235960.999999'],
  ])('%s', (text, from, to) => {
    expect(parseTime(text)).toEqual({ from, to });
  });
  it.each(['', '1', '123', '24', '1260', '123461', '12345.6', '123456.', '123456.1234567', '12.5'])(
    'not %j',
    (text) => {
      expect(parseTime(text)).toBeUndefined();
    },
  );
});

describe('date-times', () => {
  it.each([
    ['2024', '20240101000000.000000', '20241231235959.999999', undefined],
    ['202402', '20240201000000.000000', '20240229235959.999999', undefined],
    ['190002', '19000201000000.000000', '19000228235959.999999', undefined],
    ['2024010212', '20240102120000.000000', '20240102125959.999999', undefined],
    ['20240102123456.25+0130', '20240102123456.250000', '20240102123456.259999', 90],
    ['20240102-0500', '20240102000000.000000', '20240102235959.999999', -300],
  ])('%s', (text, from, to, offsetMinutes) => {
    expect(parseDateTime(text)).toEqual({ from, to, ...(offsetMinutes !== undefined && { offsetMinutes }) });
  });
  it.each(['', '20', '202413', '20240102-2025', '20240102+1500', '20240102+0175', '2024+01'])('not %j', (text) => {
    expect(parseDateTime(text)).toBeUndefined();
  });
  it('compare in UTC', () => {
    expect(toUtc('20240101003000.000001', 60)).toBe('20231231233000.000001');
    expect(toUtc('20240228233000.000000', -60)).toBe('20240229003000.000000');
    expect(toUtc('00500101000000.000000', 0)).toBe('00500101000000.000000');
    expect(parseOffset('-0330')).toBe(-210);
    expect(parseOffset('0330')).toBeUndefined();
  });
});

describe('ranges', () => {
  const dates = (text: string): unknown => {
    const range = parseRange(text, parseDate);
    return range && [range.from?.from, range.to?.to, range.single];
  };
  it('of dates', () => {
    expect(dates('20240101-20240131')).toEqual(['20240101', '20240131', false]);
    expect(dates('20240101-')).toEqual(['20240101', undefined, false]);
    expect(dates('-20240131')).toEqual([undefined, '20240131', false]);
    expect(dates('20240101')).toEqual(['20240101', '20240101', true]);
    expect(dates('2024.01.01-2024.01.31')).toEqual(['20240101', '20240131', false]);
    expect(dates('2024-01-01-2024-01-31')).toEqual(['20240101', '20240131', false]);
    expect(dates('20240101 - 20240131')).toEqual(['20240101', '20240131', false]);
    for (const text of ['-', '--', '', 'a-b', '20240101-x', '20240101-20240102-20240103'])
      expect(dates(text)).toBeUndefined();
  });

  it('of date-times, whose offsets have hyphens too', () => {
    const ends = (text: string): unknown => {
      const range = parseRange(text, parseDateTime);
      return (
        range && [
          range.from?.from.slice(0, 8),
          range.from?.offsetMinutes,
          range.to?.to.slice(0, 8),
          range.to?.offsetMinutes,
        ]
      );
    };
    expect(ends('2019-2021')).toEqual(['20190101', undefined, '20211231', undefined]);
    expect(ends('20240101-0500-20240102-0500')).toEqual(['20240101', -300, '20240102', -300]);
    expect(ends('20240101-0500-')).toEqual(['20240101', -300, undefined, undefined]);
    expect(ends('-20240101-0500')).toEqual([undefined, undefined, '20240101', -300]);
    expect(ends('20240101+0100-20240102')).toEqual(['20240101', 60, '20240102', undefined]);
  });
});
