/**
 * Dates and times that are matched together, as moments (PS3.4 §C.2.2.2.5), also in a time zone.
 */
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { combineDateTime, compileMatch, dateRange, type MatchKey, matchKey } from '#shared/dicom/matching.ts';

describe('dates and times together', () => {
  const DATE = 0x00080020;
  const TIME = 0x00080030;
  const keys = (date: string, time: string): readonly MatchKey[] => [
    matchKey([DATE], 'DA', date),
    matchKey([TIME], 'TM', time),
  ];
  const study = (date: string, time?: string): DicomJson => ({
    '00080020': { vr: 'DA', Value: [date] },
    ...(time !== undefined && { '00080030': { vr: 'TM', Value: [time] } }),
  });
  const matches = (date: string, time: string, attributes: DicomJson): boolean =>
    compileMatch(combineDateTime(keys(date, time)))(attributes);

  it('are one range from the first instant to the last', () => {
    const [date, time] = ['20240101-20240103', '2200-0600'];
    expect(matches(date, time, study('20240101', '215959'))).toBe(false);
    expect(matches(date, time, study('20240101', '22'))).toBe(true);
    expect(matches(date, time, study('20240102', '120000'))).toBe(true);
    expect(matches(date, time, study('20240103', '060059'))).toBe(true);
    expect(matches(date, time, study('20240103', '0601'))).toBe(false);
    expect(matches('20240101-', '2200-', study('20240102', '01'))).toBe(true);
    expect(matches('-20240101', '-1200', study('20231231', '23'))).toBe(true);
    expect(matches('-20240101', '-1200', study('20240101', '13'))).toBe(false);
    expect(matches(date, time, {})).toBe(false);
  });

  it('leave a study without a time where its date may lie', () => {
    expect(matches('20240101-20240103', '2200-0600', study('20240101'))).toBe(true);
    expect(matches('20240101-20240103', '2200-0600', study('20240104'))).toBe(false);
  });

  it('stay apart when one is no range, or nobody combines them', () => {
    expect(combineDateTime(keys('20240101', '10-12'))).toEqual(keys('20240101', '10-12'));
    expect(combineDateTime(keys('20240101-20240102', '10'))).toEqual(keys('20240101-20240102', '10'));
    expect(compileMatch(keys('20240101-20240103', '22-23'))(study('20240102', '12'))).toBe(false);
    const other = [matchKey([DATE], 'DA', '20240101-'), matchKey([0x00080031], 'TM', '10-')];
    expect(combineDateTime(other)).toEqual(other);
  });

  it('still tell a planner the dates', () => {
    const [key, ...rest] = combineDateTime(keys('20240101-20240103', '22-06'));
    expect(rest).toEqual([]);
    expect(dateRange(key!)).toEqual({ from: '20240101', to: '20240103' });
  });

  describe('in a time zone', () => {
    const inZone = (offset: number, date: string, time: string, attributes: DicomJson, zone?: string): boolean =>
      compileMatch(combineDateTime(keys(date, time), offset))({
        ...attributes,
        ...(zone !== undefined && { '00080201': { vr: 'SH', Value: [zone] } }),
      });

    it('a date is a day there', () => {
      // Half past eleven in the evening in London is the next day in Tokyo.
      expect(inZone(540, '20240102', '', study('20240101', '2330'), '+0000')).toBe(true);
      expect(inZone(540, '20240101', '', study('20240101', '2330'), '+0000')).toBe(false);
      expect(inZone(540, '-20240101', '', study('20240101', '1459'), '+0000')).toBe(true);
      expect(inZone(540, '20240102-', '', study('20240101', '1500'), '+0000')).toBe(true);
    });

    it('a range of times is one of moments', () => {
      expect(inZone(60, '20240101', '1000-1100', study('20240101', '0930'), '+0000')).toBe(true);
      expect(inZone(60, '20240101', '1000-1100', study('20240101', '1030'), '+0000')).toBe(false);
      expect(inZone(-300, '20231231-20240101', '2000-0100', study('20240101', '0200'), '+0100')).toBe(true);
    });

    it('what does not say its zone is taken to be of the same', () => {
      expect(inZone(540, '20240101', '', study('20240101', '2330'))).toBe(true);
      expect(inZone(540, '20240102', '', study('20240101', '2330'))).toBe(false);
    });

    it('people are born on a day', () => {
      const born = [matchKey([0x00100030], 'DA', '19700101')];
      expect(combineDateTime(born, 540)).toEqual(born);
    });

    it('a planner is told of every date that may be meant', () => {
      const [key] = combineDateTime(keys('20240101', ''), 840);
      const { from = '', to = '' } = dateRange(key!) ?? {};
      expect([from <= '20231231', to >= '20240102', from >= '20231230', to <= '20240103']).toEqual([
        true,
        true,
        true,
        true,
      ]);
    });
  });

  it('combine within one item of a sequence', () => {
    const step = 0x00400100;
    const combined = combineDateTime([
      matchKey([step, 0x00400002], 'DA', '20240101-20240102'),
      matchKey([step, 0x00400003], 'TM', '22-06'),
    ]);
    const scheduled = (...items: [string, string][]): DicomJson => ({
      '00400100': {
        vr: 'SQ',
        Value: items.map(([date, time]) => ({
          '00400002': { vr: 'DA', Value: [date] },
          '00400003': { vr: 'TM', Value: [time] },
        })),
      },
    });
    expect(compileMatch(combined)(scheduled(['20240101', '10'], ['20240102', '05']))).toBe(true);
    expect(compileMatch(combined)(scheduled(['20240101', '10'], ['20240102', '10']))).toBe(false);
  });
});
