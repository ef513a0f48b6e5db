/**
 * Stored instances as Part 10 files in another transfer syntax, one after the other, with the next small ones on their way while one is
 * sent. Small ones come out of one ranged stream for each pack; large ones are read as their frames are needed.
 */
import type { PackStore } from '../archive/ports.ts';
import type { ByteRange } from '../archive/records.ts';
import { encodeFileMeta } from '../dicom/part10.ts';
import { transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError, type ErrorCode, isArchiveError } from '../errors.ts';
import type { FrameTranscoder } from './frame-transcoder.ts';
import { PackBytes } from './pack-bytes.ts';
import { inPackOrder, keyOf, readStored, type StoredInstance } from './stored-instances.ts';
import { type StoredBytes, transcodedDataSet } from './transcoded-data-set.ts';

export interface TranscodedFile {
  readonly instance: StoredInstance;
  readonly bytes: AsyncGenerator<Uint8Array, void, undefined>;
  /** To be called in the end, whether it was read or not. */
  close(): Promise<void>;
}

export interface TranscodeOptions {
  readonly packs: PackStore;
  readonly transcoder: FrameTranscoder;
}

/** Read whole, and opened ahead of their turn: a slow reader holds a few of them. */
const smallBytes = 1024 * 1024;
const filesAhead = 2;
/** What is written before a file is said to be had: nearly every header, in which nearly everything that is wrong is found. */
const provenBytes = 64 * 1024;

/** Of the instance, not of what stands between us and its bytes. */
const ownFaults: ReadonlySet<ErrorCode> = new Set([
  'bad-dicom',
  'cannot-render',
  'limit-exceeded',
  'not-acceptable',
  'timeout',
]);

/** Whether an instance cannot be had in another transfer syntax for its own sake. */
export const isOwnFault = (error: unknown): error is ArchiveError => isArchiveError(error) && ownFaults.has(error.code);

/** With status 406, where it is the transfer syntax asked for that cannot be made of what is stored; all else as it is. */
export function asNotAcceptable(error: unknown, what: string): unknown {
  if (!isOwnFault(error) || error.code === 'not-acceptable' || error.code === 'timeout') return error;
  const sentence = `${what} cannot be given in that transfer syntax; ask for transfer-syntax=*. ${error.message}`;
  return new ArchiveError('not-acceptable', sentence, error.details, error);
}

/**
 * One file, its beginning proven. Errors: `not-acceptable` for an instance that cannot be had so, whatever is wrong with it, as its status is
 * 406; those of PackStore; `unavailable`.
 */
export async function openTranscoded(
  { packs, transcoder }: TranscodeOptions,
  instance: StoredInstance,
  transferSyntaxUid: string,
  source: StoredBytes = inPack(packs, instance),
): Promise<TranscodedFile> {
  try {
    const stored = transferSyntaxOf(instance.transferSyntaxUid);
    const dataSet = await transcodedDataSet(source, stored, transferSyntaxOf(transferSyntaxUid), transcoder);
    try {
      const { sopClassUid, sopInstanceUid } = instance;
      const beginning: Uint8Array[] = [encodeFileMeta({ sopClassUid, sopInstanceUid, transferSyntaxUid })];
      for (let lengthBytes = 0; lengthBytes < provenBytes; ) {
        const { value, done } = await dataSet.bytes.next();
        if (done === true) break;
        beginning.push(value);
        lengthBytes += value.length;
      }
      async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
        for (let next = beginning.shift(); next !== undefined; next = beginning.shift()) yield next;
        yield* dataSet.bytes;
      }
      return { instance, bytes: bytes(), close: () => dataSet.close() };
    } catch (error) {
      await dataSet.close();
      throw error;
    }
  } catch (error) {
    throw asNotAcceptable(error, 'This instance');
  }
}

/**
 * Each instance in the order of packs, opened or failed with the errors of `openTranscoded`. A file must be read and closed before the next is
 * pulled; ending the iteration early closes what was opened ahead.
 */
export async function* openedInTurn(
  options: TranscodeOptions,
  instances: readonly StoredInstance[],
  transferSyntaxUid: string,
): AsyncGenerator<{ instance: StoredInstance; file: Promise<TranscodedFile> }, void, undefined> {
  for (const { isSmall, run } of runsOf(inPackOrder(instances))) {
    if (isSmall) {
      yield* pulledAhead(smallFiles(options, run, transferSyntaxUid), options.transcoder);
      continue;
    }
    for (const instance of run) yield { instance, file: openTranscoded(options, instance, transferSyntaxUid) };
  }
}

/** Neighbours that may be opened ahead: they hold nothing that waits for what comes before them. */
function* runsOf(instances: readonly StoredInstance[]): Generator<{ isSmall: boolean; run: StoredInstance[] }> {
  let run: StoredInstance[] = [];
  let isSmall = false;
  for (const instance of instances) {
    const own = instance.numberOfFrames === 1 && instance.lengthBytes <= smallBytes;
    if (run.length > 0 && own !== isSmall) {
      yield { isSmall, run };
      run = [];
    }
    isSmall = own;
    run.push(instance);
  }
  if (run.length > 0) yield { isSmall, run };
}

type Opened = { readonly instance: StoredInstance; readonly file: Promise<TranscodedFile> };

async function* smallFiles(
  options: TranscodeOptions,
  run: readonly StoredInstance[],
  transferSyntaxUid: string,
): AsyncGenerator<Opened, void, undefined> {
  for await (const { instance, body } of readStored(options.packs, run)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    const held = inMemory(Buffer.concat(pieces).subarray(instance.dataSetOffsetBytes));
    const file = openTranscoded(options, instance, transferSyntaxUid, held);
    // Whoever comes to it hears of a failure.
    file.catch(() => {});
    yield { instance, file };
  }
}

async function* pulledAhead(
  source: AsyncGenerator<Opened, void, undefined>,
  transcoder: FrameTranscoder,
): AsyncGenerator<Opened, void, undefined> {
  const pulled: Promise<IteratorResult<Opened, void>>[] = [];
  try {
    for (;;) {
      const most = transcoder.isRoomy ? 1 + filesAhead : 1;
      while (pulled.length < most) {
        const next = source.next();
        next.catch(() => {});
        pulled.push(next);
      }
      const { value, done } = await pulled.shift()!;
      if (done === true) return;
      yield value;
    }
  } finally {
    const ended = source.return();
    for (const one of pulled) {
      const { value } = await one.catch(() => ({ value: undefined }));
      const file = await value?.file.catch(() => undefined);
      await file?.close();
    }
    await ended;
  }
}

function inPack(packs: PackStore, instance: StoredInstance): StoredBytes {
  const lengthBytes = instance.lengthBytes - instance.dataSetOffsetBytes;
  /** A reader may ask beyond the end. */
  const within = (range: ByteRange): ByteRange => ({
    offsetBytes: instance.offsetBytes + instance.dataSetOffsetBytes + range.offsetBytes,
    lengthBytes: Math.max(0, Math.min(range.lengthBytes, lengthBytes - range.offsetBytes)),
  });
  return {
    lengthBytes,
    read: (range) => packs.read(keyOf(instance), within(range)),
    async *stream(range) {
      yield* await PackBytes.open(packs, keyOf(instance), within(range));
    },
  };
}

const inMemory = (bytes: Uint8Array): StoredBytes => ({
  lengthBytes: bytes.length,
  read: async ({ offsetBytes, lengthBytes }) => bytes.slice(offsetBytes, offsetBytes + lengthBytes),
  async *stream({ offsetBytes, lengthBytes }) {
    yield bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
  },
});
