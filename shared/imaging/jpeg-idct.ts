/**
 * The inverse discrete cosine transform of JPEG (ISO/IEC 10918-1 A.3.3) with dequantisation and level shift, in double
 * precision, so that results are the mathematical ones rounded once.
 */

/** Position in an 8 x 8 block, row by row, of the k-th coefficient of the zigzag order (figure A.6). */
export const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55,
  62, 63,
); // biome-ignore format: a table reads better

/** `c(u) / 2 * cos((2x + 1) u π / 16)` at [x * 8 + u]: separable, one for rows and one for columns. */
const BASIS = Float64Array.from({ length: 64 }, (_, i) => {
  const x = i >> 3;
  const u = i & 7;
  return (u === 0 ? Math.SQRT1_2 : 1) * 0.5 * Math.cos(((2 * x + 1) * u * Math.PI) / 16);
});

/**
 * @param coefficients 64 to a block in natural order, blocks row by row, `blockColumns` to a row
 * @param quantisation in zigzag order
 * @returns samples row by row, `blockColumns * 8` to a row, clamped to the precision
 */
export function inverseTransform(
  coefficients: Int16Array,
  quantisation: Uint16Array,
  blockColumns: number,
  precision: number,
): Uint16Array {
  const samples = new Uint16Array(coefficients.length);
  const width = blockColumns * 8;
  const factors = new Float64Array(64);
  for (let k = 0; k < 64; k++) factors[ZIGZAG[k]!] = quantisation[k]!;
  const scaled = new Float64Array(64);
  const half = new Float64Array(64);
  const middle = 2 ** (precision - 1);
  const most = 2 ** precision - 1;
  const rounded = (value: number) => {
    const sample = Math.floor(value + middle + 0.5);
    return Math.max(0, Math.min(most, sample));
  };
  for (let block = 0; 64 * block < coefficients.length; block++) {
    const base = 64 * block;
    const origin = Math.floor(block / blockColumns) * 8 * width + (block % blockColumns) * 8;
    let highest = 0;
    for (let i = 0; i < 64; i++) {
      const value = coefficients[base + i]!;
      scaled[i] = value * factors[i]!;
      if (value !== 0) highest = i;
    }
    if (highest === 0) {
      const flat = rounded(scaled[0]! / 8);
      for (let y = 0; y < 8; y++) samples.fill(flat, origin + y * width, origin + y * width + 8);
      continue;
    }
    const lastRow = highest >> 3;
    for (let v = 0; v <= lastRow; v++) transformLine(scaled, 8 * v, 1, half);
    for (let v = lastRow + 1; v < 8; v++) half.fill(0, 8 * v, 8 * v + 8);
    for (let x = 0; x < 8; x++) transformLine(half, x, 8, scaled);
    for (let y = 0; y < 8; y++) {
      const to = origin + y * width;
      for (let x = 0; x < 8; x++) samples[to + x] = rounded(scaled[8 * y + x]!);
    }
  }
  return samples;
}

/** Eight points, every `step` from `at`, into the same places of `target`; even and odd halves share their products. */
function transformLine(source: Float64Array, at: number, step: number, target: Float64Array): void {
  const s0 = source[at]!;
  const s1 = source[at + step]!;
  const s2 = source[at + 2 * step]!;
  const s3 = source[at + 3 * step]!;
  const s4 = source[at + 4 * step]!;
  const s5 = source[at + 5 * step]!;
  const s6 = source[at + 6 * step]!;
  const s7 = source[at + 7 * step]!;
  for (let x = 0; x < 4; x++) {
    const b = 8 * x;
    const even = s0 * BASIS[b]! + s2 * BASIS[b + 2]! + s4 * BASIS[b + 4]! + s6 * BASIS[b + 6]!;
    const odd = s1 * BASIS[b + 1]! + s3 * BASIS[b + 3]! + s5 * BASIS[b + 5]! + s7 * BASIS[b + 7]!;
    target[at + x * step] = even + odd;
    target[at + (7 - x) * step] = even - odd;
  }
}
