/**
 * At what hours of the day packs are uploaded, by the wall clock of the hospital: a window from 22:00 to 06:00 goes over
 * midnight, and on the days when clocks change it is still what the clock on the wall shows that counts.
 */
import type { UploadHours } from '../settings.ts';

/** @param hours empty: always */
export function isUploadTime(hours: readonly UploadHours[], atMs: number): boolean {
  if (hours.length === 0) return true;
  const at = new Date(atMs);
  const minute = at.getHours() * 60 + at.getMinutes();
  return hours.some((window) => {
    const [from, to] = [minuteOf(window.from), minuteOf(window.to)];
    // The same time twice is the whole day: nobody writes down a window of nothing.
    if (from === to) return true;
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
  });
}

/** Of `HH:MM`; 24:00 is the end of the day. */
function minuteOf(time: string): number {
  const [hour, minute] = time.split(':').map(Number);
  return (hour ?? 0) * 60 + (minute ?? 0);
}
