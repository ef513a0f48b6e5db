/**
 * Whatever a power cut leaves, recovery keeps what was acknowledged (fault F3): a day's work is recorded once, then cut at
 * any instant in any legal way. ARCHIPEL_CRASH_STATES sets how many states are tried.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { dataSetOf, oneSeries, Receiving, rival, TENANT } from './receiving.ts';
import { Recording } from './recording.ts';

const STATES = Number(process.env.ARCHIPEL_CRASH_STATES ?? 30);

let root: string;
let recording: Recording;
const acked: { readonly made: MadeInstance; readonly at: number }[] = [];
const sent: MadeInstance[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'archipel-power-'));
  const folder = join(root, 'recorded');
  recording = new Recording(folder);
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  const limits = { ownPackBytes: 20_000, packBytes: 30_000, openPacks: 3 };
  await using at = await Receiving.start({ files: recording.files, index: recording.index(index), limits }, folder);
  const acknowledge = async (made: MadeInstance): Promise<void> => {
    sent.push(made);
    expect((await at.send(made)).kind).not.toBe('refused');
    acked.push({ made, at: recording.now });
  };
  const series = oneSeries();
  const first = makeInstance(series);
  await acknowledge(first);
  await Promise.all([1, 2, 3, 4].map(() => acknowledge(makeInstance({ ...series, rows: 40, columns: 40 }))));
  await acknowledge(rival(first));
  await Promise.all([1, 2, 3].map(() => acknowledge(makeInstance({ ...series, seriesInstanceUid: freshUid() }))));
  await acknowledge(makeInstance({ ...series, rows: 150, columns: 150 }));
  await at.receiver.flush();
  await Promise.all([1, 2].map(() => acknowledge(makeInstance({ ...series, rows: 60, columns: 60 }))));
  await acknowledge(rival(first, 'Third'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Uniform numbers from 0 (inclusive) to 1 (exclusive), always the same for a seed (mulberry32). */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Any instant, or one just after an acknowledgement, when most is at stake. */
function instantOf(when: number): number {
  if (when < 0.5) return Math.round(when * 2 * recording.now);
  const [ack, later] = [Math.floor((when - 0.5) * 2 * acked.length * 4) >> 2, Math.floor(when * acked.length * 8) & 3];
  return Math.min(recording.now, (acked[ack]?.at ?? recording.now) + later);
}

describe('a power cut', () => {
  it(`loses nothing that was acknowledged, in ${STATES} states`, async () => {
    let states = 0;
    const property = fc.asyncProperty(fc.noBias(fc.integer({ min: 0, max: 2 ** 31 - 1 })), async (seed) => {
      const random = numbersFrom(seed);
      const instant = instantOf(random());
      const folder = join(root, `state-${++states}`);
      const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
      await recording.cutAt(instant, folder, index, random);
      {
        await using at = await Receiving.start({ index }, folder);
        await at.receiver.flush();
        expect(at.openFiles()).toEqual([]);
        for (const { made } of acked.filter((ack) => ack.at <= instant)) {
          const record = (await index.getVersions(TENANT, made.ref)).find(({ digest }) => digest === made.digest);
          expect(record, 'an acknowledged instance is not in the index').toBeDefined();
          expect((await dataSetOf(at.store, record!)).equals(made.dataSet)).toBe(true);
        }
        // What was not acknowledged may be there, but then it is whole.
        const { items } = await index.packsInState(TENANT, 'sealed', { limit: 100 });
        for (const pack of items) {
          const { lengthBytes, sha256 } = pack;
          const found = await inspectPack(at.store, packKey(TENANT, pack), {
            tenant: TENANT,
            ref: pack,
            lengthBytes,
            sha256: sha256!,
          });
          for (const { digest } of found.instances) expect(sent.map((made) => made.digest)).toContain(digest);
        }
        expect((await index.packTotals(TENANT)).open.packs).toBe(0);
      }
      rmSync(folder, { recursive: true, force: true });
    });
    await fc.assert(property, { numRuns: STATES, endOnFailure: true });
    console.info(`${states} states after a power cut recovered`);
  }, 3_600_000);
});
