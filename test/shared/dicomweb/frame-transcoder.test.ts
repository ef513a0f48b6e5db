/**
 * What frames on their way may hold: one budget over all answers, turns at the pool, and nothing that stays when it is given up.
 */
import { expect, it } from 'vitest';
import { createFrameTranscoder, type FrameOnItsWay } from '#shared/dicomweb/frame-transcoder.ts';
import type { TranscodedFrame, TranscodeRequest } from '#shared/imaging/transcode.ts';
import { attributesWith, EXPLICIT_LITTLE } from '../imaging/image-fixture.ts';

const request: TranscodeRequest = {
  frame: new Uint8Array(8),
  fromTransferSyntaxUid: EXPLICIT_LITTLE,
  toTransferSyntaxUid: EXPLICIT_LITTLE,
  attributes: attributesWith(),
};
const answer: TranscodedFrame = { bytes: new Uint8Array(8), photometricInterpretation: 'MONOCHROME2', isLossy: false };
/** Long enough for everything that can happen to have happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

it('reads no frame of anybody before there is room for it, and goes on as frames are let go', async () => {
  let read = 0;
  const transcoder = createFrameTranscoder({ transcode: async () => answer, budgetBytes: 100 });
  const begin = (): FrameOnItsWay =>
    transcoder.begin(40, async () => {
      read++;
      return request;
    });
  const frames = Array.from({ length: 6 }, begin);
  await settled();
  expect(read).toBe(2);
  await frames[0]?.frame;
  frames[0]?.release();
  await settled();
  expect(read).toBe(3);
  // Given up while it waits: it is never read, and those behind it come.
  frames[3]?.release();
  for (const one of [frames[1], frames[2], frames[4]]) {
    await one?.frame;
    one?.release();
  }
  await frames[5]?.frame;
  expect(read).toBe(5);
  await expect(frames[3]?.frame).rejects.toMatchObject({ code: 'unavailable' });
});

it('gives the pool a few at a time, and frees no memory that a thread still works on', async () => {
  const working: PromiseWithResolvers<TranscodedFrame>[] = [];
  const transcode = (): Promise<TranscodedFrame> => {
    const work = Promise.withResolvers<TranscodedFrame>();
    working.push(work);
    return work.promise;
  };
  const transcoder = createFrameTranscoder({ transcode, budgetBytes: 3, atOnce: 2 });
  const frames = Array.from({ length: 5 }, () => transcoder.begin(1, async () => request));
  await settled();
  expect(working).toHaveLength(2);
  for (const frame of frames) frame.release();
  await settled();
  expect(working).toHaveLength(2);
  for (const work of working) work.resolve(answer);
  await settled();
  const next = transcoder.begin(3, async () => request);
  await settled();
  expect(working).toHaveLength(3);
  working[2]?.resolve(answer);
  expect(await next.frame).toBe(answer);
});

it('lets go of what fails, whether it was reading or working', async () => {
  const transcoder = createFrameTranscoder({ transcode: () => Promise.reject(new Error('a thread')), budgetBytes: 1 });
  for (let i = 0; i < 3; i++) {
    const unread = transcoder.begin(1, () => Promise.reject(new Error('a pack')));
    await expect(unread.frame).rejects.toThrow('a pack');
    unread.release();
    const failed = transcoder.begin(1, async () => request);
    await expect(failed.frame).rejects.toThrow('a thread');
    failed.release();
  }
});

it('has room for what is gathered apart from frames, given up before it is granted or after', async () => {
  const transcoder = createFrameTranscoder({ transcode: async () => answer });
  const all = 64 * 1024 * 1024;
  const first = transcoder.gather(all);
  await first.granted;
  const givenUp = transcoder.gather(all);
  const last = transcoder.gather(all);
  givenUp.release();
  first.release();
  await last.granted;
  await transcoder.begin(1, async () => request).frame;
});

it('says when there is little room left, so that nothing is begun ahead of its turn', async () => {
  const transcoder = createFrameTranscoder({ transcode: async () => answer, budgetBytes: 100 });
  const [first, second] = [40, 20].map((size) => transcoder.begin(size, async () => request));
  expect(transcoder.isRoomy).toBe(false);
  await second?.frame;
  second?.release();
  second?.release();
  await settled();
  expect(transcoder.isRoomy).toBe(true);
  first?.release();
  await settled();
  const large = transcoder.begin(60, async () => request);
  expect(transcoder.isRoomy).toBe(false);
  large.release();
});
