/**
 * Named instants on the way of an instance in, and of a pack out, at which fault tests let the process die. Nothing happens at them otherwise.
 */
export const crashPoints = [
  'after-write',
  'before-sync',
  'after-sync',
  'after-ack-indexed',
  'before-seal',
  'after-central-directory',
  'after-seal-sync',
  'after-rename',
  'after-sealed-mark',
] as const;

export const evictionCrashPoints = ['after-evicted-mark', 'after-evicted-delete'] as const;

/** Is called with one of these names. */
export type CrashPoint = (name: (typeof crashPoints)[number] | (typeof evictionCrashPoints)[number]) => void;
