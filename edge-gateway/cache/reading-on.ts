/**
 * Reads on where a failing disk does not give some sectors of a file: they read as zeros, which no checksum takes for what was
 * written, so that what is whole can be found. Only for who looks for that: everybody else must fail.
 */
import type { OpenFile } from './files.ts';
import { mayPass } from './pack-check.ts';

export interface ReadingOn extends OpenFile {
  /** Whether anything read so far was not given. */
  readonly hasFailed: boolean;
}

const SECTOR_BYTES = 4096;

/** The same file. Errors of reading that say nothing about its bytes (see mayPass) come as they are. */
export function readingOn(file: OpenFile): ReadingOn {
  let hasFailed = false;
  return {
    get hasFailed() {
      return hasFailed;
    },
    write: (buffers, positionBytes) => file.write(buffers, positionBytes),
    datasync: () => file.datasync(),
    truncate: (lengthBytes) => file.truncate(lengthBytes),
    lengthBytes: () => file.lengthBytes(),
    close: () => file.close(),
    async read(into, positionBytes) {
      try {
        return await file.read(into, positionBytes);
      } catch (error) {
        if (mayPass(error)) throw error;
      }
      const length = Math.max(0, Math.min(into.length, (await file.lengthBytes()) - positionBytes));
      for (let at = 0; at < length; ) {
        // Up to the next border of a sector, so that a bad one costs nothing beside itself.
        const end = Math.min(length, at + SECTOR_BYTES - ((positionBytes + at) % SECTOR_BYTES));
        const sector = into.subarray(at, end);
        try {
          await file.read(sector, positionBytes + at);
        } catch (error) {
          if (mayPass(error)) throw error;
          hasFailed = true;
          sector.fill(0);
        }
        at = end;
      }
      return length;
    },
  };
}
