/**
 * What the receiver knows about the volume under its folder: whether it may still be written to, and whether there is
 * room. A failed sync fences it until a restart, which verifies what is there; a full disk only refuses until there is space.
 */
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { DiskRoom } from './disk-room.ts';
import { diskError, errorCode } from './files.ts';
import { SyncGroup } from './sync-group.ts';
import type { VolumeProof } from './volume-proof.ts';

export class Volume {
  readonly #room: DiskRoom;
  readonly #proof: SyncGroup;
  readonly #log: Logger;
  #fence: string | undefined;

  constructor(room: DiskRoom, proof: VolumeProof, log: Logger) {
    this.#room = room;
    this.#proof = new SyncGroup(() => proof.prove());
    this.#log = log;
  }

  /** Why nothing may be written any more; undefined while all is well. */
  get fence(): string | undefined {
    return this.#fence;
  }

  /**
   * A sync failed, or the disk: what the system still holds of earlier writes is unknown from now on, so nothing is
   * acknowledged before a restart has read the folder anew.
   */
  raiseFence(error: unknown, doing: string): void {
    if (this.#fence !== undefined) return;
    this.#fence = `The disk failed (${errorCode(error) ?? 'unknown error'}) while ${doing}.`;
    this.#log.error(
      { err: error, doing },
      'the volume is fenced: nothing is stored on it until the gateway is restarted',
    );
  }

  /** What to do about a failed write: answers the refusal; an error that is not about room fences the volume. */
  writeFailed(error: unknown, doing: string): ArchiveError {
    const refusal = diskError(error, doing);
    if (refusal.code !== 'out-of-resources' || errorCode(error) === 'EROFS') this.raiseFence(error, doing);
    this.#room.changed();
    return this.#fence === undefined ? refusal : this.#fenced();
  }

  /** Throws `out-of-resources` if the volume is fenced. */
  assertWritable(): void {
    if (this.#fence !== undefined) throw this.#fenced();
  }

  /**
   * A sync has ended well, as it says: throws `out-of-resources`, and the volume is fenced, unless the volume still takes changes
   * and no other sync has failed meanwhile; else the word of this one is worth nothing.
   */
  async assertSynced(): Promise<void> {
    this.assertWritable();
    try {
      await this.#proof.synced();
    } catch (error) {
      this.raiseFence(error, 'proving a sync');
    }
    this.assertWritable();
  }

  /**
   * Promises so many bytes to somebody who writes them now, and calls what this answers when they are written, or will not be.
   * Throws `out-of-resources` if the volume is fenced, or unless the reserve is left.
   */
  async claim(bytes: number): Promise<() => void> {
    this.assertWritable();
    try {
      return await this.#room.claim(bytes);
    } catch (error) {
      if (isArchiveError(error)) throw error;
      throw this.writeFailed(error, 'measuring the free space');
    }
  }

  #fenced(): ArchiveError {
    return new ArchiveError(
      'out-of-resources',
      'The disk of the gateway has failed; nothing is stored on it until an operator has looked at it.',
    );
  }
}
