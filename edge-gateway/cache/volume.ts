/**
 * What the receiver knows about the volume under its folder: whether it may still be written to, and whether there is
 * room. A failed sync fences it until a restart, which verifies what is there; a full disk only refuses until there is space.
 */
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { diskError, errorCode, type Files } from './files.ts';

const SPACE_AGE_MS = 1000;

export class Volume {
  readonly #files: Files;
  readonly #folder: string;
  readonly #reserveBytes: number;
  readonly #log: Logger;
  #fence: string | undefined;
  #freeBytes = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #measuring: Promise<void> | undefined;

  constructor(files: Files, folder: string, reserveBytes: number, log: Logger) {
    this.#files = files;
    this.#folder = folder;
    this.#reserveBytes = reserveBytes;
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
    this.#measuredAt = Number.NEGATIVE_INFINITY;
    return this.#fence === undefined ? refusal : this.#fenced();
  }

  /** Throws `out-of-resources` if the volume is fenced. */
  assertWritable(): void {
    if (this.#fence !== undefined) throw this.#fenced();
  }

  /**
   * Throws `out-of-resources` unless so many bytes may be written and the reserve be left. Measures at most once a second,
   * and counts itself what it has allowed since.
   */
  async assertRoom(bytes: number): Promise<void> {
    this.assertWritable();
    if (performance.now() - this.#measuredAt > SPACE_AGE_MS) {
      this.#measuring ??= this.#measure();
      await this.#measuring;
    }
    if (this.#freeBytes - bytes < this.#reserveBytes)
      throw new ArchiveError('out-of-resources', 'The disk of the gateway is full; send again when there is room.', {
        freeBytes: this.#freeBytes,
        reserveBytes: this.#reserveBytes,
      });
    this.#freeBytes -= bytes;
  }

  async #measure(): Promise<void> {
    try {
      this.#freeBytes = (await this.#files.space(this.#folder)).freeBytes;
      this.#measuredAt = performance.now();
    } catch (error) {
      throw this.writeFailed(error, 'measuring the free space');
    } finally {
      this.#measuring = undefined;
    }
  }

  #fenced(): ArchiveError {
    return new ArchiveError(
      'out-of-resources',
      'The disk of the gateway has failed; nothing is stored on it until an operator has looked at it.',
    );
  }
}
