/**
 * How much of a data set is read at most before it is refused: its depth, the number of its elements and items, and its
 * length. What keeps a reader bounded whatever it is fed.
 */
import { ArchiveError } from '../errors.ts';

export const MAX_NESTING = 32;
/** Elements, and apart from them items and fragments, of one data set. */
export const MAX_ELEMENTS = 200_000;
/** Of a data set as far as it is read: without Pixel Data and without bulk values. */
export const MAX_HEADER_BYTES = 64 * 1024 * 1024;
export const DEFAULT_BULK_THRESHOLD_BYTES = 1024 * 1024;

function exceeded(message: string, limit: number): ArchiveError {
  return new ArchiveError('limit-exceeded', message, { limit });
}

export class HeaderLimits {
  #elements = 0;
  #items = 0;
  #committedElements = 0;
  #committedItems = 0;
  #startBytes: number;

  /** @param startBytes source offset of the data set */
  constructor(startBytes: number) {
    this.#startBytes = startBytes;
  }

  countElement(): void {
    if (++this.#elements > MAX_ELEMENTS) {
      throw exceeded(`The data set has more than ${MAX_ELEMENTS} elements`, MAX_ELEMENTS);
    }
  }

  countItem(): void {
    if (++this.#items > MAX_ELEMENTS) {
      throw exceeded(`The data set has more than ${MAX_ELEMENTS} sequence items`, MAX_ELEMENTS);
    }
  }

  checkNesting(depth: number): void {
    if (depth > MAX_NESTING) {
      throw exceeded(`The data set has sequences nested more than ${MAX_NESTING} deep`, MAX_NESTING);
    }
  }

  /** @param upToBytes source offset up to which the data set is read, or wants to be */
  checkLength(upToBytes: number): void {
    if (upToBytes - this.#startBytes > MAX_HEADER_BYTES) {
      throw exceeded(
        `The data set before Pixel Data is longer than ${MAX_HEADER_BYTES} bytes, bulk values aside`,
        MAX_HEADER_BYTES,
      );
    }
  }

  /** A bulk value is passed over: it does not count. */
  passOver(lengthBytes: number): void {
    this.#startBytes += lengthBytes;
  }

  /** What was counted so far stays counted. */
  commit(): void {
    this.#committedElements = this.#elements;
    this.#committedItems = this.#items;
  }

  /** Back to the last `commit`: the same bytes will be read again. */
  rollBack(): void {
    this.#elements = this.#committedElements;
    this.#items = this.#committedItems;
  }
}
