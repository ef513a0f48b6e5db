/**
 * A head for the demonstration: a CT of nested ellipsoids in Hounsfield units, with skull, folded cortex, ventricles,
 * eyes, sinuses, jaw and one small bleeding to find. Deterministic: the same slice always has the same pixels.
 * Patient axes: x to the left, y to the back, z to the head (PS3.3 §C.7.6.2.1.1), in millimetres from the middle.
 */

export const PHANTOM_MATRIX = 512;
export const PHANTOM_PIXEL_MM = 0.45;
const HEIGHT_MM = 200;

interface Ellipsoid {
  readonly center: readonly [number, number, number];
  readonly radii: readonly [number, number, number];
  /** About z, in degrees. */
  readonly turn?: number;
  readonly hounsfield: number | 'brain';
  /** Only where the brain is. */
  readonly inside?: true;
}

const brainCenter = [0, 0, 11] as const;
const brainRadii = [66.5, 84, 78] as const;

/** Painted in this order, the later over the earlier. */
const anatomy: readonly Ellipsoid[] = [
  { center: [0, 8, -120], radii: [52, 55, 75], hounsfield: 45 },
  { center: [0, -10, -70], radii: [58, 72, 52], hounsfield: 50 },
  { center: [0, 0, 10], radii: [80, 98, 92], hounsfield: 35 },
  { center: [0, 0, 10], radii: [76, 94, 88], hounsfield: 850 },
  { center: [0, 0, 10], radii: [73.5, 91.5, 85.5], hounsfield: 450 },
  { center: [0, 0, 10], radii: [71, 89, 83], hounsfield: 900 },
  { center: [0, 0, 11], radii: [68, 86, 80], hounsfield: 8 },
  { center: brainCenter, radii: brainRadii, hounsfield: 'brain' },
  // Behind and below: cerebellum and stem, between the petrous bones.
  { center: [0, 48, -38], radii: [45, 32, 26], hounsfield: 36, inside: true },
  { center: [0, 22, -55], radii: [13, 14, 45], hounsfield: 33 },
  { center: [42, 18, -48], radii: [26, 8, 8], turn: 25, hounsfield: 1100 },
  { center: [-42, 18, -48], radii: [26, 8, 8], turn: -25, hounsfield: 1100 },
  { center: [44, 20, -48], radii: [6, 4, 4], hounsfield: -700 },
  { center: [-44, 20, -48], radii: [6, 4, 4], hounsfield: -700 },
  // Ventricles, with their choroid plexus calcified on both sides.
  { center: [11, -14, 22], radii: [5, 24, 13], turn: -14, hounsfield: 4 },
  { center: [-11, -14, 22], radii: [5, 24, 13], turn: 14, hounsfield: 4 },
  { center: [20, 26, 14], radii: [6, 22, 10], turn: 18, hounsfield: 4 },
  { center: [-20, 26, 14], radii: [6, 22, 10], turn: -18, hounsfield: 4 },
  { center: [0, -4, 4], radii: [2.4, 14, 9], hounsfield: 4 },
  { center: [21, 32, 12], radii: [2.4, 4, 2.5], hounsfield: 180 },
  { center: [-21, 32, 12], radii: [2.4, 4, 2.5], hounsfield: 180 },
  { center: [0, 12, 6], radii: [2, 2.4, 2], hounsfield: 220 },
  // Basal ganglia and thalami.
  { center: [22, -8, 12], radii: [8, 18, 13], turn: -12, hounsfield: 40 },
  { center: [-22, -8, 12], radii: [8, 18, 13], turn: 12, hounsfield: 40 },
  { center: [9, 6, 8], radii: [7, 11, 9], hounsfield: 39 },
  { center: [-9, 6, 8], radii: [7, 11, 9], hounsfield: 39 },
  // Falx.
  { center: [0, -62, 48], radii: [0.9, 24, 34], hounsfield: 70, inside: true },
  { center: [0, 58, 42], radii: [0.9, 28, 36], hounsfield: 70, inside: true },
  // Face: orbits, eyes with lenses, sinuses, nose, jaw, teeth, spine.
  { center: [31, -52, -38], radii: [18, 19, 17], hounsfield: -70 },
  { center: [-31, -52, -38], radii: [18, 19, 17], hounsfield: -70 },
  { center: [31, -58, -38], radii: [12.5, 12.5, 12.5], hounsfield: 12 },
  { center: [-31, -58, -38], radii: [12.5, 12.5, 12.5], hounsfield: 12 },
  { center: [31, -67.5, -38], radii: [5, 2.2, 5], hounsfield: 85 },
  { center: [-31, -67.5, -38], radii: [5, 2.2, 5], hounsfield: 85 },
  { center: [27, -62, -70], radii: [15, 17, 17], hounsfield: 700 },
  { center: [-27, -62, -70], radii: [15, 17, 17], hounsfield: 700 },
  { center: [27, -62, -70], radii: [13, 15, 15], hounsfield: -950 },
  { center: [-27, -62, -70], radii: [13, 15, 15], hounsfield: -950 },
  { center: [0, -88, -58], radii: [11, 17, 26], hounsfield: 30 },
  { center: [5, -74, -62], radii: [3, 24, 20], hounsfield: -900 },
  { center: [-5, -74, -62], radii: [3, 24, 20], hounsfield: -900 },
  { center: [14, -86, 2], radii: [11, 5, 9], hounsfield: -900 },
  { center: [-13, -86, 1], radii: [9, 5, 8], hounsfield: -900 },
  { center: [0, 22, -112], radii: [15, 13, 75], hounsfield: 420 },
  { center: [0, 26, -112], radii: [8, 7, 80], hounsfield: 25 },
  // A bleeding in the right hemisphere, with its oedema.
  { center: [-38, 10, 34], radii: [15, 19, 14], turn: 20, hounsfield: 22, inside: true },
  { center: [-38, 10, 34], radii: [8, 11, 7.5], turn: 20, hounsfield: 68 },
];

