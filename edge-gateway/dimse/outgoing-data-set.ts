/**
 * The data set of a stored instance on its way to a peer: read from its pack as it lies there, or converted as it is read
 * where the peer took another uncompressed transfer syntax (PS3.5 Annex A), decompressed where it has to be. Small ones are
 * read whole before anything is said, so that what cannot be read fails alone; large ones are streamed.
 */
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange } from '#shared/archive/records.ts';
import {
  EXPLICIT_VR_BIG_ENDIAN,
  EXPLICIT_VR_LITTLE_ENDIAN,
  IMPLICIT_VR_LITTLE_ENDIAN,
  transferSyntaxOf,
} from '#shared/dicom/transfer-syntax.ts';
import { type StoredBytes, transcodedDataSet } from '#shared/dicomweb/transcoded-data-set.ts';
import { ArchiveError } from '#shared/errors.ts';
import { canDecode } from '#shared/imaging/codecs.ts';
import type { Decompressor } from './decompressor.ts';
import type { AcceptedContext } from './negotiation.ts';
import type { StoredInstance } from './retrieve-selection.ts';

/** Data sets up to this are read whole before anything is said. */
export const WHOLE_BYTES = 4 * 1024 * 1024;

const littleEndian: readonly string[] = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
const native: readonly string[] = [...littleEndian, EXPLICIT_VR_BIG_ENDIAN];

/** What a stored data set can be converted to, best first; none for video and what else nobody here decodes. */
export function conversionTargets(transferSyntaxUid: string): readonly string[] {
  const { codec, encapsulated } = transferSyntaxOf(transferSyntaxUid);
  if (encapsulated) return canDecode(transferSyntaxUid) ? littleEndian : [];
  return codec === 'native' ? native : [];
}

/** The context to send an instance on: the stored transfer syntax before all others. Undefined: the peer took none that will do. */
export function contextFor(
  instance: Pick<StoredInstance, 'sopClassUid' | 'transferSyntaxUid'>,
  contexts: readonly AcceptedContext[],
): AcceptedContext | undefined {
  const own = contexts.filter(({ abstractSyntax }) => abstractSyntax === instance.sopClassUid);
  for (const uid of [instance.transferSyntaxUid, ...conversionTargets(instance.transferSyntaxUid)]) {
    const context = own.find(({ transferSyntaxUid }) => transferSyntaxUid === uid);
    if (context !== undefined) return context;
  }
  return undefined;
}

export interface OutgoingDataSet {
  readonly bytes: Uint8Array | AsyncIterable<Uint8Array>;
  /** To be called in the end, whether it was read or not. */
  close(): Promise<void>;
}

/** Where the bytes come from, and who decodes them. */
export interface OutgoingSource {
  readonly packs: PackStore;
  readonly decompressor: Decompressor;
}

/**
 * Reads at least the beginning before it resolves, and decodes the first frame where it decompresses. Errors: those of PackStore;
 * `bad-dicom` for one that cannot be followed in order to convert it, or has an odd length (PS3.5 §7.1.1); `cannot-render`,
 * `timeout` and `unavailable` for pixels that cannot be decoded. All may also come later, out of `bytes`.
 */
export async function openDataSet(
  { packs, decompressor }: OutgoingSource,
  instance: StoredInstance,
  transferSyntaxUid: string,
): Promise<OutgoingDataSet> {
  const stored = transferSyntaxOf(instance.transferSyntaxUid);
  const isAsStored = instance.transferSyntaxUid === transferSyntaxUid;
  if (isAsStored && instance.lengthBytes % 2 !== 0 && !stored.deflated)
    throw new ArchiveError('bad-dicom', 'the data set has an odd length and cannot be sent');
  if (!isAsStored) {
    const target = transferSyntaxOf(transferSyntaxUid);
    const source = storedBytes(packs, instance);
    const { pixelBytes = 0, bytes, close } = await transcodedDataSet(source, stored, target, decompressor);
    const isSmall = Math.max(pixelBytes, instance.lengthBytes) <= WHOLE_BYTES && !stored.deflated;
    return isSmall ? { bytes: await gathered(bytes), close } : begun(bytes, close);
  }
  const { packKey, offsetBytes, lengthBytes } = instance;
  const range = { offsetBytes, lengthBytes };
  const isSmall = lengthBytes <= WHOLE_BYTES;
  const source = isSmall ? once(await packs.read(packKey, range)) : pieces(await packs.stream(packKey, range));
  const outgoing = padded(source, stored.deflated && lengthBytes % 2 !== 0);
  if (isSmall && !stored.deflated) return { bytes: await gathered(outgoing), close: async () => {} };
  return begun(outgoing, async () => void (await outgoing.return()));
}

function storedBytes(packs: PackStore, { packKey, offsetBytes, lengthBytes }: StoredInstance): StoredBytes {
  /** A reader may ask beyond the end. */
  const inPack = (range: ByteRange) => ({
    offsetBytes: offsetBytes + range.offsetBytes,
    lengthBytes: Math.max(0, Math.min(range.lengthBytes, lengthBytes - range.offsetBytes)),
  });
  return {
    lengthBytes,
    read: (range) => packs.read(packKey, inPack(range)),
    stream: async function* (range) {
      yield* pieces(await packs.stream(packKey, inPack(range)));
    },
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}

async function* pieces(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const reader = stream.getReader();
  let isDone = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isDone = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => {});
  }
}

/** PS3.5 §A.5: a deflated data set of odd length is followed by a NUL. */
async function* padded(source: AsyncGenerator<Uint8Array>, isOdd: boolean): AsyncGenerator<Uint8Array, void, void> {
  yield* source;
  if (isOdd) yield new Uint8Array(1);
}

async function gathered(source: AsyncGenerator<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** Its first piece is read: a pack that is not there is found out before a message has begun. */
async function begun(source: AsyncGenerator<Uint8Array>, close: OutgoingDataSet['close']): Promise<OutgoingDataSet> {
  const first = await source.next();
  async function* bytes(): AsyncGenerator<Uint8Array, void, void> {
    if (first.done !== true) yield first.value;
    yield* source;
  }
  return { bytes: bytes(), close };
}
