/**
 * Brings every sealed pack to the cloud, for ever if need be, and waits until the cloud says that it is archived. Its
 * whole state is the `state` column of the pack records, and what the cloud holds of a pack in parts: a restart goes on
 * where it was.
 *
 *     sealed --announce, PUT or parts--> sent --status--> archived | rejected
 *
 * A pack that was sent and is not archived after a while is announced again: the grant's PUT then answers 412, and
 * nothing is stored twice. Failures back off with full jitter up to five minutes, a few seconds while something urgent waits; news
 * (a pack sealed) resets nothing. While the cloud answers, a pack that fails backs off alone. In which order: upload-order.ts.
 */
import { packKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { UploadSettings } from '../settings.ts';
import { Bandwidth } from './bandwidth.ts';
import { type Bell, createBell, type Pause } from './bell.ts';
import type { CloudClient, UploadGrant } from './cloud-client.ts';
import { Confirmations, type Settled } from './confirmations.ts';
import { PartUploads } from './part-upload.ts';
import type { ServerClock } from './server-clock.ts';
import { isUploadTime } from './upload-hours.ts';
import { isStat, type Job, type UploadIndex, UploadOrder } from './upload-order.ts';

export interface UploaderOptions {
  readonly tenant: string;
  readonly archive: { readonly index: UploadIndex; readonly packs: Pick<PackStore, 'stream'> };
  readonly cloud: CloudClient;
  readonly clock: ServerClock;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  readonly settings: Omit<UploadSettings, 'priorities'>;
  /** A pack was not taken, and not for want of a line: its bytes may have changed on the disk. */
  readonly suspect?: (pack: PackRecord) => void;
  /** A pack is about to be marked as archived, or was just: what the cloud has deleted since it was is to be shown no more. */
  readonly hideDeleted?: (archived: PackRecord) => Promise<void>;
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
  /** False: outside the hours, only `stat` goes. */
  readonly isUploadTime: boolean;
  readonly hours: UploadSettings['hours'];
  readonly kilobytesPerSecond: number | undefined;
  /** By how much this machine's clock is behind the cloud's (negative: ahead); undefined while nothing was heard of it. */
  readonly clockSkewMs: number | undefined;
}

export interface Uploader {
  /** A pack was sealed: have a look now. With it, one that is `stat` does not wait for a back-off to end. */
  wake(pack?: PackRecord): void;
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

const FIRST_RETRY_MS = 500;
const RETRY_CAP_MS = 300_000;
/** Somebody waits for a STAT study: asking this often costs the cloud nothing. */
const STAT_RETRY_CAP_MS = 4_000;
const IDLE_MS = 5_000;
/** A grant that is about to expire would do so on the way. */
const GRANT_MARGIN_MS = 10_000;
/** So many packs in a row that did not reach the cloud: it is the network, or the cloud, and not the packs. */
const OUTAGE_AFTER = 6;
/** What else may be wrong with one pack says less about the others. */
const OWN_FAULT_WEIGHT = 1 / 8;

export function startUploader(options: UploaderOptions): Uploader {
  const { tenant, archive, cloud, clock, log, nowMs, settings } = options;
  const stop = new AbortController();
  const { signal } = stop;
  let lastSuccessAtMs: number | undefined;
  let bytesSent = 0;
  const errors = new Map<'upload' | 'status' | 'pack', string>();
  /** Packs that failed while the cloud could be talked to, by packId. */
  const resting = new Map<string, Rest>();
  /** Packs in a row that the network kept from the cloud, and until when none is tried. */
  let outage: Rest = { failures: 0, untilMs: 0 };
  let statWaits = false;
  const running = { any: 0, stat: 0 };
  const wire = new Set<Promise<void>>();

  const bandwidth = new Bandwidth(settings.kilobytesPerSecond);
  // By the cloud's clock where that is known: it is the one that is right.
  const isTime = (): boolean => isUploadTime(settings.hours, clock.nowMs());
  const rests = ({ packId }: PackRecord): boolean => (resting.get(packId)?.untilMs ?? 0) > performance.now();
  const order = new UploadOrder({ tenant, index: archive.index, rests, isTime, parallel: settings.parallel });
  const sent = (lengthBytes: number): void => {
    bytesSent += lengthBytes;
    lastSuccessAtMs = nowMs();
  };
  const isGood = ({ expiresAtMs }: { expiresAtMs: number }): boolean => clock.nowMs() + GRANT_MARGIN_MS < expiresAtMs;

  /** Runs `round` for ever, with the pause that it asks for in between, and ever slower while it fails. */
  async function loop(name: 'upload' | 'status', bell: Bell, round: () => Promise<Pause>): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      try {
        const pause = await round();
        failures = 0;
        errors.delete(name);
        await bell.wait(pause);
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        const message = messageOf(error);
        if (errors.get(name) !== message)
          log.warn({ err: error, loop: name }, 'upload round failed; it will be tried again');
        errors.set(name, message);
        await bell.wait({ ms: retryMs(failures, statWaits), deaf: true });
      }
    }
  }

  function retryMs(failures: number, urgent: boolean): number {
    const capMs = Math.min(options.retryCapMs ?? RETRY_CAP_MS, urgent ? STAT_RETRY_CAP_MS : RETRY_CAP_MS);
    return Math.max(50, options.random() * Math.min(capMs, FIRST_RETRY_MS * 2 ** Math.min(failures, 20)));
  }

  /** Looks for packs whose turn is near and has them announced: a pack that fails keeps no other from its turn. */
  async function uploadRound(): Promise<Pause> {
    const outageMs = outage.untilMs - performance.now();
    if (outageMs > 0) return { ms: outageMs, deaf: true };
    const packs = await order.next();
    statWaits = packs.some(isStat);
    if (packs.length > 0) order.add(await announceAll(packs));
    statWaits = false;
    fill();
    let nextMs = IDLE_MS;
    for (const { untilMs } of resting.values()) {
      const inMs = untilMs - performance.now();
      if (inMs > 0) nextMs = Math.min(nextMs, inMs);
    }
    return { ms: nextMs };
  }

  /** Gives every free slot the next pack. One more slot is for `stat`, which waits for nobody. */
  function fill(): void {
    while (!signal.aborted && outage.untilMs <= performance.now()) {
      const slot = running.any < settings.parallel ? 'any' : 'stat';
      if (slot === 'stat' && running.stat > 0) return;
      const job = order.take(slot === 'stat' || confirmations.isFull ? 'stat' : 'any');
      if (job === undefined) break;
      running[slot]++;
      const work = handle(job)
        .catch((error: unknown) => failed(job.pack, error))
        .finally(() => {
          running[slot]--;
          wire.delete(work);
          order.done(job.pack);
          fill();
        });
      wire.add(work);
    }
    if (order.wantsMore) uploadBell.ring();
  }

  function failed(pack: PackRecord, error: unknown): void {
    if (signal.aborted) return;
    const { packId } = pack;
    const failures = (resting.get(packId)?.failures ?? 0) + 1;
    resting.set(packId, { failures, untilMs: performance.now() + retryMs(failures, isStat(pack)) });
    if (failures === 1) log.warn({ err: error, packId }, 'a pack could not be uploaded; it will be tried again');
    errors.set('pack', messageOf(error));
    if (!isArchiveError(error, 'unavailable') && !isArchiveError(error, 'timeout')) options.suspect?.(pack);
    const inRow =
      outage.failures +
      (isArchiveError(error, 'unavailable') || isArchiveError(error, 'timeout') ? 1 : OWN_FAULT_WEIGHT);
    const rounds = Math.floor(inRow - OUTAGE_AFTER);
    outage = { failures: inRow, untilMs: rounds <= 0 ? 0 : performance.now() + retryMs(rounds, isStat(pack)) };
    if (rounds > 0) order.clear();
    // The pause that is under way knows nothing of this pack's rest.
    uploadBell.ring();
  }

  function succeeded(pack: PackRecord): void {
    outage = { failures: 0, untilMs: 0 };
    resting.delete(pack.packId);
    partUploads(pack).forget(pack);
    if (resting.size === 0) errors.delete('pack');
  }

  /** Finds the pack for which the cloud refuses a whole announcement by halving that: the others are not to wait for it. */
  async function announceAll(packs: readonly PackRecord[]): Promise<Job[]> {
    try {
      const multipart = { aboveBytes: settings.multipartAboveBytes, partBytes: settings.partBytes };
      const { packs: answers } = await cloud.announce(packs, multipart, signal);
      const byId = new Map(answers.map((answer) => [answer.packId, answer]));
      return packs.flatMap((pack) => {
        const answer = byId.get(pack.packId);
        if (answer !== undefined) return [{ pack, answer }];
        failed(
          pack,
          new ArchiveError('protocol-violation', 'The cloud did not answer about a pack that was announced.'),
        );
        return [];
      });
    } catch (error) {
      if (!isArchiveError(error) || !REFUSALS.includes(error.details.status)) throw error;
      const [only] = packs;
      if (packs.length > 1 || only === undefined) {
        const half = packs.length >> 1;
        const first = await announceAll(packs.slice(0, half));
        return [...first, ...(await announceAll(packs.slice(half)))];
      }
      failed(only, error);
      return [];
    }
  }

  async function handle({ pack, answer }: Job): Promise<void> {
    if (answer.kind === 'put') {
      if (!isGood(answer))
        throw new ArchiveError('forbidden', 'The grant of a pack expired before its turn; another one is asked for.');
      await put(pack, answer);
    } else if (answer.kind === 'parts') {
      if ((await partUploads(pack).send(pack, answer)) === 'paused') return;
    } else if (answer.kind !== 'stored') {
      await settle(pack, answer);
      return succeeded(pack);
    }
    lastSuccessAtMs = nowMs();
    const marked = await archive.index.updatePack(tenant, pack, ['sealed'], { state: 'sent', sentAtMs: nowMs() });
    succeeded(pack);
    if (marked !== undefined) confirmations.sent(marked);
    statusBell.ring();
  }

  async function put(pack: PackRecord, grant: UploadGrant): Promise<void> {
    const body = await archive.packs.stream(packKey(tenant, pack));
    const paced = bandwidth.pace(body, { urgent: isStat(pack) });
    if ((await cloud.put(grant, paced, pack.lengthBytes, signal)) === 'created') sent(pack.lengthBytes);
  }

  async function settle(pack: PackRecord, answer: Settled): Promise<void> {
    const { packId } = pack;
    const refused = async (reason: string): Promise<void> => {
      log.error({ packId, reason }, 'the cloud rejected a pack; it stays here');
      await archive.index.updatePack(tenant, pack, ['sealed', 'sent'], { state: 'rejected', reason });
      options.suspect?.(pack);
    };
    if (answer.kind === 'rejected') return refused(answer.reason);
    // A receipt for other bytes would let ours be evicted: it is no receipt.
    if (answer.receipt.sha256 !== pack.sha256 || answer.receipt.instanceCount !== pack.instanceCount)
      return refused('The cloud holds other bytes under this pack; it was not marked archived.');
    lastSuccessAtMs = nowMs();
    const change = { state: 'archived', archivedAtMs: answer.receipt.archivedAtMs } as const;
    // Before, since this may end in between; and after, since a deletion may be heard of in between.
    await options.hideDeleted?.({ ...pack, ...change });
    await archive.index.updatePack(tenant, pack, ['sealed', 'sent'], change);
    await options.hideDeleted?.({ ...pack, ...change });
  }

  const uploadBell = createBell(signal);
  const statusBell = createBell(signal);
  const partsOf = (urgent: boolean): PartUploads =>
    new PartUploads({
      tenant,
      packs: archive.packs,
      cloud,
      signal,
      pace: (body) => bandwidth.pace(body, { urgent }),
      mayGoOn: () => urgent || isTime(),
      isGood,
      sent,
    });
  const parts = { stat: partsOf(true), other: partsOf(false) };
  const partUploads = (pack: PackRecord): PartUploads => (isStat(pack) ? parts.stat : parts.other);
  const confirmations = new Confirmations({
    tenant,
    index: archive.index,
    cloud,
    log,
    nowMs,
    signal,
    intervalMs: options.statusIntervalMs ?? 500,
    resendAfterMs: options.resendAfterMs ?? 10 * 60_000,
    settle,
    resend: uploadBell.ring,
    room: fill,
  });
  const loops = Promise.all([
    loop('upload', uploadBell, uploadRound),
    loop('status', statusBell, () => confirmations.round()),
  ]);
  return {
    wake(pack) {
      if (pack === undefined || !isStat(pack)) return uploadBell.ring();
      const soonMs = performance.now() + retryMs(outage.failures, true);
      outage = { ...outage, untilMs: Math.min(outage.untilMs, soonMs) };
      uploadBell.ringUrgently();
    },
    report: () => ({
      lastSuccessAtMs,
      lastError: [...errors.values()][0],
      bytesSent,
      cloudReachable: errors.size === 0,
      isUploadTime: isTime(),
      hours: settings.hours,
      kilobytesPerSecond: settings.kilobytesPerSecond,
      clockSkewMs: clock.skewMs(),
    }),
    async close() {
      stop.abort();
      await loops;
      await Promise.all(wire);
    },
  };
}

const messageOf = (error: unknown): string =>
  isArchiveError(error) ? error.message : 'The gateway itself failed; see its log.';
