/**
 * How much of a data set is read at most before it is refused: its depth, the number of its elements and items, and its
 * length. What keeps a reader bounded whatever it is fed.
 */
import { ArchiveError } from '../errors.ts';
import { type ByteWindow, moreBytesNeeded } from './byte-window.ts';

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
  readonly #window: ByteWindow;
  /** Source offset of the data set, moved on by each bulk value. */
  #startBytes: number;

  /** For a data set that begins where the window is. */
  constructor(window: ByteWindow) {
    this.#window = window;
    this.#startBytes = window.position;
  }

  /**
   * Whether so many bytes lie at index `at` of the window. False: they never will. Where they have only not come yet, it says
   * in the window how many are needed and throws `moreBytesNeeded`.
   */
  has(at: number, lengthBytes: number): boolean {
    const window = this.#window;
    if (at + lengthBytes <= window.filled) return true;
    const needed = window.base + at + lengthBytes;
    this.checkLength(needed);
    if (window.ended) return false;
    // Reading starts anew at the last complete top-level element: what was read in vain must double before the next try.
    const read = at - (window.position - window.base);
    window.neededBytes = Math.min(Math.max(needed, window.position + 2 * read), window.totalBytes);
    throw moreBytesNeeded;
  }

  /** Of what came so far, how much is no bulk value: it is in memory. */
  get heldBytes(): number {
    return Math.max(0, Math.max(this.#window.received, this.#window.position) - this.#startBytes);
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
