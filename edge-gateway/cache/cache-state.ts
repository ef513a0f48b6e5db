/**
 * What the cache remembers over restarts beside the index: how far its clock and its scrub have come, and which packs were
 * found damaged and are not mended. A small file of JSON, replaced whole. Losing it loses nothing that matters: it begins anew.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { isPackId } from '#shared/archive/keys.ts';
import type { Logger } from '#shared/log.ts';
import { errorCode, type Files, replaceDurably } from './files.ts';

/** More are found again by the next scrub. */
export const MAX_DAMAGED = 1_000;

const schema = z.object({
  clockMs: z.number().optional(),
  scrub: z
    .object({
      /** The last pack that was read again; the next one has a later packId. */
      after: z.string().refine(isPackId).optional(),
      startedAtMs: z.number(),
      checkedPacks: z.int().min(0),
      checkedBytes: z.number().min(0),
    })
    .optional(),
  /** Of the last scrub that came to its end. */
  lastScrub: z
    .object({ startedAtMs: z.number(), finishedAtMs: z.number(), checkedPacks: z.int(), checkedBytes: z.number() })
    .optional(),
  damaged: z
    .array(
      z.object({
        studyInstanceUid: z.string(),
        seriesInstanceUid: z.string(),
        packId: z.string().refine(isPackId),
        reason: z.string(),
        foundAtMs: z.number(),
        /** Whether time may mend it: the cloud has it, or the disk had no room for what is intact. */
        isMendable: z.boolean(),
      }),
    )
    .max(MAX_DAMAGED)
    .optional(),
});

export type CacheState = Readonly<z.infer<typeof schema>>;
export type ScrubProgress = NonNullable<CacheState['scrub']>;
export type DamagedPack = NonNullable<CacheState['damaged']>[number];

export interface CacheStateFile {
  readonly state: CacheState;
  /** Changes some of it, and writes it as soon as what is being written is; never rejects: a full disk costs what is remembered. */
  change(part: Partial<CacheState>): Promise<void>;
}

export async function openCacheState(path: string, files: Files, log: Logger): Promise<CacheStateFile> {
  let state: CacheState = {};
  try {
    const parsed = schema.safeParse(JSON.parse(await readFile(path, 'utf8')));
    if (parsed.success) state = parsed.data;
    else log.warn({ file: path }, 'what the cache remembered cannot be understood; it begins anew');
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') log.warn({ err: error }, 'what the cache remembered cannot be read');
  }
  let writing: Promise<void> = Promise.resolve();
  let waiting = false;

  async function write(): Promise<void> {
    waiting = false;
    try {
      await replaceDurably(files, path, Buffer.from(JSON.stringify(state)));
    } catch (error) {
      log.warn({ err: error }, 'what the cache remembers could not be written');
    }
  }

  return {
    get state() {
      return state;
    },
    change(part) {
      state = { ...state, ...part };
      if (!waiting) {
        waiting = true;
        writing = writing.then(write);
      }
      return writing;
    },
  };
}
