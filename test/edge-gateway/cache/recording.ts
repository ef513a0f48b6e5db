/**
 * A recording of every operation on disk and index while a receiver works, and the states that a power cut at any instant may
 * leave (fault F3): what was synced is there; of what was not, any sectors of any writes; names as a journal keeps
 * them, up to some point in their order; the index as a WAL keeps it, up to some point after its last durable write.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { diskFiles, type Files, type OpenFile } from '#edge-gateway/cache/files.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';

type FileOperation =
  | { readonly kind: 'write'; readonly file: number; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly file: number; readonly lengthBytes: number }
  | { readonly kind: 'sync'; readonly file: number; readonly covers: number };
type NameOperation =
  | { readonly kind: 'name'; readonly path: string; readonly file: number }
  | { readonly kind: 'unname'; readonly path: string }
  | { readonly kind: 'sync-names'; readonly folder: string; readonly covers: number };
type IndexOperation = {
  readonly kind: 'index';
  readonly durable: boolean;
  replay(index: ArchiveIndex): Promise<unknown>;
};
export type Operation = FileOperation | NameOperation | IndexOperation;

const SECTOR_BYTES = 512;

export class Recording {
  readonly operations: Operation[] = [];
  readonly files: Files;
  readonly #root: string;
  readonly #numbers = new Map<string, number>();
  #lastNumber = 0;

  constructor(root: string) {
    this.#root = root;
    this.files = this.#recorded();
  }

  /** How much has happened so far: an instant at which the power may go. */
  get now(): number {
    return this.operations.length;
  }

  /** The same index, whose changes are recorded when they have been made. */
  index(real: ArchiveIndex): ArchiveIndex {
    const durable = new Set(['createPack', 'updatePack', 'deletePack']);
    const changing = new Set([
      ...durable,
      'createInstances',
      'replaceCurrent',
      'replaceConflict',
      'deleteConflict',
      'recount',
    ]);
    return new Proxy(real, {
      get: (target, method: keyof ArchiveIndex & string) => {
        const call = target[method] as (...args: unknown[]) => Promise<unknown>;
        if (!changing.has(method)) return call.bind(target);
        return async (...args: unknown[]) => {
          const result = await call.apply(target, args);
          const replay = (other: ArchiveIndex) => (other[method] as typeof call).apply(other, args);
          this.operations.push({ kind: 'index', durable: durable.has(method), replay });
          return result;
        };
      },
    });
  }

  /**
   * Makes one legal state after a power cut at `instant` below `folder`, and in `index`, which must be empty.
   * @param random 0 (inclusive) to 1 (exclusive)
   */
  async cutAt(instant: number, folder: string, index: ArchiveIndex, random: () => number): Promise<void> {
    const happened = this.operations.slice(0, instant);
    // The worst that is legal half of the time.
    const pick = (from: number, to: number): number =>
      random() < 0.5 ? from : from + Math.floor(random() * (to - from + 1));

    const calls = happened.filter((operation) => operation.kind === 'index');
    const durable = calls.findLastIndex((call) => call.durable) + 1;
    for (const call of calls.slice(0, pick(durable, calls.length))) await call.replay(index);

    let named = 0;
    for (const operation of happened) if (operation.kind === 'sync-names') named = Math.max(named, operation.covers);
    const until = pick(named, instant);
    const names = new Map<string, number>();
    for (const operation of happened.slice(0, until)) {
      if (operation.kind === 'name') names.set(operation.path, operation.file);
      else if (operation.kind === 'unname') names.delete(operation.path);
    }
    const contents = new Map<number, Buffer>();
    for (const [path, file] of names) {
      if (!contents.has(file)) contents.set(file, contentOf(file, happened, random));
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), contents.get(file) as Buffer);
    }
  }

  #name(path: string): string {
    return relative(this.#root, path);
  }

  #numberOf(path: string): number {
    const name = this.#name(path);
    const number = this.#numbers.get(name) ?? ++this.#lastNumber;
    this.#numbers.set(name, number);
    return number;
  }

  #recorded(): Files {
    const { operations } = this;
    const wrap = (file: OpenFile, number: number): OpenFile => ({
      read: (into, at) => file.read(into, at),
      lengthBytes: () => file.lengthBytes(),
      close: () => file.close(),
      write: async (buffers, at) => {
        // It may be on disk, in parts, from the moment it is asked for.
        operations.push({ kind: 'write', file: number, at, bytes: Buffer.concat(buffers) });
        await file.write(buffers, at);
      },
      truncate: async (lengthBytes) => {
        operations.push({ kind: 'truncate', file: number, lengthBytes });
        await file.truncate(lengthBytes);
      },
      datasync: async () => {
        const covers = operations.length;
        await file.datasync();
        operations.push({ kind: 'sync', file: number, covers });
      },
    });
    return {
      ...diskFiles,
      create: async (path) => {
        const file = await diskFiles.create(path);
        const number = ++this.#lastNumber;
        this.#numbers.set(this.#name(path), number);
        operations.push({ kind: 'name', path: this.#name(path), file: number });
        return wrap(file, number);
      },
      open: async (path, mode) => wrap(await diskFiles.open(path, mode), this.#numberOf(path)),
      syncFolder: async (path) => {
        const covers = operations.length;
        await diskFiles.syncFolder(path);
        operations.push({ kind: 'sync-names', folder: this.#name(path), covers });
      },
      rename: async (from, to) => {
        const file = this.#numberOf(from);
        await diskFiles.rename(from, to);
        this.#numbers.set(this.#name(to), file);
        operations.push({ kind: 'name', path: this.#name(to), file }, { kind: 'unname', path: this.#name(from) });
      },
      link: async (from, to) => {
        const file = this.#numberOf(from);
        await diskFiles.link(from, to);
        this.#numbers.set(this.#name(to), file);
        operations.push({ kind: 'name', path: this.#name(to), file });
      },
      remove: async (path) => {
        await diskFiles.remove(path);
        operations.push({ kind: 'unname', path: this.#name(path) });
      },
    };
  }
}

function contentOf(file: number, happened: readonly Operation[], random: () => number): Buffer {
  let synced = 0;
  for (const operation of happened) if (operation.kind === 'sync' && operation.file === file) synced = operation.covers;
  let content: Buffer = Buffer.alloc(0);
  for (const [i, operation] of happened.entries()) {
    if (operation.kind === 'truncate' && operation.file === file && (i < synced || random() < 0.5))
      content = resized(content, operation.lengthBytes);
    if (operation.kind !== 'write' || operation.file !== file) continue;
    const { at, bytes } = operation;
    if (i < synced) content = written(content, at, bytes);
    else content = torn(content, at, bytes, random);
  }
  return content;
}

/** Some of the sectors, in no order; the length may or may not have grown. */
function torn(content: Buffer, at: number, bytes: Buffer, random: () => number): Buffer {
  const share = [0, 1, 0.5, 0.9][Math.floor(random() * 4)] as number;
  let result =
    random() < 0.5 ? resized(content, Math.max(content.length, at + Math.floor(random() * bytes.length))) : content;
  for (let from = 0; from < bytes.length; ) {
    const to = Math.min(bytes.length, from + SECTOR_BYTES - ((at + from) % SECTOR_BYTES));
    if (random() < share) result = written(result, at + from, bytes.subarray(from, to));
    from = to;
  }
  return result;
}

function written(content: Buffer, at: number, bytes: Buffer): Buffer {
  const result = resized(content, Math.max(content.length, at + bytes.length));
  result.set(bytes, at);
  return result;
}

function resized(content: Buffer, lengthBytes: number): Buffer {
  const result = Buffer.alloc(lengthBytes);
  result.set(content.subarray(0, lengthBytes));
  return result;
}
