/**
 * Puts right what an earlier process left in the folder of open packs, however it ended: keeps every complete entry, drops
 * torn tails, indexes what the index lacks, and seals. Nothing that was acknowledged is dropped silently: a pack that is
 * damaged is set aside whole, its readable entries go into a fresh pack, and the log says what is missing.
 */
import { join } from 'node:path';
import { EntryInspector } from '#shared/archive/entry-inspector.ts';
import { isPackId, packIdTimeMs, packKey, packRefOf } from '#shared/archive/keys.ts';
import type { PackEntry } from '#shared/archive/pack.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { type InstanceRecord, modalityOf, type PackRecord } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { UploadPriorityRule } from '../settings.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import type { FileHasher } from './file-hash.ts';
import { makeFolderDurably, moveDurably, type OpenFile } from './files.ts';
import type { IndexFeeder } from './index-feeder.ts';
import { OpenPack, type PackGround } from './open-pack.ts';
import { type ScannedPack, scanOpenPack } from './open-pack-scan.ts';
import { PART_SUFFIX } from './own-pack.ts';
import type { PackSenders } from './pack-senders.ts';
import { readingOn } from './reading-on.ts';
import { markSealed } from './sealing.ts';
import type { SeriesPacks } from './series-packs.ts';

export interface RecoveryOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly store: DiskPackStore;
  readonly ground: PackGround;
  readonly damagedFolder: string;
  readonly feeder: IndexFeeder;
  readonly packs: SeriesPacks;
  readonly hasher: FileHasher;
  readonly priorities: readonly UploadPriorityRule[];
  /** Called last, so that what it moves is not looked for where it was. */
  readonly seal: (pack: OpenPack) => void;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly onSealed: (record: PackRecord) => void;
}

const PACK_SUFFIX = '.zip';
const CHUNK_BYTES = 1024 * 1024;
const PAGE = 100;
/** Source Application Entity Title, PS3.10 §7.1. */
const SOURCE_AE_TITLE = 0x00020016;

/** One entry of an open pack, read back. */
interface Recovered {
  readonly entry: PackEntry;
  readonly record: InstanceRecord;
  readonly sourceAeTitle: string | undefined;
}

/** Resolves when all that was found is indexed; sealing may still go on. Errors: those of disk and index. */
export async function recover(options: RecoveryOptions): Promise<void> {
  const { ground, log, feeder } = options;
  const names = await ground.files.list(ground.folder);
  const damaged: Damaged[] = [];
  const whole: OpenPack[] = [];
  for (const name of names) {
    const packId = name.slice(0, -PACK_SUFFIX.length);
    if (name.endsWith(PART_SUFFIX)) {
      // Its instance was never acknowledged: the name comes last.
      await ground.files.remove(join(ground.folder, name));
    } else if (name === packId + PACK_SUFFIX && isPackId(packId)) {
      const found = await recoverPack(options, packId);
      if (found instanceof OpenPack) whole.push(found);
      else if (found !== undefined) damaged.push(found);
    } else log.warn({ file: name }, 'a file that is no pack lies among the open packs; it is left alone');
  }
  // What is whole is indexed first: entries of damaged packs may be there once more.
  await feeder.idle();
  for (const pack of damaged) await salvage(options, pack);
  await feeder.idle();
  await completeRecords(options);
  for (const pack of whole) options.seal(pack);
}

interface Damaged {
  readonly packId: string;
  readonly scan: ScannedPack;
  readonly known: PackRecord | undefined;
}

/** Takes up one open pack: answers it for sealing, or what is known of it if it is damaged; undefined when nothing is in it. */
async function recoverPack(options: RecoveryOptions, packId: string): Promise<OpenPack | Damaged | undefined> {
  const { ground, tenant, index, feeder, log } = options;
  const path = join(ground.folder, packId + PACK_SUFFIX);
  const file = await ground.files.open(path, 'change');
  let taken = false;
  try {
    const reads = readingOn(file);
    const scan = await scanOpenPack(reads);
    const first = await firstRecord(options, file, packId, scan);
    const known = first && (await index.getPack(tenant, packRefOf(first)));
    // What cannot be read may have been acknowledged: it is no torn tail, and the file is not written to any more.
    if (reads.hasFailed) return { packId, scan, known: known ?? (await filledRecord(options, packId)) };
    if (scan.entries.length === 0) {
      // Nothing is in it that could have been acknowledged, unless something was and is gone.
      const filled = await filledRecord(options, packId);
      if (filled === undefined) {
        await ground.files.remove(path);
        if (scan.lengthBytes > 0)
          log.info({ packId, bytes: scan.lengthBytes }, 'dropped an instance that was never acknowledged');
        return undefined;
      }
      return { packId, scan, known: filled };
    }
    const lostTail = known !== undefined && known.state === 'open' && known.lengthBytes > scan.endBytes;
    if (first === undefined || scan.holes.length > 0 || lostTail) return { packId, scan, known };
    const { studyInstanceUid, seriesInstanceUid } = first;
    const pack = new OpenPack(
      ground,
      { packId, series: { studyInstanceUid, seriesInstanceUid }, createdAtMs: packIdTimeMs(packId) },
      { file, entries: scan.entries },
    );
    let readable = 0;
    if (known !== undefined) pack.senders.restore(known);
    for await (const found of readEntries(options, file, packId, scan.entries)) {
      const { record } = found;
      await feeder.room();
      noteSender(options, pack.senders, found);
      feeder.expect(pack);
      feeder.add(pack, record);
      readable++;
    }
    if (readable < scan.entries.length) return { packId, scan, known };
    const tornBytes = scan.lengthBytes - scan.endBytes;
    log.info({ packId, instances: scan.entries.length, tornBytes }, 'recovered an open pack');
    taken = true;
    return pack;
  } finally {
    if (!taken) await file.close();
  }
}

