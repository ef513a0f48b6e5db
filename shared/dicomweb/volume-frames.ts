/**
 * The frames that a volume may be made of: where each lies in space, how its cells are to be read, where its bytes lie in a pack, and
 * whether it has the attributes asked for. All of it out of manifests; no pixel is read. Choosing among them is volume-selection.ts.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { PackStore } from '../archive/ports.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { frameCount } from '../dicom/frame-ranges.ts';
import { compileMatch, type MatchKey } from '../dicom/matching.ts';
import { tagKey } from '../dicom/tags.ts';
import { transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import {
  bulkNeededForRendering,
  functionalGroups,
  type ImageAttributes,
  imageAttributesOf,
  items,
} from '../imaging/image-attributes.ts';
import { type SlicePosition, sliceGeometryOf } from '../imaging/volume-slice.ts';
import { bulkPathOf, readBulk } from './bulkdata.ts';
import { type FrameCut, frameCut } from './frame-cut.ts';
import { openFrames } from './frame-source.ts';
import type { Manifests } from './manifests.ts';
import { ManifestsAhead } from './manifests-ahead.ts';
import type { ParseMetadata } from './parsed-metadata.ts';
import { inPackOrder, keyOf, type StoredInstance } from './stored-instances.ts';

export interface VolumeFrame {
  readonly instance: StoredInstance;
  readonly frameNumber: number;
  /** Undefined for a frame that says no place in space: `cannot-render` is why. */
  readonly position: SlicePosition | undefined;
  readonly failure: ArchiveError | undefined;
  /** Without windows and VOI LUTs, so that frames that are alike share them. */
  readonly attributes: ImageAttributes;
  /** As `bytes` gives it. */
  readonly transferSyntaxUid: string;
  readonly bytes: FrameBytes;
}

export type FrameBytes =
  /** A range of a pack, and what makes the frame of it. */
  | {
      readonly key: string;
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      finish(bytes: Uint8Array): Uint8Array;
    }
  /** Of a deflated data set, which is inflated as a whole. */
  | { read(): Promise<Uint8Array> };

export interface VolumeFrameOptions {
  readonly packs: PackStore;
  readonly manifests: Manifests;
  readonly parseMetadata: ParseMetadata;
}

/** Of all that are looked at for one volume: a multi-phase heart has ten thousand. */
export const maximumVolumeFrames = 32_768;
/** Parsing one takes a third of a millisecond of the one thread that answers everybody. */
const entriesAtOnce = 8;
const framesAtOnce = 128;

/** The frames that match, in the order of packs. Errors: those of manifests; `cannot-render` for pixels that cannot be; `too-large`. */
export async function readVolumeFrames(
  options: VolumeFrameOptions,
  instances: readonly StoredInstance[],
  matches: readonly MatchKey[],
): Promise<VolumeFrame[]> {
  const stated = instances.reduce((sum, { numberOfFrames }) => sum + numberOfFrames, 0);
  if (stated > maximumVolumeFrames) throw tooMany(stated);
  const ahead = new ManifestsAhead(options.manifests, instances);
  const isMatching = frameMatcher(matches);
  const share = sharedAttributes();
  const found: VolumeFrame[] = [];
  let looked = 0;
  for (const [packId, ofPack] of Map.groupBy(inPackOrder(instances), (instance) => instance.packId)) {
    const entries = await ahead.take(packId);
    for (const instance of ofPack) {
      if (looked++ % entriesAtOnce === 0) await othersTurn();
      const entry = entries.get(instance.offsetBytes);
      if (entry === undefined)
        throw new ArchiveError('damaged', 'The manifest of a pack lacks an entry that the index names.', { packId });
      if (entry.frames.kind === 'none') continue;
      const count = frameCount(entry.frames);
      if (found.length + count > maximumVolumeFrames) throw tooMany(found.length + count);
      const metadata = options.parseMetadata(entry);
      const attributesOf = await attributesReader(options.packs, instance, entry, metadata);
      const bytesOf = frameBytesOf(options.packs, instance, entry);
      for (let frameNumber = 1; frameNumber <= count; frameNumber++) {
        if (frameNumber % framesAtOnce === 0) await othersTurn();
        if (!isMatching(metadata, frameNumber)) continue;
        found.push({
          instance,
          frameNumber,
          ...positionOf(metadata, frameNumber),
          attributes: share(attributesOf(frameNumber)),
          ...bytesOf(frameNumber),
        });
      }
    }
  }
  return found;
}

/** What shows a frame as it says it should be shown: its windows and VOI LUTs too. */
export async function lookOf(
  { packs, manifests, parseMetadata }: VolumeFrameOptions,
  { instance, frameNumber }: VolumeFrame,
): Promise<{ metadata: DicomJson; attributes: ImageAttributes }> {
  const entry = await manifests.entryOf(instance);
  const metadata = parseMetadata(entry);
  return { metadata, attributes: (await attributesReader(packs, instance, entry, metadata))(frameNumber) };
}

