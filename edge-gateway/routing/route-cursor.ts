/**
 * Up to which time all sealed packs have been given to the routes: a small file, so that a pack whose sealing was the last
 * thing before a crash is found by the next start. Time and not packId, since packs are not sealed in the order of their making.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { Logger } from '#shared/log.ts';
import { diskFiles, errorCode, replaceDurably } from '../cache/files.ts';

const schema = z.object({ sealedUpToMs: z.number() });

export interface RouteCursor {
  /** As the file had it; undefined: there is none. */
  readonly atStartMs: number | undefined;
  /** Remembers a later (or, when the clock was set back, an earlier) time, within a second; never rejects. */
  move(sealedUpToMs: number): void;
  /** Forgets it: nothing is routed any more, and what comes meanwhile is not made up for. */
  remove(): Promise<void>;
  /** Resolves when the last time is in the file. */
  save(): Promise<void>;
}

const SAVE_AFTER_MS = 1_000;

export async function openRouteCursor(path: string, log: Logger): Promise<RouteCursor> {
  await mkdir(dirname(path), { recursive: true });
  let saved = await readCursor(path, log);
  const atStartMs = saved;
  let wanted = saved;
  let timer: NodeJS.Timeout | undefined;
  let saving: Promise<void> = Promise.resolve();

  async function save(): Promise<void> {
    timer = undefined;
    const sealedUpToMs = wanted;
    if (sealedUpToMs === undefined || sealedUpToMs === saved) return;
    try {
      await replaceDurably(diskFiles, path, Buffer.from(JSON.stringify({ sealedUpToMs })));
      saved = sealedUpToMs;
    } catch (error) {
      // An older time in the file only makes some packs go out once more.
      log.warn({ err: error }, 'how far routing has come could not be written');
    }
  }

  return {
    atStartMs,
    move(sealedUpToMs) {
      wanted = sealedUpToMs;
      timer ??= setTimeout(() => {
        saving = saving.then(save);
      }, SAVE_AFTER_MS).unref();
    },
    async remove() {
      wanted = undefined;
      await diskFiles.remove(path);
    },
    async save() {
      clearTimeout(timer);
      await saving;
      await save();
    },
  };
}

async function readCursor(path: string, log: Logger): Promise<number | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8'))).sealedUpToMs;
  } catch (error) {
    if (errorCode(error) !== 'ENOENT')
      log.warn({ err: error }, 'how far routing has come cannot be read; it goes on from now');
    return undefined;
  }
}
