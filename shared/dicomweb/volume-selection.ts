/**
 * Which frames make the volume that a request is about (PS3.18 §8.3.5.3.1, .2): those that are named, else the one series, the one
 * orientation and the one phase there is. Never a guess: where there are several it is refused with what to say, and what is left out is
 * said. Reading frames is volume-frames.ts; whether they make a lattice is imaging's.
 */
import { createHash } from 'node:crypto';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { planCells, volumeBytes } from '../imaging/volume.ts';
import { arrangeSlices, groupSlices, type VolumeGeometry } from '../imaging/volume-geometry.ts';
import { length, subtract } from '../imaging/volume-vectors.ts';
import { compare, type StoredInstance } from './stored-instances.ts';
import type { VolumeFrame } from './volume-frames.ts';
import type { VolumeInput } from './volume-parameters.ts';

export interface ChosenVolume {
  readonly geometry: VolumeGeometry;
  /** One for each slice, in the order of the geometry. */
  readonly frames: readonly VolumeFrame[];
  /** Of its cells in memory. */
  readonly sizeBytes: number;
  /** Of what it is made of: other bytes, other frames or another order have another one. */
  readonly key: string;
  readonly warnings: readonly string[];
}

const segmentations: ReadonlySet<string> = new Set(['1.2.840.10008.5.1.4.1.1.66.4', '1.2.840.10008.5.1.4.1.1.66.7']);
/** Of the directions of two frames: a localizer lies across, the slices of a stack do not differ by what rounding explains. */
const otherOrientation = 0.087;
/** So many localizers may lie among slices without a word of the client's; and more only if they are a small part. */
const fewLocalizers = 3;
const smallPart = 0.1;
/** A radial acquisition has some dozens; each frame is compared with all of them. */
const mostOrientations = 100;
/** Of UIDs to choose from, named in a sentence. */
const mostNamed = 8;

export interface Named {
  readonly seriesUids: ReadonlySet<string>;
  readonly instanceUids: ReadonlySet<string>;
  readonly frameNumbers: ReadonlySet<number>;
}

/**
 * The pictures that come into question, before any manifest is read.
 * Errors: `cannot-render` when there are none, `not-found` for a name of nothing, `bad-request` for a frame of nobody knows which instance.
 */
export function candidatesOf(
  pictures: readonly StoredInstance[],
  inputs: readonly VolumeInput[],
): { candidates: readonly StoredInstance[]; named: Named } {
  const series = new Set(pictures.map(({ seriesInstanceUid }) => seriesInstanceUid));
  const instances = new Map(pictures.map((instance) => [instance.sopInstanceUid, instance]));
  const uids = inputs.flatMap((input) => ('uid' in input ? [input.uid] : []));
  const frameNumbers = new Set(inputs.flatMap((input) => ('uid' in input ? [] : [input.frameNumber])));
  const unknown = uids.find((uid) => !series.has(uid) && !instances.has(uid));
  if (unknown !== undefined) {
    throw new ArchiveError('not-found', 'What volumeinputreference names is no series and no picture below the path.', {
      uid: unknown,
    });
  }
  if (frameNumbers.size > 0 && pictures.length !== 1) {
    throw new ArchiveError(
      'bad-request',
      'A frame number in volumeinputreference is one of the instance in the path; here name a series or an instance by its UID.',
    );
  }
  const named: Named = {
    seriesUids: new Set(uids.filter((uid) => series.has(uid))),
    instanceUids: new Set(uids.filter((uid) => !series.has(uid))),
    frameNumbers,
  };
  // One instance stands for the volume that it is a part of; several are the volume.
  if (named.instanceUids.size > 1)
    return {
      candidates: pictures.filter(
        (one) => named.instanceUids.has(one.sopInstanceUid) || named.seriesUids.has(one.seriesInstanceUid),
      ),
      named,
    };
  const wanted = new Set([
    ...named.seriesUids,
    ...[...named.instanceUids].map((uid) => instances.get(uid)!.seriesInstanceUid),
  ]);
  if (wanted.size > 0) return { candidates: pictures.filter((one) => wanted.has(one.seriesInstanceUid)), named };
  // A segmentation is no picture of the patient: who wants it as a volume says so.
  const images = pictures.filter(({ sopClassUid }) => !segmentations.has(sopClassUid));
  return { candidates: images.length > 0 ? images : pictures, named };
}

