/**
 * The plot of 24 hours: what was received above the line, what was uploaded below it, as inline SVG that needs no script.
 * Both halves have one scale, so that their sizes can be compared.
 */
import type { Counters } from '../throughput.ts';
import { bytes, escapeHtml } from './words.ts';

const DAY_MINUTES = 24 * 60;
/** Minutes that share a step: finer than this nobody sees on a phone. */
const STEP_MINUTES = 10;
const STEPS = DAY_MINUTES / STEP_MINUTES;
const HALF = 50;

/** @param minutes the oldest first, the present one last; what is missing of a day is before the start */
export function throughputPlot(minutes: readonly Counters[]): string {
  const received = steps(minutes.map((minute) => minute.receivedBytes));
  const uploaded = steps(minutes.map((minute) => minute.uploadedBytes));
  const greatest = Math.max(1, ...received, ...uploaded);
  const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  const peak = greatest / (STEP_MINUTES * 60);
  const words = `Received ${bytes(total(received))} and uploaded ${bytes(total(uploaded))} in the last 24 hours.`;
  const startX = STEPS - Math.ceil(minutes.length / STEP_MINUTES);
  const grid = [6, 12, 18].map((hours) => `<path class="grid" d="M${(hours / 24) * STEPS} 0V100"/>`).join('');
  const before = startX <= 0 ? '' : `<rect class="before" width="${startX}" height="100"/>`;
  return `<svg class="plot" role="img" aria-label="${escapeHtml(words)}" viewBox="0 0 ${STEPS} 100" preserveAspectRatio="none">${before}${grid}<path class="received" d="${area(received, greatest, -1)}"/><path class="uploaded" d="${area(uploaded, greatest, 1)}"/><path class="axis" d="M0 ${HALF}H${STEPS}"/></svg>
<div class="hours"><span>24 h ago</span><span>18 h</span><span>12 h</span><span>6 h <i>now</i></span></div>
<p class="legend"><span><i class="key received"></i>received ${bytes(total(received))}</span><span><i class="key uploaded"></i>uploaded ${bytes(total(uploaded))}</span><span class="faint">busiest ten minutes ${bytes(peak < 1 ? 0 : peak)}/s</span></p>`;
}

/** Sums of ten minutes, the present one's last. */
function steps(minutes: readonly number[]): number[] {
  const sums = Array.from({ length: STEPS }, () => 0);
  for (const [i, value] of minutes.entries()) {
    const step = STEPS - 1 - Math.floor((minutes.length - 1 - i) / STEP_MINUTES);
    sums[step] = (sums[step] ?? 0) + value;
  }
  return sums;
}

/** @param direction -1: upwards from the middle */
function area(values: readonly number[], greatest: number, direction: 1 | -1): string {
  const parts = [`M0 ${HALF}`];
  for (const [x, value] of values.entries()) {
    // Whatever there was can be seen.
    const height = value === 0 ? 0 : Math.max(1, (value / greatest) * (HALF - 2));
    parts.push(`V${(HALF + direction * height).toFixed(1)}H${x + 1}`);
  }
  return `${parts.join('')}V${HALF}Z`;
}
