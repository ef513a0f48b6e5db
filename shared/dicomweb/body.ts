/**
 * Response bodies: bytes that an async generator makes, as a stream that pulls them one by one. What fails once an answer has
 * begun can only cut the connection, so it is logged here.
 */
import { isArchiveError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** Nothing runs before the first pull; cancelling ends the generator, whose `finally` closes what it has open. */
export function streamOf(bytes: AsyncGenerator<Uint8Array>, log: Logger): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await bytes.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          const code = isArchiveError(error) ? error.code : 'internal';
          log.error({ err: error, code }, 'An answer broke off after it had begun');
          controller.error(error);
        }
      },
      async cancel() {
        await bytes.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

/** The chunks of a stream; ending the iteration early cancels it. */
export async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => {});
  }
}
