/**
 * The hours of upload, by the clock on the hospital's wall: over midnight, and on the days when clocks change.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isUploadTime } from '#edge-gateway/upload/upload-hours.ts';

const zone = process.env.TZ;
beforeEach(() => {
  process.env.TZ = 'Europe/Berlin';
});
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const at = (text: string): number => Date.parse(text);

describe('hours of upload', () => {
  it('are all of them when none are given', () => {
    expect(isUploadTime([], at('2026-06-01T12:00:00+02:00'))).toBe(true);
    expect(isUploadTime([{ from: '00:00', to: '24:00' }], at('2026-06-01T23:59:59+02:00'))).toBe(true);
    expect(isUploadTime([{ from: '08:00', to: '08:00' }], at('2026-06-01T12:00:00+02:00'))).toBe(true);
  });

  it('begin with their first minute and end before their last, any of several windows', () => {
    const hours = [
      { from: '06:00', to: '07:30' },
      { from: '12:00', to: '13:00' },
    ];
    expect(isUploadTime(hours, at('2026-06-01T05:59:59+02:00'))).toBe(false);
    expect(isUploadTime(hours, at('2026-06-01T06:00:00+02:00'))).toBe(true);
    expect(isUploadTime(hours, at('2026-06-01T07:29:59+02:00'))).toBe(true);
    expect(isUploadTime(hours, at('2026-06-01T07:30:00+02:00'))).toBe(false);
    expect(isUploadTime(hours, at('2026-06-01T12:30:00+02:00'))).toBe(true);
  });

  it('go over midnight', () => {
    const hours = [{ from: '22:00', to: '06:00' }];
    expect(isUploadTime(hours, at('2026-06-01T21:59:00+02:00'))).toBe(false);
    expect(isUploadTime(hours, at('2026-06-01T23:00:00+02:00'))).toBe(true);
    expect(isUploadTime(hours, at('2026-06-02T05:59:00+02:00'))).toBe(true);
    expect(isUploadTime(hours, at('2026-06-02T06:00:00+02:00'))).toBe(false);
  });

  it('are what the clock on the wall shows when clocks change', () => {
    const hours = [{ from: '02:00', to: '03:00' }];
    // 29 March 2026: from 01:59:59 to 03:00:00; the hour is not there.
    expect(isUploadTime(hours, at('2026-03-29T00:59:59Z'))).toBe(false);
    expect(isUploadTime(hours, at('2026-03-29T01:00:00Z'))).toBe(false);
    // 25 October 2026: it comes twice.
    expect(isUploadTime(hours, at('2026-10-25T00:30:00Z'))).toBe(true);
    expect(isUploadTime(hours, at('2026-10-25T01:30:00Z'))).toBe(true);
    expect(isUploadTime(hours, at('2026-10-25T02:00:00Z'))).toBe(false);
  });
});
