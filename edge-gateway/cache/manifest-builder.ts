/**
 * Stores the manifests of sealed packs, one after the other, in a thread of lowest priority, while nothing arrives. Nobody
 * waits for it: until a pack has its manifest, its instances are served by inspecting them one by one (manifests.ts). Only
 * eviction does, when the disk is short: what it wants is made first, and also while instances arrive, which would else
 * be refused for want of room. What is in line when the gateway ends is found again when somebody reads the pack.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { ExpectedPack } from '#shared/archive/inspect.ts';
import { manifestKey, packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import { errorCode, temporaryFolderOf } from './files.ts';
import type { ManifestAnswer, ManifestWorkerSettings } from './manifest-worker.ts';
import { workerModule } from './worker-module.ts';

export interface ManifestBuilderOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly packs: DiskPackStore;
  /** Of the disk pack store. */
  readonly root: string;
  /** Whether senders need the machine at this moment. */
  readonly isBusy: () => boolean;
  readonly log: Logger;
}

/** Packs in line; of more, those that are read get their manifest later. */
const MAX_WAITING = 10_000;
const BUSY_PAUSE_MS = 1000;
/** The thread reads whole packs: with little room for what is young, their bytes are let go early. */
const YOUNG_GENERATION_MB = 2;

export class ManifestBuilder {
  readonly #options: ManifestBuilderOptions;
  readonly #waiting = new Map<string, PackRef>();
  readonly #urgent = new Map<string, PackRef>();
  #running: Promise<void> | undefined;
  #endPause: (() => void) | undefined;
  #endBuild: (() => void) | undefined;
  #closed = false;
  readonly #swept: Promise<void>;

  /** One to a disk pack store, whose folder no other process works on: it removes what an earlier one left half written. */
  constructor(options: ManifestBuilderOptions) {
    this.#options = options;
    this.#swept = this.#sweep();
  }

  /** Puts a pack in line; nothing happens later if it turns out to be open, or to have its manifest. */
  add(pack: PackRef): void {
    if (this.#closed || this.#waiting.size >= MAX_WAITING) return;
    const ref = packRefOf(pack);
    this.#waiting.set(ref.packId, ref);
    this.#start();
  }

  /** Puts a pack before all others, to be done whoever sends. */
  want(pack: PackRef): void {
    if (this.#closed || this.#urgent.size >= MAX_WAITING) return;
    const ref = packRefOf(pack);
    this.#urgent.set(ref.packId, ref);
    this.#endPause?.();
    this.#start();
  }

  /** Resolves when the line is empty. */
  async idle(): Promise<void> {
    await this.#swept;
    while (this.#running !== undefined) await this.#running;
  }

  /** What is under way is broken off: a manifest is stored whole or not at all. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endPause?.();
    this.#endBuild?.();
    await this.idle();
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiting.size + this.#urgent.size > 0 && !this.#closed) this.#start();
    });
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    await this.#swept;
    let thread: BuilderThread | undefined;
    for (let ref = await this.#next(); ref !== undefined; ref = await this.#next()) {
      try {
        const expected = await this.#missing(ref);
        if (expected === undefined) continue;
        thread ??= new BuilderThread({ root: this.#options.root });
        this.#endBuild = thread.end;
        const failure = await thread.build(expected);
        if (failure !== undefined) log.error({ ...ref, ...failure }, 'a sealed pack gave no manifest');
      } catch (error) {
        if (!this.#closed) log.warn({ err: error, ...ref }, 'making a manifest failed');
        thread?.end();
        thread = undefined;
      }
    }
    thread?.end();
  }

  /** The pack whose turn it is, taken out of the line; undefined when there is none, or it is closed. */
  async #next(): Promise<PackRef | undefined> {
    while (!this.#closed && this.#urgent.size === 0 && this.#waiting.size > 0 && this.#options.isBusy())
      await this.#pause(BUSY_PAUSE_MS);
    if (this.#closed) return undefined;
    for (const line of [this.#urgent, this.#waiting])
      for (const [packId, ref] of line) {
        line.delete(packId);
        return ref;
      }
    return undefined;
  }

  async #sweep(): Promise<void> {
    const folder = temporaryFolderOf(this.#options.root);
    try {
      for (const name of await readdir(folder)) await rm(join(folder, name), { force: true });
    } catch (error) {
      if (errorCode(error) !== 'ENOENT')
        this.#options.log.warn({ err: error }, 'what an earlier process left half written could not be removed');
    }
  }

  /** What is known of the pack if it is sealed and has no manifest yet. */
  async #missing(ref: PackRef): Promise<ExpectedPack | undefined> {
    const { index, packs, tenant } = this.#options;
    if ((await packs.head(manifestKey(tenant, ref))) !== undefined) return undefined;
    const record = await index.getPack(tenant, ref);
    if (record?.sha256 === undefined) return undefined;
    return { tenant, ref, sha256: record.sha256, lengthBytes: record.lengthBytes };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** One pack at a time; the thread lives while there are packs in line. */
class BuilderThread {
  readonly #worker: Worker;
  readonly #ended: Promise<never>;

  constructor(settings: ManifestWorkerSettings) {
    const worker = new Worker(workerModule('manifest-worker', import.meta.url), {
      workerData: settings,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    worker.unref();
    this.#worker = worker;
    this.#ended = new Promise((_, reject) => {
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the thread that makes manifests ended')));
    });
    this.#ended.catch(() => {});
  }

  async build(pack: ExpectedPack): Promise<ManifestAnswer> {
    const answer = new Promise<ManifestAnswer>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(pack);
    return Promise.race([answer, this.#ended]);
  }

  readonly end = (): void => void this.#worker.terminate();
}
