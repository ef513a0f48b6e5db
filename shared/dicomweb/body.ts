/**
 * Response bodies: bytes that an iterator gives, as a stream that pulls them one by one. What fails once an answer has
 * begun can only cut the connection, so it is logged here.
 */
import { isArchiveError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** What a body is made of; `return` closes what is open, also if nothing was ever asked for. */
export interface BodySource {
  next(): Promise<IteratorResult<Uint8Array, unknown>>;
  return(value?: undefined): Promise<unknown>;
}

/** Nothing runs before the first pull; cancelling waits for what is being read and ends the source. */
export function streamOf(bytes: BodySource, log: Logger): ReadableStream<Uint8Array> {
  let reading: Promise<unknown> = Promise.resolve();
  let cancelled = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = bytes.next();
          reading = next.catch(() => {});
          const { done, value } = await next;
          // A client that left while this was read is nothing to report.
          if (cancelled) return;
          if (done === true) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          const code = isArchiveError(error) ? error.code : 'internal';
          log.error({ err: error, code }, 'An answer broke off after it had begun');
          controller.error(error);
        }
      },
      async cancel() {
        cancelled = true;
        await reading;
        await bytes.return();
      },
    },
    { highWaterMark: 0 },
  );
}