/**
 * The one volume that the frames make. Series are volumes of their own unless several were named.
 * Errors: `cannot-render` with the reason when they make none, `bad-request` with what to say when they make several.
 */
export function chooseVolume(frames: readonly VolumeFrame[], named: Named): ChosenVolume {
  const bySeries = [...Map.groupBy(frames, ({ instance }) => instance.seriesInstanceUid)];
  if (bySeries.length <= 1 || named.seriesUids.size + named.instanceUids.size > 1) return volumeOf(frames, named);
  const volumes: { uid: string; volume: ChosenVolume }[] = [];
  const failures: ArchiveError[] = [];
  for (const [uid, ofSeries] of bySeries) {
    try {
      volumes.push({ uid, volume: volumeOf(ofSeries, named) });
    } catch (error) {
      if (!isArchiveError(error, 'cannot-render') && !isArchiveError(error, 'bad-request')) throw error;
      // Several phases are several volumes, which must not lose to another one by being many.
      if ('sets' in error.details) throw severalSeries(bySeries.map(([one]) => one));
      failures.push(error);
    }
  }
  const [only, ...others] = volumes;
  if (only === undefined) throw failures[0] ?? nothing();
  if (others.length > 0) throw severalSeries(volumes.map(({ uid }) => uid));
  return only.volume;
}

const nothing = (): ArchiveError =>
  new ArchiveError('cannot-render', 'There is no frame here that a volume could be made of, or none that matches.');

const severalSeries = (uids: readonly string[]): ArchiveError =>
  new ArchiveError(
    'bad-request',
    `Several series could be the volume; say which by volumeinputreference, or in the path: ${list(uids)}.`,
    { seriesInstanceUids: uids.slice(0, mostNamed) },
  );

const list = (uids: readonly string[]): string =>
  `${uids.slice(0, mostNamed).join(', ')}${uids.length > mostNamed ? ` and ${uids.length - mostNamed} more` : ''}`;

type Placed = VolumeFrame & { readonly position: NonNullable<VolumeFrame['position']> };

function volumeOf(frames: readonly VolumeFrame[], named: Named): ChosenVolume {
  const placed = frames.filter((frame): frame is Placed => frame.position !== undefined);
  const unplaced = frames.filter(({ position }) => position === undefined);
  if (placed.length === 0) throw unplaced[0]?.failure ?? nothing();
  const isNamed = ({ instance, frameNumber }: VolumeFrame): boolean =>
    named.instanceUids.has(instance.sopInstanceUid) || named.frameNumbers.has(frameNumber);
  /** What is named stands for the one set that it lies in; a multi-frame instance may lie in several. */
  const namedOne = <T>(sets: readonly T[], framesOf: (set: T) => readonly VolumeFrame[]): T | undefined => {
    const holding = sets.filter((set) => framesOf(set).some(isNamed));
    return holding.length === 1 ? holding[0] : undefined;
  };
  const stacks = byOrientation(placed);
  const namedStack = namedOne(stacks, (one) => one);
  const stack = namedStack ?? stacks[0]!;
  const aside = frames.length - stack.length;
  const isFew = (aside <= fewLocalizers || aside <= smallPart * stack.length) && 2 * aside <= stack.length;
  if (namedStack === undefined && !isFew) throw severalOrientations(stacks, unplaced);

  const groups = groupSlices(stack.map(({ position }) => position));
  const membersOf = (group: (typeof groups)[number]): Placed[] => group.members.map((index) => stack[index]!);
  const chosen = groups.length === 1 ? groups[0]! : namedOne(groups, membersOf);
  if (chosen === undefined)
    throw severalPhases(groups.map((group) => ({ traits: group.traits, frames: membersOf(group) })));
  const members = membersOf(chosen);
  const { geometry, order, warnings } = arrangeSlices(members.map(({ position }) => position));
  const slices = order.map((index) => members[index]!);
  return {
    geometry,
    frames: slices,
    sizeBytes: volumeBytes(geometry, planCells(slices.map(({ attributes }) => attributes)).kind),
    key: keyOfFrames(slices),
    warnings: [
      ...warnings,
      ...(aside > 0
        ? [`${aside} of ${frames.length} frames lie across the others, or nowhere, and were left out: localizers.`]
        : []),
    ],
  };
}

