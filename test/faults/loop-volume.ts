/**
 * An ext4 volume in a file, for a gateway's data: it can lose its power, fail, fill up. Needs root and loop devices; where
 * they are not to be had, tests skip, loudly.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface VolumeOptions {
  readonly bytes: number;
  /** Files that it can hold; as many as fit when not given. */
  readonly files?: number;
}

const shutdownScript = `
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN = 0x8004587D
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack('I', int(sys.argv[2])))
`;
const LOG_FLUSH = 1;
const NO_LOG_FLUSH = 2;

export class LoopVolume implements Disposable {
  readonly mountPoint: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'archipel-volume-'));
  readonly #image = join(this.#folder, 'image');
  #isMounted = false;

  private constructor({ bytes, files }: VolumeOptions) {
    this.mountPoint = join(this.#folder, 'mounted');
    mkdirSync(this.mountPoint);
    writeFileSync(this.#image, '');
    truncateSync(this.#image, bytes);
    run('mkfs.ext4', '-q', '-F', '-m', '0', ...(files === undefined ? [] : ['-N', String(files)]), this.#image);
  }

  /** Mounted; undefined, and a warning, where this machine cannot do it. */
  static tryMake(options: VolumeOptions, what: string): LoopVolume | undefined {
    let volume: LoopVolume | undefined;
    try {
      if (process.getuid?.() !== 0) throw new Error('it needs root');
      volume = new LoopVolume(options);
      volume.mount();
      volume.cutPower();
      volume.unmount();
      volume.mount();
      return volume;
    } catch (error) {
      console.warn(`SKIPPED: ${what} cannot be simulated on this machine: ${(error as Error).message}`);
      volume?.[Symbol.dispose]();
      return undefined;
    }
  }

  mount(): void {
    run('mount', '-o', 'loop', this.#image, this.mountPoint);
    this.#isMounted = true;
  }

  unmount(): void {
    if (this.#isMounted) run('umount', this.mountPoint);
    this.#isMounted = false;
  }

  /** What was not synced is gone (EXT4_IOC_SHUTDOWN, NOLOGFLUSH). */
  cutPower(): void {
    run('python3', '-c', shutdownScript, this.mountPoint, String(NO_LOG_FLUSH));
  }

  /** From now on nothing can be written; what was is still there (EXT4_IOC_SHUTDOWN, LOGFLUSH): every write answers EIO. */
  fail(): void {
    run('python3', '-c', shutdownScript, this.mountPoint, String(LOG_FLUSH));
  }

  /** What ext4 does to a volume with errors: it aborts the journal and reads only. Every write answers EROFS. */
  makeReadOnly(): void {
    run('mount', '-o', 'remount,abort', this.mountPoint);
  }

  /** What an operator does with a volume that had errors: unmounts, checks, mounts. */
  repair(): void {
    this.unmount();
    try {
      run('e2fsck', '-p', this.#image);
    } catch (error) {
      // 1: errors were corrected.
      if ((error as { status?: number }).status !== 1) throw error;
    }
    this.mount();
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.mountPoint);
    return bavail * bsize;
  }

  get freeFiles(): number {
    return statfsSync(this.mountPoint).ffree;
  }

  /** Somebody else's data, until so many bytes are left; what becomes free meanwhile, call by call. */
  fill(leavingBytes: number): void {
    const bytes = this.freeBytes - leavingBytes;
    if (bytes > 0) this.#grow('filler', bytes);
    // To the last block: what the file system needs for the filler itself is not known beforehand.
    for (let block = 64; leavingBytes === 0 && block > 0; block >>= 1) while (this.#grow('filler', block * 4096));
  }

  #grow(name: string, bytes: number): boolean {
    const path = join(this.mountPoint, name);
    try {
      run('fallocate', '-o', String(statSync(path, { throwIfNoEntry: false })?.size ?? 0), '-l', String(bytes), path);
      return true;
    } catch {
      return false;
    }
  }

  /** Empty files, until it holds no more. */
  fillWithFiles(leaving: number): void {
    mkdirSync(join(this.mountPoint, 'fillers'), { recursive: true });
    for (let i = 0; this.freeFiles > leaving; i++) writeFileSync(join(this.mountPoint, 'fillers', String(i)), '');
  }

  empty(): void {
    for (const name of ['filler', 'fillers']) rmSync(join(this.mountPoint, name), { recursive: true, force: true });
  }

  [Symbol.dispose](): void {
    this.unmount();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { stdio: ['ignore', 'ignore', 'pipe'] });
}
