/**
 * Planes through a volume and slabs about them, in the patient's coordinates: how they are placed and turned, and at
 * which depths a slab is sampled. Cutting is volume-reslice.ts.
 */
import type { Vec3 } from './volume-geometry.ts';

export interface Plane {
  /** The middle of the picture: for an even width between its two middle columns. */
  readonly center: Vec3;
  /** Unit vectors, perpendicular to each other. */
  readonly right: Vec3;
  readonly down: Vec3;
  /** Of a pixel, in both directions. */
  readonly spacingMm: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** What lies within half the thickness on both sides of a plane. */
export interface Slab {
  readonly thicknessMm: number;
  readonly method: 'average' | 'maximum' | 'minimum';
}