/** The largest first. */
function byOrientation(frames: readonly Placed[]): Placed[][] {
  const stacks: Placed[][] = [];
  for (const frame of frames) {
    const { columnDirection, rowDirection } = frame.position;
    const stack = stacks.find(([first]) => {
      const apart = [
        subtract(columnDirection, first!.position.columnDirection),
        subtract(rowDirection, first!.position.rowDirection),
      ];
      return apart.every((difference) => length(difference) <= otherOrientation);
    });
    if (stack !== undefined) stack.push(frame);
    else if (stacks.push([frame]) > mostOrientations) throw severalOrientations(stacks, []);
  }
  return stacks.toSorted((a, b) => b.length - a.length);
}

/** By which the sets that these frames are the first of can be named; undefined where they cannot. */
function namesOf(firsts: readonly VolumeFrame[]): string | undefined {
  const uids = [...new Set(firsts.map(({ instance }) => instance.sopInstanceUid))];
  if (uids.length === firsts.length) return list(uids);
  return uids.length === 1 ? list(firsts.map(({ frameNumber }) => `${frameNumber}`)) : undefined;
}

function severalOrientations(stacks: readonly (readonly Placed[])[], unplaced: readonly VolumeFrame[]): ArchiveError {
  const nowhere = unplaced.length === 0 ? '' : `, and ${unplaced.length} say no place in space`;
  const names = namesOf(stacks.map(([first]) => first!));
  const count = stacks.length === 1 ? 'one orientation' : `${stacks.length} orientations`;
  return new ArchiveError(
    'bad-request',
    `The frames have ${count}${nowhere}; name an instance, or a frame, of the stack that is wanted by volumeinputreference${names === undefined ? '' : `: ${names}`}.`,
    { orientations: stacks.length },
  );
}

function severalPhases(
  groups: readonly { readonly traits: Readonly<Record<string, string>>; readonly frames: readonly Placed[] }[],
): ArchiveError {
  const keywords = Object.keys(groups[0]?.traits ?? {});
  const names = namesOf(groups.map(({ frames }) => frames[0]!));
  const byName = names === undefined ? '' : `, or an instance or a frame of it by volumeinputreference: ${names}`;
  return new ArchiveError(
    'bad-request',
    `There are several frames at one position, ${groups.length} sets that differ in ${keywords.join(', ')}; say which by such an attribute as a parameter, such as ${keywords[0] ?? 'AcquisitionNumber'}=…${byName}.`,
    { sets: groups.length, attributes: keywords },
  );
}

function keyOfFrames(frames: readonly VolumeFrame[]): string {
  const hash = createHash('sha256');
  for (const { instance, frameNumber } of frames) hash.update(`${instance.tenant} ${instance.digest} ${frameNumber}\n`);
  return hash.digest('hex');
}

/** In an order that does not depend on how they came. */
export function identityOf(instances: readonly StoredInstance[]): string[] {
  return instances
    .map(({ sopInstanceUid, digest, packId, offsetBytes }) => `${sopInstanceUid} ${digest} ${packId} ${offsetBytes}`)
    .toSorted(compare);
}
