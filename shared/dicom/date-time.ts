/**
 * Dates and times as text: VR DA, TM and DT of PS3.5 §6.2 with the older forms of ACR-NEMA (`2024.01.02`, `12:34`), brought
 * into fixed forms that sort as text, and the ranges of PS3.4 §C.2.2.2.5 over them. A value of partial precision is
 * the interval of everything it leaves open. No clock, no local time zone.
 */

/** The first and the last microsecond that the value allows. */
export interface Interval {
  /** DA `YYYYMMDD`, TM `HHMMSS.ffffff`, DT both together. */
  readonly from: string;
  readonly to: string;
  /** Of DT, when the value gives it: to be subtracted for UTC. */
  readonly offsetMinutes?: number;
}

export type Parse = (text: string) => Interval | undefined;

const datePattern = /^(\d{4})([.-]?)(\d{2})\2(\d{2})$/;
const timePattern = /^(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?$/;
const dateTimePattern =
  /^(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?)?)?(?:([+-])(\d{2})(\d{2}))?$/;

export const parseDate: Parse = (text) => {
  const match = datePattern.exec(text);
  if (match === null || !isMonthAndDay(match[3]!, match[4]!)) return undefined;
  const date = match[1]! + match[3]! + match[4]!;
  return { from: date, to: date };
};

export const parseTime: Parse = (text) => {
  const match = timePattern.exec(text);
  return match === null ? undefined : timeOfDay(match[1], match[2], match[3], match[4]);
};

/** A four-digit offset that no clock on Earth has is not an offset: `2019-2021` is no DT value (but a range of two). */
export const parseDateTime: Parse = (text) => {
  const match = dateTimePattern.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction, sign, offsetHours, offsetMinutes] = match;
  if (!isMonthAndDay(month ?? '01', day ?? '01')) return undefined;
  const time = timeOfDay(hour, minute, second, fraction);
  if (time === undefined) return undefined;
  const interval = {
    from: year! + (month ?? '01') + (day ?? '01') + time.from,
    to: year! + (month ?? '12') + (day ?? lastDay(year!, month ?? '12')) + time.to,
  };
  if (sign === undefined) return interval;
  const minutes = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === '-' ? -1 : 1);
  return Number(offsetMinutes) > 59 || minutes < -12 * 60 || minutes > 14 * 60
    ? undefined
    : { ...interval, offsetMinutes: minutes };
};

/** `±HHMM` as in (0008,0201), in minutes. */
export function parseOffset(text: string): number | undefined {
  const match = /^([+-])(\d{2})(\d{2})$/.exec(text);
  if (match === null) return undefined;
  return (Number(match[2]) * 60 + Number(match[3])) * (match[1] === '-' ? -1 : 1);
}

function timeOfDay(hour?: string, minute?: string, second?: string, fraction?: string): Interval | undefined {
  // PS3.5 §6.2: 60 is for the leap second.
  if (Number(hour ?? 0) > 23 || Number(minute ?? 0) > 59 || Number(second ?? 0) > 60) return undefined;
  return {
    from: `${hour ?? '00'}${minute ?? '00'}${second ?? '00'}.${(fraction ?? '').padEnd(6, '0')}`,
    to: `${hour ?? '23'}${minute ?? '59'}${second ?? '59'}.${(fraction ?? '').padEnd(6, '9')}`,
  };
}

const isMonthAndDay = (month: string, day: string): boolean =>
  month >= '01' && month <= '12' && day >= '01' && day <= '31';

const lastDay = (year: string, month: string): string =>
  String(new Date(Date.UTC(2000 + (Number(year) % 400), Number(month), 0)).getUTCDate());

/**
 * `a`, `a-b`, `a-` or `-b`. A hyphen may also belong to an offset from UTC (DT) or to a date of the form 2024-01-02: the
 * reading as one value goes first, then the first hyphen that leaves a value or nothing on both sides.
 */
export function parseRange(
  text: string,
  parse: Parse,
): { from?: Interval; to?: Interval; single: boolean } | undefined {
  const value = parse(text);
  if (value !== undefined) return { from: value, to: value, single: true };
  for (let at = text.indexOf('-'); at >= 0; at = text.indexOf('-', at + 1)) {
    const left = text.slice(0, at).trim();
    const right = text.slice(at + 1).trim();
    const from = left === '' ? undefined : parse(left);
    const to = right === '' ? undefined : parse(right);
    if ((left !== '' && from === undefined) || (right !== '' && to === undefined)) continue;
    if (from === undefined && to === undefined) continue;
    return { ...(from && { from }), ...(to && { to }), single: false };
  }
  return undefined;
}

/** Of `YYYYMMDDHHMMSS.ffffff`, in UTC, in the same form: for comparing values with different offsets. */
export function toUtc(local: string, offsetMinutes: number): string {
  const date = new Date(0);
  date.setUTCFullYear(Number(local.slice(0, 4)), Number(local.slice(4, 6)) - 1, Number(local.slice(6, 8)));
  date.setUTCHours(Number(local.slice(8, 10)), Number(local.slice(10, 12)) - offsetMinutes);
  const two = (number: number): string => String(number).padStart(2, '0');
  const year = String(Math.max(0, date.getUTCFullYear())).padStart(4, '0');
  const day = `${year}${two(date.getUTCMonth() + 1)}${two(date.getUTCDate())}`;
  return `${day}${two(date.getUTCHours())}${two(date.getUTCMinutes())}${local.slice(12)}`;
}
