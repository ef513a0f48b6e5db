/**
 * Instance Availability (0008,0056), PS3.3 §C.4.23.1.1: how soon what was found can be had. Where the bytes lie, and
 * which of the terms follows from it, is the archive's; the terms are the standard's.
 */

export type InstanceAvailability =
  /** At once. */
  | 'ONLINE'
  /** After a delay: from slower storage, by itself when it is asked for. */
  | 'NEARLINE'
  /** Only after somebody has done something by hand. */
  | 'OFFLINE'
  /** Not at all, though it is known. */
  | 'UNAVAILABLE';
