/**
 * Bodies as streams: what is pulled, what is closed when the client leaves, and what is worth a line in the log.
 */
import { describe, expect, it } from 'vitest';
import { type BodySource, streamOf } from '#shared/dicomweb/body.ts';
import { createLogger } from '#shared/log.ts';

/** Gives pieces when it is told to. */
function heldSource() {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<IteratorResult<Uint8Array, unknown>>();
  const source = {
    ended: false,
    asked: asked.promise,
    give: (value: Uint8Array) => answer.resolve({ done: false, value }),
    fail: (error: Error) => answer.reject(error),
    next() {
      asked.resolve();
      return answer.promise;
    },
    async return() {
      source.ended = true;
    },
  };
  return source;
}

function streamWithLog(source: BodySource): { stream: ReadableStream<Uint8Array>; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger('info', (line) => lines.push(line), {});
  return { stream: streamOf(source, log), lines };
}

describe('streamOf', () => {
  it('ends the source once what is being read has come, and says nothing, when the client leaves meanwhile', async () => {
    const source = heldSource();
    const { stream, lines } = streamWithLog(source);
    const reader = stream.getReader();
    const read = reader.read();
    await source.asked;
    const cancelled = reader.cancel();
    expect(source.ended).toBe(false);
    source.give(Uint8Array.of(1));
    await cancelled;
    expect((await read).done).toBe(true);
    expect(source.ended).toBe(true);
    expect(lines).toEqual([]);
  });

  it('logs what breaks off an answer that has begun', async () => {
    const source = heldSource();
    const { stream, lines } = streamWithLog(source);
    const read = stream.getReader().read();
    await source.asked;
    source.fail(new Error('the disk is gone'));
    await expect(read).rejects.toThrow('the disk is gone');
    expect(lines).toHaveLength(1);
  });

  it('logs a source that fails although the client has left: it may be damage', async () => {
    const source = heldSource();
    const { stream, lines } = streamWithLog(source);
    const reader = stream.getReader();
    const read = reader.read();
    await source.asked;
    const cancelled = reader.cancel();
    source.fail(new Error('the disk is gone'));
    await Promise.all([read, cancelled]);
    expect(source.ended).toBe(true);
    expect(lines).toHaveLength(1);
  });
});