const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const tooMany = (count: number): ArchiveError =>
  new ArchiveError(
    'too-large',
    `There are ${count} frames to choose a volume from, and at most ${maximumVolumeFrames} are looked at; ask for one series, or name one by volumeinputreference.`,
    { count },
  );

function positionOf(metadata: DicomJson, frameNumber: number): Pick<VolumeFrame, 'position' | 'failure'> {
  try {
    return { position: sliceGeometryOf(metadata, frameNumber), failure: undefined };
  } catch (error) {
    if (isArchiveError(error, 'cannot-render')) return { position: undefined, failure: error };
    throw error;
  }
}

/** Of a LUT; overlays, which may be long, are no part of a volume. */
const lutData = '00283006';
const longestLutBytes = 1024 * 1024;

async function attributesReader(
  packs: PackStore,
  instance: StoredInstance,
  entry: ManifestEntry,
  metadata: DicomJson,
): Promise<(frameNumber: number) => ImageAttributes> {
  const bulk = new Map<string, Uint8Array>();
  for (const uri of bulkNeededForRendering(metadata)) {
    const path = bulkPathOf(uri);
    if (!path.endsWith(lutData) || (entry.bulk[path]?.lengthBytes ?? 0) > longestLutBytes) continue;
    bulk.set(uri, await readBulk(packs, instance, entry, path));
  }
  return (frameNumber) => imageAttributesOf(metadata, frameNumber, (uri) => bulk.get(uri));
}

/** Hundreds of slices say the same: one object for all that do. */
function sharedAttributes(): (attributes: ImageAttributes) => ImageAttributes {
  const known = new Map<string, ImageAttributes>();
  return (own) => {
    const attributes: ImageAttributes = { ...own, windows: [], voiTables: [] };
    if (attributes.modality.kind === 'table' || attributes.palette !== undefined) return attributes;
    const key = JSON.stringify(attributes);
    const first = known.get(key) ?? attributes;
    known.set(key, first);
    return first;
  };
}

type Bytes = Pick<VolumeFrame, 'bytes' | 'transferSyntaxUid'>;

/** What it gives is kept for long, so it holds no manifest's entry, whose text is most of it. */
function frameBytesOf(
  packs: PackStore,
  instance: StoredInstance,
  entry: ManifestEntry,
): (frameNumber: number) => Bytes {
  if (entry.frames.kind === 'deflated') return deflatedBytesOf(packs, instance, entry);
  const cut = cutOf(instance, entry);
  const transferSyntaxUid = openFrames(packs, instance, entry).givenTransferSyntaxUid;
  const key = keyOf(instance);
  return (frameNumber) => {
    const { offsetBytes, lengthBytes } = cut.locate(frameNumber);
    const finish = (bytes: Uint8Array): Uint8Array => cut.finish(bytes, frameNumber);
    return { transferSyntaxUid, bytes: { key, offsetBytes: instance.offsetBytes + offsetBytes, lengthBytes, finish } };
  };
}

function deflatedBytesOf(
  packs: PackStore,
  instance: StoredInstance,
  entry: ManifestEntry,
): (frameNumber: number) => Bytes {
  const frames = openFrames(packs, instance, entry);
  const transferSyntaxUid = frames.givenTransferSyntaxUid;
  return (frameNumber) => ({ transferSyntaxUid, bytes: { read: () => frames.readOne(frameNumber) } });
}

function cutOf({ transferSyntaxUid }: StoredInstance, { frames, metadata }: ManifestEntry): FrameCut {
  if (frames.kind === 'none') throw new ArchiveError('cannot-render', 'An instance holds no Pixel Data.');
  return frameCut(frames, transferSyntaxOf(transferSyntaxUid), () => {
    const data = JSON.parse(metadata) as DicomJson;
    return { vr: data['7FE00010']?.vr, bitsAllocated: Number(data['00280100']?.Value?.[0] ?? 8) };
  });
}

/** Attributes as a frame has them: of its own functional groups, of those of all frames, of the data set; the nearest that has one counts. */
function frameMatcher(keys: readonly MatchKey[]): (metadata: DicomJson, frameNumber: number) => boolean {
  const tests = keys.map((key) => ({ first: tagKey(key.path[0]!), matches: compileMatch([key]) }));
  return (metadata, frameNumber) => {
    if (tests.length === 0) return true;
    const places = functionalGroups(metadata, frameNumber).flatMap((group) => [
      group,
      ...(group === metadata ? [] : Object.values(group).flatMap(items)),
    ]);
    return tests.every(({ first, matches }) => matches(places.find((place) => place[first] !== undefined) ?? {}));
  };
}
