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

/**
 * The same, with its beginning read before it resolves: what cannot be had at all is an answer with a status then, not a connection
 * that is cut. Of HEAD nothing is read. Errors: those of the source.
 */
export async function begunStreamOf(
  bytes: BodySource,
  { request, log }: { readonly request: Request; readonly log: Logger },
): Promise<ReadableStream<Uint8Array>> {
  if (request.method === 'HEAD') return streamOf(bytes, log);
  // The first piece of a multipart body is the header of its first part alone.
  const beginning: IteratorResult<Uint8Array, unknown>[] = [];
  try {
    beginning.push(await bytes.next());
    if (beginning[0]?.done !== true) beginning.push(await bytes.next());
  } catch (error) {
    await bytes.return().catch(() => {});
    throw error;
  }
  const begun: BodySource = {
    async next() {
      return beginning.shift() ?? bytes.next();
    },
    return: (value) => bytes.return(value),
  };
  return streamOf(begun, log);
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