/** Where slice `index` of `count` lies, in mm: the first is the lowest. */
export function phantomPosition(index: number, count: number): number {
  return -HEIGHT_MM / 2 + ((index + 0.5) * HEIGHT_MM) / count;
}

/** The stored values of one slice, 512 x 512, in Hounsfield units, row by row from the front right. */
export function phantomSlice(index: number, count: number): Int16Array {
  const z = phantomPosition(index, count);
  const pixels = new Int16Array(PHANTOM_MATRIX * PHANTOM_MATRIX).fill(-1000);
  for (const ellipsoid of anatomy) paint(pixels, ellipsoid, z);
  for (let tooth = -7; tooth <= 7; tooth++) {
    const angle = (tooth * Math.PI) / 20;
    const center = [Math.sin(angle) * 30, -52 - Math.cos(angle) * 28, -90] as const;
    paint(pixels, { center, radii: [3, 4, 8], hounsfield: 1800 }, z);
  }
  addNoise(pixels, index);
  return pixels;
}

function paint(pixels: Int16Array, { center, radii, turn = 0, hounsfield, inside }: Ellipsoid, z: number): void {
  const dz = (z - center[2]) / radii[2];
  const rest = 1 - dz * dz;
  if (rest <= 0) return;
  const reach = Math.max(radii[0], radii[1]) * Math.sqrt(rest);
  const cos = Math.cos((turn * Math.PI) / 180);
  const sin = Math.sin((turn * Math.PI) / 180);
  const half = PHANTOM_MATRIX / 2;
  const first = (mm: number): number => Math.max(0, Math.floor((mm - reach) / PHANTOM_PIXEL_MM + half));
  const last = (mm: number): number => Math.min(PHANTOM_MATRIX - 1, Math.ceil((mm + reach) / PHANTOM_PIXEL_MM + half));
  for (let row = first(center[1]); row <= last(center[1]); row++) {
    const y = (row - half + 0.5) * PHANTOM_PIXEL_MM;
    for (let column = first(center[0]); column <= last(center[0]); column++) {
      const x = (column - half + 0.5) * PHANTOM_PIXEL_MM;
      const u = ((x - center[0]) * cos + (y - center[1]) * sin) / radii[0];
      const v = ((y - center[1]) * cos - (x - center[0]) * sin) / radii[1];
      const square = u * u + v * v;
      if (square > rest || (inside && !inBrain(x, y, z))) continue;
      pixels[row * PHANTOM_MATRIX + column] =
        hounsfield === 'brain' ? brain(x, y, z, Math.sqrt(square + dz * dz)) : hounsfield;
    }
  }
}

function inBrain(x: number, y: number, z: number): boolean {
  const [u, v, w] = [
    (x - brainCenter[0]) / brainRadii[0],
    (y - brainCenter[1]) / brainRadii[1],
    (z - brainCenter[2]) / brainRadii[2],
  ];
  return u * u + v * v + w * w <= 1;
}

/** White matter inside, a folded grey rim, fluid in the sulci. `radius` is 1 at the surface. */
function brain(x: number, y: number, z: number, radius: number): number {
  const fold =
    Math.sin(x * 0.23 + 2.1 * Math.sin(y * 0.11 + z * 0.05)) *
    Math.sin(y * 0.21 + 1.9 * Math.sin(x * 0.09 - z * 0.07)) *
    Math.cos(z * 0.16 + Math.sin(x * 0.08));
  if (radius > 0.8 && Math.abs(fold) < 0.05 + (radius - 0.8) * 0.35) return 10;
  if (radius > 0.86 - 0.1 * fold || Math.abs(x) < 1.2) return 39;
  return 29;
}

/** A little quantum noise, so that it looks like a scan; a linear congruential generator seeded by the slice. */
function addNoise(pixels: Int16Array, seed: number): void {
  let state = (seed * 2_654_435_761 + 1_013_904_223) >>> 0;
  for (let i = 0; i < pixels.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const triangle = ((state >>> 24) + ((state >>> 16) & 0xff) - 255) / 255;
    pixels[i] = Math.max(-1024, (pixels[i] ?? 0) + Math.round(triangle * 7));
  }
}
