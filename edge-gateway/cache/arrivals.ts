/**
 * What the receiver knows that the index does not know yet: versions of an instance that were stored and not indexed, and
 * who is deciding about an instance right now. One turn at a time for each instance: of two senders of the same bytes one
 * stores, and the other waits and finds a duplicate.
 */
import type { InstanceRef } from '#shared/archive/records.ts';

/** A version of an instance: enough to decide about another one. */
export interface Version {
  readonly digest: string;
  readonly packId: string;
}

interface Slot {
  /** Senders who look at this instance and records that are not indexed yet: while there are any, the slot stays. */
  users: number;
  /** Stored since the slot exists. They stay while it does: an answer of the index may be older than they are. */
  readonly versions: Version[];
  turn: Promise<void>;
}

export class Arrivals {
  readonly #slots = new Map<string, Slot>();
  #storedInstances = 0;
  #storedBytes = 0;

  /** What came from outside since this process began, duplicates not counted. */
  get stored(): { readonly instances: number; readonly bytes: number } {
    return { instances: this.#storedInstances, bytes: this.#storedBytes };
  }

  get size(): number {
    return this.#slots.size;
  }

  /** From now on nothing that happens to the instance is forgotten until the same is released as often. */
  hold(ref: InstanceRef): void {
    const key = keyOf(ref);
    const slot = this.#slots.get(key);
    if (slot === undefined) this.#slots.set(key, { users: 1, versions: [], turn: Promise.resolve() });
    else slot.users++;
  }

  release(ref: InstanceRef): void {
    const key = keyOf(ref);
    const slot = this.#slots.get(key);
    if (slot !== undefined && --slot.users === 0) this.#slots.delete(key);
  }

  /** The held instance's versions that were stored since it is held, oldest first. */
  versions(ref: InstanceRef): readonly Version[] {
    return this.#slots.get(keyOf(ref))?.versions ?? [];
  }

  /** A version of the held instance is on stable storage, in so many bytes of its pack. */
  add(ref: InstanceRef, version: Version, lengthBytes: number): void {
    this.#storedInstances++;
    this.#storedBytes += lengthBytes;
    this.#slots.get(keyOf(ref))?.versions.push(version);
  }

  /** Runs `work` when all earlier work on the held instance has ended. */
  async inTurn<T>(ref: InstanceRef, work: () => Promise<T>): Promise<T> {
    const slot = this.#slots.get(keyOf(ref));
    if (slot === undefined) throw new Error('an instance that is not held has no turns');
    const before = slot.turn;
    const turn = before.then(work);
    slot.turn = turn.then(
      () => {},
      () => {},
    );
    return turn;
  }
}

const keyOf = (ref: InstanceRef): string => `${ref.studyInstanceUid}\n${ref.seriesInstanceUid}\n${ref.sopInstanceUid}`;
