/**
 * How benchmarks print: a row to a server, and of each peer how many times faster the gateway is.
 */
export interface Row {
  readonly name: string;
  /** In the unit of the table. */
  readonly value: number;
  readonly peakMb?: number;
  /** Of the peak over what was resident before. */
  readonly growthMb?: number;
}

/** @param unit of the values; one that ends in `s` after a slash is a rate (more is better), any other a time (less is better) */
export function printRows(title: string, unit: string, rows: readonly Row[]): void {
  console.log(`\n${title}`);
  const ours = rows.find(({ name }) => name === 'archipel')?.value;
  const isRate = unit.endsWith('/s');
  for (const { name, value, peakMb, growthMb } of rows) {
    const ratio = isRate ? (ours ?? Number.NaN) / value : value / (ours ?? Number.NaN);
    const comparison = name === 'archipel' || ours === undefined ? '' : `archipel is ${ratio.toFixed(2)} x as fast`;
    const memory = peakMb === undefined ? '' : `${peakMb.toFixed(0).padStart(5)} MB RSS`;
    const growth = growthMb === undefined ? '' : `(+${growthMb.toFixed(0)})`.padEnd(8);
    const figure = value >= 100 ? value.toFixed(0) : value.toPrecision(3);
    console.log(`  ${name.padEnd(12)} ${figure.padStart(7)} ${unit}  ${memory} ${growth} ${comparison}`);
  }
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which this part of all lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
