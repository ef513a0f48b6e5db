/**
 * A receiver with a cache around it for the tests of eviction and scrub: a disk whose room the test says, a clock that it
 * turns, packs that are archived as soon as it says so.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CacheClock } from '#edge-gateway/cache/cache-clock.ts';
import type { CrashPoint } from '#edge-gateway/cache/crash-point.ts';
import { DiskRoom } from '#edge-gateway/cache/disk-room.ts';
import { type Eviction, type EvictionOptions, startEviction } from '#edge-gateway/cache/eviction.ts';
import { diskFiles } from '#edge-gateway/cache/files.ts';
import { PackTurns } from '#edge-gateway/cache/pack-turns.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { createLogger, type Logger } from '#shared/log.ts';
import { oneSeries, Receiving, TENANT } from './receiving.ts';

export const DAY_MS = 24 * 60 * 60 * 1000;

export class Caching implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'archipel-cache-'));
  readonly turns = new PackTurns();
  /** What the disk says is free; all is well until a test says otherwise. */
  freeBytes = 2 ** 40;
  wallMs = Date.UTC(2026, 0, 1);
  upMs = 0;
  readonly clock = new CacheClock(
    () => this.wallMs,
    () => this.upMs,
  );
  readonly room = new DiskRoom({
    files: {
      ...diskFiles,
      space: async () => ({ freeBytes: this.freeBytes, totalBytes: 2 ** 40, freeFiles: 0, totalFiles: 0 }),
    },
    folder: this.folder,
    marks: { evictBelowBytes: 4000_000, reserveBytes: 1000_000, rejectBelowBytes: 500_000 },
    elapsedMs: () => this.upMs,
  });
  readonly log: Logger;
  readonly #evictions: Eviction[] = [];
  #receiving: Receiving | undefined;
  #index: SqliteIndex | undefined;

  constructor() {
    this.log = createLogger('info', (line) => this.receiving.log.push(JSON.parse(line)));
  }

  static async start(): Promise<Caching> {
    const caching = new Caching();
    const index = await createSqliteIndex({ file: join(caching.folder, 'index.sqlite'), inWorker: false });
    caching.#index = index;
    caching.#receiving = await Receiving.start({ index, clock: () => caching.wallMs }, caching.folder);
    return caching;
  }

  get receiving(): Receiving {
    if (this.#receiving === undefined) throw new Error('not started');
    return this.#receiving;
  }

  get index(): SqliteIndex {
    if (this.#index === undefined) throw new Error('not started');
    return this.#index;
  }

  /** Lets so many days go by, of which the gateway has lived every one. */
  live(days: number): void {
    this.wallMs += days * DAY_MS;
    this.upMs += days * DAY_MS;
  }

  /** A sealed pack of a series of its own, with so many instances. */
  async pack(instances = 1): Promise<PackRecord> {
    const series = oneSeries();
    for (let i = 0; i < instances; i++) await this.receiving.stored(series);
    await this.receiving.receiver.flush();
    const pack = (await this.index.listPacks(TENANT, series)).at(-1);
    if (pack === undefined) throw new Error('nothing was sealed');
    return pack;
  }

  /** The same, archived by the cloud at this moment, with a manifest beside it. */
  async archivedPack(instances = 1): Promise<PackRecord> {
    const pack = await this.pack(instances);
    await this.addManifest(pack);
    return this.archive(pack);
  }

  async archive(pack: PackRecord): Promise<PackRecord> {
    const change = { state: 'archived', archivedAtMs: this.wallMs } as const;
    const record = await this.index.updatePack(TENANT, pack, ['sealed'], change);
    if (record === undefined) throw new Error('the pack is not sealed');
    return record;
  }

  async addManifest(pack: PackRef): Promise<void> {
    const bytes = Buffer.from('what tells about the pack');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await this.receiving.store.create(manifestKey(TENANT, pack), bytes, { lengthBytes: bytes.length, sha256 });
  }

  async evicting(options: Partial<EvictionOptions> & { crashPoint?: CrashPoint } = {}): Promise<Eviction> {
    const eviction = await startEviction({
      tenant: TENANT,
      index: this.index,
      packs: this.receiving.store,
      room: this.room,
      turns: this.turns,
      clock: this.clock,
      nowMs: () => this.wallMs,
      retentionMs: 30 * DAY_MS,
      pins: [],
      wantManifest: () => {},
      log: this.log,
      tickMs: 1_000_000,
      ...options,
    });
    this.#evictions.push(eviction);
    return eviction;
  }

  /** Whether its bytes are on the disk, and whether the index says so. */
  async here(pack: PackRef): Promise<{ file: boolean; record: boolean }> {
    const file = (await this.receiving.store.head(packKey(TENANT, pack))) !== undefined;
    return { file, record: (await this.index.getPack(TENANT, pack))?.evictedAtMs === undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const eviction of this.#evictions) await eviction.close();
    await this.receiving[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
