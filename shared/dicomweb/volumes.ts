/**
 * The volumes behind requests: chosen out of manifests once for as long as what they are made of stays the same, loaded once for all who ask
 * at a time and kept (volume-cache.ts), cut on the threads of imaging's volume pool. The resources are rendered-volume.ts.
 */
import { createHash } from 'node:crypto';
import type { PackStore } from '../archive/ports.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import type { ImageAttributes, Window } from '../imaging/image-attributes.ts';
import type { Volume } from '../imaging/volume.ts';
import type { VolumeLook } from '../imaging/volume-look.ts';
import type { Plane, Slab } from '../imaging/volume-plane.ts';
import type { VolumePool } from '../imaging/volume-pool.ts';
import { createByteBudget } from './byte-budget.ts';
import type { Context } from './context.ts';
import type { StoredInstance } from './stored-instances.ts';
import { createVolumeCache } from './volume-cache.ts';
import { lookOf, readVolumeFrames, type VolumeFrameOptions } from './volume-frames.ts';
import { assertWithinReach, readSlices } from './volume-loading.ts';
import type { VolumeParameters } from './volume-parameters.ts';
import { type ChosenVolume, candidatesOf, chooseVolume, identityOf } from './volume-selection.ts';

export interface VolumeChoice extends ChosenVolume {
  /** Of the middle slice: its windows and VOI LUTs are the volume's. */
  readonly attributes: ImageAttributes;
}

export interface Volumes {
  /** Errors: those of choosing and of manifests. Reads no pixels. */
  choose(pictures: readonly StoredInstance[], parameters: VolumeParameters): Promise<VolumeChoice>;
  /** Of the middle slice. */
  metadataOf(choice: VolumeChoice): Promise<DicomJson>;
  /** An encoded picture of a plane. Errors: those of loading and cutting; `unavailable` when the client has left. */
  picture(
    choice: VolumeChoice,
    context: Context,
    plane: Plane,
    slab: Slab | undefined,
    look: VolumeLook,
  ): Promise<Uint8Array<ArrayBuffer>>;
  /** What is applied where none is asked for; undefined for a VOI LUT. Loads the volume where nothing else tells. */
  windowOf(choice: VolumeChoice, context: Context): Promise<Window | undefined>;
}

export interface VolumesOptions extends VolumeFrameOptions {
  readonly packs: PackStore;
  readonly pool: Pick<VolumePool, 'load' | 'picture'>;
  /** Of all that are held, in use or not. */
  readonly cacheBytes: number;
}

/** Those that people turn about now; each is some hundred bytes to a slice. */
const keptChoices = 16;
/** All threads work for the one that is being loaded; a second one keeps them from waiting for its packs. */
const loadsAtOnce = 2;
/** Manifests of a long series are parsed by the one thread that answers everybody. */
const choicesAtOnce = 2;
const maximumWaiting = 256;
/** Of pictures that are being made: cells of the cut and what is made of them; small ones are few at a time, so that loading finds its threads. */
const picturesAtOnceBytes = 128 * 1024 * 1024;
const leastPictureBytes = 16 * 1024 * 1024;
const bytesOfPixel = 8;
/** Each connection of a host may ask for one. */
const maximumWaitingPictures = 1_024;

export function createVolumes(options: VolumesOptions): Volumes {
  const { packs, pool, cacheBytes } = options;
  const cache = createVolumeCache(cacheBytes);
  const loadTurns = createByteBudget(loadsAtOnce, maximumWaiting);
  const choiceTurns = createByteBudget(choicesAtOnce, maximumWaiting);
  const pictureBudget = createByteBudget(picturesAtOnceBytes, maximumWaitingPictures);
  /** Used last at the end. */
  const choices = new Map<string, Promise<VolumeChoice>>();

  const make = async (
    pictures: readonly StoredInstance[],
    { inputs, matches }: VolumeParameters,
  ): Promise<VolumeChoice> => {
    const { candidates, named } = candidatesOf(pictures, inputs);
    const chosen = chooseVolume(await readVolumeFrames(options, candidates, matches), named);
    const { attributes } = await lookOf(options, middleOf(chosen));
    return { ...chosen, attributes };
  };

  const use = <T>(choice: VolumeChoice, context: Context, work: (volume: Volume) => Promise<T>): Promise<T> => {
    const { key, sizeBytes, geometry, frames } = choice;
    const load = (signal: AbortSignal): Promise<Volume> =>
      loadTurns.hold(1, async () => {
        signal.throwIfAborted();
        await assertWithinReach(packs, frames, context);
        // What goes to the threads is theirs alone: a frame knows more, and how to read itself.
        const sources = frames.map(({ transferSyntaxUid, attributes }) => ({ transferSyntaxUid, attributes }));
        return pool.load(geometry, sources, readSlices(packs, frames, signal), signal);
      });
    return cache.use({ key, sizeBytes, load }, context.request.signal, work);
  };

  return {
    async choose(pictures, parameters) {
      const { inputs, matches } = parameters;
      const named = JSON.stringify([inputs, matches.map(({ path, text }) => [path, text])]);
      const id = digestOf([pictures[0]?.tenant ?? '', named, ...identityOf(pictures)]);
      const known = choices.get(id);
      const choosing = known ?? choiceTurns.hold(1, () => make(pictures, parameters));
      choices.delete(id);
      choices.set(id, choosing);
      if (known === undefined) choosing.catch(() => choices.get(id) === choosing && choices.delete(id));
      for (const oldest of choices.keys()) {
        if (choices.size <= keptChoices) break;
        choices.delete(oldest);
      }
      return choosing;
    },
    metadataOf: async (choice) => (await lookOf(options, middleOf(choice))).metadata,
    picture: (choice, context, plane, slab, look) =>
      use(choice, context, (volume) =>
        pictureBudget.hold(Math.max(leastPictureBytes, plane.width * plane.height * bytesOfPixel), async () => {
          if (context.request.signal.aborted)
            throw new ArchiveError('unavailable', 'The client has left before the picture was made.');
          return pool.picture(volume, plane, slab, look);
        }),
      ),
    async windowOf(choice, context) {
      const { windows, voiTables } = choice.attributes;
      if (windows[0] !== undefined || voiTables.length > 0) return windows[0];
      const range = await use(choice, context, async (volume) => volume.range);
      const { low, high } = range ?? { low: 0, high: 1 };
      const width = high - low || 1;
      return { center: low + width / 2, width, function: 'LINEAR_EXACT' };
    },
  };
}

const middleOf = ({ frames }: ChosenVolume) => frames[Math.floor(frames.length / 2)]!;

function digestOf(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part}\n`);
  return hash.digest('hex');
}
