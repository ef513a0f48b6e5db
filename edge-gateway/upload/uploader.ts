/**
 * Brings every sealed pack to the cloud, for ever if need be, and waits until the cloud says that it is archived. Its
 * whole state is the `state` column of the pack records: a restart goes on where it was.
 *
 *     sealed --announce, PUT--> sent --status--> archived | rejected
 *
 * A pack that was sent and is not archived after a while is announced again: the grant's PUT then answers 412, and
 * nothing is stored twice. Failures back off with full jitter up to five minutes; news (a pack sealed) resets nothing. While
 * the cloud answers, a pack that fails backs off alone.
 */

import { packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { UploadAnswer } from '#shared/gateway-api.ts';
import type { Logger } from '#shared/log.ts';
import type { CloudClient, UploadGrant } from './cloud-client.ts';

export interface UploaderOptions {
  readonly tenant: string;
  readonly archive: Archive;
  readonly cloud: CloudClient;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  /** Packs on the wire at once. */
  readonly parallel: number;
  readonly retryCapMs?: number;
  readonly statusIntervalMs?: number;
  /** After this long in `sent` without word a pack is announced again. */
  readonly resendAfterMs?: number;
}

export interface UploadReport {
  readonly lastSuccessAtMs: number | undefined;
  /** A sentence; undefined when the last attempt of every kind went well. */
  readonly lastError: string | undefined;
  readonly bytesSent: number;
  readonly cloudReachable: boolean;
}

export interface Uploader {
  /** A pack was sealed: have a look now. */
  wake(): void;
  report(): UploadReport;
  /** Ends the loops; what is on the wire is cut off and will be sent again. */
  close(): Promise<void>;
}

/** Failures of one pack, and until when (performance.now()) it is left alone. */
interface Rest {
  readonly failures: number;
  readonly untilMs: number;
}

/** With these the cloud refuses what a request says, which may be the fault of one of the packs in it. */
const REFUSALS: readonly unknown[] = [400, 413, 422];

const PAGE = 50;
const FIRST_RETRY_MS = 500;
const IDLE_MS = 5_000;

export function startUploader(options: UploaderOptions): Uploader {
  const { tenant, archive, cloud, log, nowMs } = options;
  const stop = new AbortController();
  let lastSuccessAtMs: number | undefined;
  let bytesSent = 0;
  const errors = new Map<'upload' | 'status' | 'pack', string>();
  /** Packs that failed while the cloud could be talked to, by packId. */
  let resting = new Map<string, Rest>();

  /** Runs `round` for ever, with the pause that it asks for in between, and ever slower while it fails. */
  async function loop(name: 'upload' | 'status', bell: Bell, round: () => Promise<Pause>): Promise<void> {
    let failures = 0;
    while (!stop.signal.aborted) {
      try {
        const pause = await round();
        failures = 0;
        errors.delete(name);
        await bell.wait(pause);
      } catch (error) {
        if (stop.signal.aborted) return;
        failures++;
        const message = messageOf(error);
        if (errors.get(name) !== message)
          log.warn({ err: error, loop: name }, 'upload round failed; it will be tried again');
        errors.set(name, message);
        await bell.wait({ ms: retryMs(failures), deaf: true });
      }
    }
  }

  function retryMs(failures: number): number {
    const capMs = Math.min(options.retryCapMs ?? 300_000, FIRST_RETRY_MS * 2 ** Math.min(failures, 20));
    return Math.max(50, options.random() * capMs);
  }

  /** One walk over all that is sealed: a pack that fails keeps no other from its turn, now or in the next rounds. */
  async function uploadRound(): Promise<Pause> {
    const still = new Map<string, Rest>();
    let count = 0;
    let after: string | undefined;
    do {
      const page = await archive.index.packsInState(tenant, 'sealed', {
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      });
      if (page.items.length === 0) break;
      const due = page.items.filter(({ packId }) => {
        const rest = resting.get(packId);
        if (rest === undefined || rest.untilMs <= performance.now()) return true;
        still.set(packId, rest);
        return false;
      });
      count += due.length;
      if (due.length > 0) await uploadAll(due, still);
      after = page.next;
    } while (after !== undefined && !stop.signal.aborted);
    resting = still;
    if (still.size === 0) errors.delete('pack');
    if (count > 0 && still.size === 0) return { ms: 0 };
    let nextMs = IDLE_MS;
    for (const { untilMs } of still.values()) nextMs = Math.min(nextMs, untilMs - performance.now());
    return { ms: Math.max(1, nextMs) };
  }

  async function uploadAll(packs: readonly PackRecord[], still: Map<string, Rest>): Promise<void> {
    const failed = ({ packId }: PackRecord, error: unknown): void => {
      if (stop.signal.aborted) return;
      const failures = (resting.get(packId)?.failures ?? 0) + 1;
      still.set(packId, { failures, untilMs: performance.now() + retryMs(failures) });
      if (failures === 1) log.warn({ err: error, packId }, 'a pack could not be uploaded; it will be tried again');
      errors.set('pack', messageOf(error));
    };
    const waiting = await announceAll(packs, failed);
    const worker = async (): Promise<void> => {
      for (let job = waiting.shift(); job !== undefined && !stop.signal.aborted; job = waiting.shift()) {
        try {
          await handle(job);
        } catch (error) {
          failed(job.pack, error);
        }
      }
    };
    await Promise.all(Array.from({ length: options.parallel }, worker));
  }

  /** Finds the pack for which the cloud refuses a whole announcement by halving that: the others are not to wait for it. */
  async function announceAll(packs: readonly PackRecord[], failed: Failed): Promise<Job[]> {
    try {
      const { packs: answers } = await cloud.announce(packs, stop.signal);
      const byId = new Map(answers.map((answer) => [answer.packId, answer]));
      return packs.flatMap((pack) => {
        const answer = byId.get(pack.packId);
        if (answer !== undefined) return [{ pack, answer }];
        failed(pack, new ArchiveError('unavailable', 'The cloud did not answer about a pack that was announced.'));
        return [];
      });
    } catch (error) {
      if (!isArchiveError(error) || !REFUSALS.includes(error.details.status)) throw error;
      const [only] = packs;
      if (packs.length > 1 || only === undefined) {
        const half = packs.length >> 1;
        const first = await announceAll(packs.slice(0, half), failed);
        return [...first, ...(await announceAll(packs.slice(half), failed))];
      }
      failed(only, error);
      return [];
    }
  }

  async function handle({ pack, answer }: Job): Promise<void> {
    if (answer.kind === 'put') await put(pack, answer);
    else await settle(pack, answer);
  }

  async function put(pack: PackRecord, grant: UploadGrant): Promise<void> {
    const body = await archive.packs.stream(packKey(tenant, pack));
    const result = await cloud.put(grant, body, pack.lengthBytes, stop.signal);
    if (result === 'created') bytesSent += pack.lengthBytes;
    lastSuccessAtMs = nowMs();
    await archive.index.updatePack(tenant, pack, ['sealed'], { state: 'sent', sentAtMs: nowMs() });
    statusBell.ring();
  }

  async function statusRound(): Promise<Pause> {
    let waiting = false;
    let after: string | undefined;
    do {
      const page = await archive.index.packsInState(tenant, 'sent', {
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      });
      if (page.items.length === 0) break;
      waiting = true;
      const { packs: answers } = await cloud.status(page.items, stop.signal);
      const byId = new Map(answers.map((answer) => [answer.packId, answer]));
      for (const pack of page.items) {
        const answer = byId.get(pack.packId);
        if (answer === undefined) continue;
        if (answer.kind !== 'pending') {
          await settle(pack, answer);
        } else if (isLongAgo(pack.sentAtMs)) {
          log.warn({ packId: pack.packId }, 'sent long ago and not archived; announcing it again');
          await archive.index.updatePack(tenant, pack, ['sent'], { state: 'sealed' });
          uploadBell.ring();
        }
      }
      after = page.next;
    } while (after !== undefined && !stop.signal.aborted);
    // While packs wait, news does not hasten the next look: the cloud needs its time, and a poll costs a request.
    return waiting ? { ms: options.statusIntervalMs ?? 500, deaf: true } : { ms: IDLE_MS };
  }

  /** A moment that is still to come is of a clock that was set back: nobody knows how long ago it was. */
  function isLongAgo(sentAtMs = 0): boolean {
    const agoMs = nowMs() - sentAtMs;
    return agoMs < 0 || agoMs > (options.resendAfterMs ?? 10 * 60_000);
  }

  async function settle(pack: PackRecord, answer: Exclude<UploadAnswer, { kind: 'put' }>): Promise<void> {
    const { packId } = pack;
    if (answer.kind === 'rejected') {
      log.error({ packId, reason: answer.reason }, 'the cloud rejected a pack; it stays here');
      await archive.index.updatePack(tenant, pack, ['sealed', 'sent'], { state: 'rejected', reason: answer.reason });
      return;
    }
    // A receipt for other bytes would let ours be evicted: it is no receipt.
    if (answer.receipt.sha256 !== pack.sha256 || answer.receipt.instanceCount !== pack.instanceCount) {
      const reason = 'The cloud holds other bytes under this pack; it was not marked archived.';
      log.error({ packId }, reason);
      await archive.index.updatePack(tenant, pack, ['sealed', 'sent'], { state: 'rejected', reason });
      return;
    }
    lastSuccessAtMs = nowMs();
    await archive.index.updatePack(tenant, pack, ['sealed', 'sent'], {
      state: 'archived',
      archivedAtMs: answer.receipt.archivedAtMs,
    });
  }

  const uploadBell = createBell(stop.signal);
  const statusBell = createBell(stop.signal);
  const loops = Promise.all([loop('upload', uploadBell, uploadRound), loop('status', statusBell, statusRound)]);
  return {
    wake: uploadBell.ring,
    report: () => ({
      lastSuccessAtMs,
      lastError: [...errors.values()][0],
      bytesSent,
      cloudReachable: errors.size === 0,
    }),
    async close() {
      stop.abort();
      uploadBell.ring();
      statusBell.ring();
      await loops;
    },
  };
}

interface Job {
  readonly pack: PackRecord;
  readonly answer: UploadAnswer;
}

type Failed = (pack: PackRecord, error: unknown) => void;

const messageOf = (error: unknown): string =>
  isArchiveError(error) ? error.message : 'The gateway itself failed; see its log.';

interface Pause {
  readonly ms: number;
  /** News does not end it, only closing does. */
  readonly deaf?: boolean;
}

interface Bell {
  /** Ends a pause that is not deaf; one ring while nobody waits is remembered. */
  ring(): void;
  wait(pause: Pause): Promise<void>;
}

function createBell(closed: AbortSignal): Bell {
  let rung = false;
  let wakeUp: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      wakeUp?.();
    },
    async wait({ ms, deaf = false }) {
      if (ms > 0 && !closed.aborted && (deaf || !rung)) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wakeUp = () => {
            if (deaf && !closed.aborted) return;
            clearTimeout(timer);
            resolve();
          };
        });
        wakeUp = undefined;
      }
      if (!deaf) rung = false;
    },
  };
}