/** What was said with the C-STORE alone is not in the file; the pack's record may know it. */
function noteSender({ priorities }: RecoveryOptions, senders: PackSenders, found: Recovered): void {
  const { sourceAeTitle: callingAeTitle, record } = found;
  senders.note(priorities, { callingAeTitle, modality: modalityOf(record), dimsePriority: undefined });
}

/** The first entry that can be read: it tells the series. */
async function firstRecord(
  options: RecoveryOptions,
  file: OpenFile,
  packId: string,
  scan: ScannedPack,
): Promise<InstanceRecord | undefined> {
  for await (const { record } of readEntries(options, file, packId, scan.entries)) return record;
  return undefined;
}

/** Reads entries back, in their order; those that are no instances of ours are left out and logged. */
async function* readEntries(
  { tenant, log }: RecoveryOptions,
  file: OpenFile,
  packId: string,
  entries: readonly PackEntry[],
): AsyncGenerator<Recovered> {
  for (const entry of entries) {
    const inspector = new EntryInspector();
    try {
      for (let at = 0; at < entry.lengthBytes; at += CHUNK_BYTES) {
        const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, entry.lengthBytes - at));
        await file.read(chunk, entry.offsetBytes + at);
        inspector.push(chunk);
      }
      const { record, header } = inspector.end(tenant, packId, entry);
      yield { entry, record, sourceAeTitle: header.fileMeta?.ascii(SOURCE_AE_TITLE) };
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      log.error(
        { packId, entry: entry.name, code: error.code, reason: error.message },
        'an entry of an open pack cannot be read',
      );
    }
  }
}

/** The record of an open pack that had instances in it, found by its id alone: nothing in the file tells its series any more. */
async function filledRecord({ index, tenant }: RecoveryOptions, packId: string): Promise<PackRecord | undefined> {
  for await (const record of openRecords(index, tenant))
    if (record.packId === packId && record.instanceCount > 0) return record;
  return undefined;
}

async function* openRecords(index: ArchiveIndex, tenant: string): AsyncGenerator<PackRecord> {
  for await (const items of pagesOf((from) => index.packsInState(tenant, 'open', { limit: PAGE, ...from })))
    yield* items;
}

/** Copies what can be read of a damaged pack into fresh packs, and sets its file aside. */
async function salvage(options: RecoveryOptions, { packId, scan, known }: Damaged): Promise<void> {
  const { ground, tenant, index, feeder, packs, damagedFolder, log } = options;
  const { files, folder } = ground;
  const path = join(folder, packId + PACK_SUFFIX);
  const file = await files.open(path, 'read');
  let kept = 0;
  try {
    for await (const found of readEntries(options, file, packId, scan.entries)) {
      const { entry, record } = found;
      const versions = await index.getVersions(tenant, record);
      const same = versions.find(({ digest }) => digest === record.digest);
      // In another pack already: an earlier recovery came as far as this and not to its end.
      if (same !== undefined && same.packId !== packId) continue;
      const data = Buffer.allocUnsafeSlow(entry.lengthBytes);
      await file.read(data, entry.offsetBytes);
      await feeder.room();
      const pack = packs.place(record, entry.name, packId);
      feeder.expect(pack);
      const copy = await pack.append(entry, [data]);
      noteSender(options, pack.senders, found);
      feeder.add(pack, { ...record, packId: pack.packId, offsetBytes: copy.offsetBytes }, same);
      packs.appended(pack);
      kept++;
    }
  } finally {
    await file.close();
  }
  packs.retireAll();
  await feeder.idle();
  await makeFolderDurably(files, damagedFolder, folder);
  await moveDurably(files, path, join(damagedFolder, packId + PACK_SUFFIX));
  if (known !== undefined) {
    const reason =
      'The open pack was found damaged at start; its file was set aside, and what can be read of it was stored anew.';
    await index.updatePack(tenant, known, ['open'], { state: 'rejected', reason });
  }
  log.error(
    {
      packId,
      instancesKept: kept,
      instancesKnown: known?.instanceCount,
      holes: scan.holes,
      file: `damaged/${packId}.zip`,
    },
    'an open pack is damaged: it was set aside whole, and what can be read of it was stored anew',
  );
}

/** Records that still say `open`: of packs that are in their place already, and of packs that are nowhere. */
async function completeRecords(options: RecoveryOptions): Promise<void> {
  const { tenant, index, store, ground, hasher, log, nowMs, onSealed } = options;
  for await (const record of openRecords(index, tenant)) {
    const key = packKey(tenant, record);
    if ((await ground.files.stat(join(ground.folder, record.packId + PACK_SUFFIX))) !== undefined) continue;
    const path = store.pathOf(key);
    if ((await ground.files.stat(path)) !== undefined) {
      const file = await hasher.hash(path);
      const { instanceCount, createdAtMs } = record;
      onSealed(await markSealed(index, tenant, record, { ...file, instanceCount, createdAtMs, sealedAtMs: nowMs() }));
    } else if (record.instanceCount === 0) await index.deletePack(tenant, record);
    else {
      const { studyInstanceUid, seriesInstanceUid, packId, instanceCount } = record;
      const reason = 'The file of the open pack was gone at start; what was in it must be sent again.';
      await index.updatePack(tenant, record, ['open'], { state: 'rejected', reason });
      log.error(
        { studyInstanceUid, seriesInstanceUid, packId, instanceCount },
        'an open pack with instances in it is gone',
      );
    }
  }
}
