/**
 * Pictures as answers of many: made a few at a time ahead of who takes them, and put together to one animation, GIF or WebP, that runs as fast
 * as the instance says. One picture is pictures.ts; the formats are imaging's.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { animatedGif } from '../imaging/gif.ts';
import { numbers } from '../imaging/image-attributes.ts';
import { animatedWebp } from '../imaging/webp.ts';
import { type ByteBudget, createByteBudget } from './byte-budget.ts';

export type AnimatedMediaType = 'image/gif' | 'image/webp';
export const isAnimated = (mediaType: string): mediaType is AnimatedMediaType =>
  mediaType === 'image/gif' || mediaType === 'image/webp';

/** As many as the render pool's threads. */
const renderedAhead = 2;
/** An animated WebP is held as a whole, some of them at a time: it states its length first. */
const animatedWebpBytes = 32 * 1024 * 1024;
const animatedWebpTurns = createByteBudget(2, 64);
const pieceBytes = 256 * 1024;
/** Where the instance does not say how fast it runs. */
const defaultFrameTimeMs = 100;

/** One animation out of pictures of its media type, in pieces as they come. `signal`: the client has left. */
export const animationOf = (
  mediaType: AnimatedMediaType,
  pictures: AsyncIterable<Uint8Array>,
  delayMs: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> =>
  mediaType === 'image/gif' ? animatedGif(pictures, delayMs) : webpInTurn(pictures, delayMs, signal);

/** The animation in pieces, whose memory counts until the last one has been taken. */
async function* webpInTurn(
  pictures: AsyncIterable<Uint8Array>,
  delayMs: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let end = (): void => {};
  await new Promise<void>((begin, refuse) => {
    const work = (): Promise<void> => {
      begin();
      return new Promise((resolve) => {
        end = resolve;
      });
    };
    animatedWebpTurns.hold(1, work).catch(refuse);
  });
  try {
    const bytes = await animatedWebp(unlessAborted(pictures, signal), delayMs, animatedWebpBytes);
    for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  } finally {
    end();
  }
}

/** Nobody is given anything before the last picture is made, so that nothing else ends this when the client leaves. */
async function* unlessAborted(
  pictures: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hasLeft = (): ArchiveError =>
    new ArchiveError('unavailable', 'The client has left before the animation was made.');
  if (signal.aborted) throw hasLeft();
  for await (const picture of pictures) {
    if (signal.aborted) throw hasLeft();
    yield picture;
  }
}

/** In order, `renderedAhead` of them under way at a time. Ending early gives up what has not had its turn yet. */
export async function* ahead(
  frameNumbers: readonly number[],
  turns: ByteBudget,
  picture: (frameNumber: number) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const underWay: Promise<Uint8Array>[] = [];
  let isWanted = true;
  const inTurn = async (frameNumber: number): Promise<Uint8Array> => {
    if (!isWanted) throw new ArchiveError('unavailable', 'The picture was given up.');
    return picture(frameNumber);
  };
  try {
    for (let next = 0; next < frameNumbers.length || underWay.length > 0; ) {
      while (next < frameNumbers.length && underWay.length < renderedAhead) {
        const frameNumber = frameNumbers[next++]!;
        const promise = turns.hold(1, () => inTurn(frameNumber));
        // Whoever waits for it hears of its failure; when nobody does any more, nobody need.
        promise.catch(() => {});
        underWay.push(promise);
      }
      yield await underWay.shift()!;
    }
  } finally {
    isWanted = false;
  }
}

/** Recommended Display Frame Rate, Frame Time, Cine Rate, or the mean of Frame Time Vector (PS3.3 §C.7.6.5). */
export function frameTimeMs(metadata: DicomJson): number {
  const positive = (element: JsonElement | undefined): number | undefined => {
    const value = numbers(element)[0];
    return value !== undefined && value > 0 && Number.isFinite(value) ? value : undefined;
  };
  const rate = positive(metadata['00082144']);
  if (rate !== undefined) return 1000 / rate;
  const frameTime = positive(metadata['00181063']);
  if (frameTime !== undefined) return frameTime;
  const cineRate = positive(metadata['00180040']);
  if (cineRate !== undefined) return 1000 / cineRate;
  // The first value of the vector is the time before the first frame: 0.
  const vector = numbers(metadata['00181065']).slice(1).filter((time) => time > 0); // biome-ignore format: one thought
  return vector.length === 0 ? defaultFrameTimeMs : vector.reduce((sum, time) => sum + time, 0) / vector.length;
}
