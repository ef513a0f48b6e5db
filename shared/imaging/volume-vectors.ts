/** Arithmetic of positions and directions in space, as volumes and planes need it. */
import type { Vec3 } from './volume-geometry.ts';

export const add = (a: Vec3, b: Vec3): Vec3 => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];

export const subtract = (a: Vec3, b: Vec3): Vec3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

export const scale = (a: Vec3, factor: number): Vec3 => [a[0] * factor, a[1] * factor, a[2] * factor];

export const dot = (a: Vec3, b: Vec3): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

export const cross = (a: Vec3, b: Vec3): Vec3 => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

export const length = (a: Vec3): number => Math.hypot(a[0], a[1], a[2]);

/** NaN for a vector without length. */
export const normalized = (a: Vec3): Vec3 => scale(a, 1 / length(a));

/** About an axis through the origin, by the right-hand rule (Rodrigues). */
export function rotated(a: Vec3, axis: Vec3, radians: number): Vec3 {
  const k = normalized(axis);
  const cos = Math.cos(radians);
  const turned = add(scale(a, cos), scale(cross(k, a), Math.sin(radians)));
  return add(turned, scale(k, dot(k, a) * (1 - cos)));
}
