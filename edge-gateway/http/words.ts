/**
 * Numbers as people read them, and text as HTML. SI units, as disks and lines are sold; times in the one unit that matters.
 */

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

export const count = (n: number): string => Math.round(n).toLocaleString('en');

/** `1 pack`, `2 packs`, `1,200 packs` */
export const counted = (n: number, noun: string): string => `${count(n)} ${noun}${n === 1 ? '' : 's'}`;

export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const power = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** power;
  return `${value.toFixed(power === 0 || value >= 99.95 ? 0 : 1)} ${units[power]}`;
}

/** `40 s`, `12 min`, `5 h`, `3 days` */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3_600)} h`;
  return `${count(seconds / 86_400)} days`;
}

export const ago = (ms: number): string => (ms < 2_000 ? 'just now' : `${duration(ms)} ago`);
