/**
 * Proof that a volume still took changes after a sync of it. ext4 that shuts itself down (EIO, or read-only after an error in
 * its journal) may answer 0 to an fdatasync under way, though it has dropped the pages: seen on Linux 6.18, some
 * acknowledged appends lost in a quarter of such shutdowns, none with the proof. A change of metadata needs the journal, and
 * fails from the first moment on: here a small file grows by a byte, which writes nothing by itself.
 */
import { errorCode, type Files, type OpenFile } from './files.ts';

const MAX_BYTES = 1024 * 1024;

export class VolumeProof {
  readonly #files: Files;
  readonly #path: string;
  #file: Promise<OpenFile> | undefined;
  #lengthBytes = 0;

  /** @param path of a file of its own on the volume, made if it is not there */
  constructor(files: Files, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /** Rejects with the disk's error unless the volume takes changes. One call at a time. */
  async prove(): Promise<void> {
    try {
      this.#file ??= this.#open();
      const file = await this.#file;
      this.#lengthBytes = (this.#lengthBytes + 1) % MAX_BYTES;
      await file.truncate(this.#lengthBytes);
    } catch (error) {
      // Being full is an answer of a volume that is well.
      if (!['ENOSPC', 'EDQUOT'].includes(errorCode(error) ?? '')) throw error;
    }
  }

  async close(): Promise<void> {
    await (await this.#file?.catch(() => undefined))?.close();
  }

  async #open(): Promise<OpenFile> {
    try {
      return await this.#files.open(this.#path, 'change');
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      return this.#files.create(this.#path);
    }
  }
}
