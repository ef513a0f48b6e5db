/**
 * An HTTP client for tests that obeys nothing: it sends the bytes it is given and reads the answer, which may come before they have
 * all been sent. And a look at what an attack costs those who do not take part in it.
 */
import { once } from 'node:events';
import { connect } from 'node:net';

export interface RawAnswer {
  /** 0: the connection was ended without one. */
  readonly status: number;
  /** The head as it came, lines with CRLF. */
  readonly head: string;
  readonly type: string;
  readonly body: string;
}

/** Of an answer; what is longer is not read to its end. */
const mostBytes = 16 * 1024 * 1024;

type Chunks = Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>;

/** Sends until there is an answer or nothing is left, and waits for the answer. Strings are latin1. */
export async function exchange(port: number, chunks: Chunks | string, endsAfter = false): Promise<RawAnswer> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const pieces: Buffer[] = [];
  let lengthBytes = 0;
  let head: string | undefined;
  const answered = Promise.withResolvers<void>();
  socket.on('data', (piece: Buffer) => {
    pieces.push(piece);
    lengthBytes += piece.length;
    head ??= headOf(Buffer.concat(pieces));
    if (lengthBytes > mostBytes || (head !== undefined && isComplete(head, lengthBytes, pieces))) answered.resolve();
  });
  socket.on('close', () => answered.resolve());
  socket.on('error', () => answered.resolve());
  let isAnswered = false;
  answered.promise.then(() => {
    isAnswered = true;
  });
  await Promise.race([once(socket, 'connect'), answered.promise]);
  for await (const chunk of typeof chunks === 'string' ? [chunks] : chunks) {
    if (isAnswered) break;
    const more = typeof chunk === 'string' ? socket.write(chunk, 'latin1') : socket.write(chunk);
    if (!more) await Promise.race([once(socket, 'drain'), answered.promise]);
  }
  if (endsAfter && !isAnswered) socket.end();
  await answered.promise;
  socket.destroy();
  return parsed(Buffer.concat(pieces).toString('latin1'));
}

function headOf(bytes: Buffer): string | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  return end < 0 ? undefined : bytes.toString('latin1', 0, end);
}

function isComplete(head: string, lengthBytes: number, pieces: readonly Buffer[]): boolean {
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return lengthBytes >= head.length + 4 + Number(length);
  if (!/\r\ntransfer-encoding: chunked/i.test(head)) return false;
  return Buffer.concat(pieces.slice(-8)).toString('latin1').endsWith('\r\n0\r\n\r\n');
}

function parsed(text: string): RawAnswer {
  const headEnd = text.indexOf('\r\n\r\n');
  const head = headEnd < 0 ? text : text.slice(0, headEnd);
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
    head,
    type: /\r\ncontent-type: ([^\r]*)/i.exec(head)?.[1] ?? '',
    body: text.slice(headEnd + 4),
  };
}

export interface Cost {
  readonly grownMiB: number;
  /** Of others, who asked all the while. */
  readonly served: number;
}

const MIB = 1024 * 1024;

/** Attacks while an honest client asks again and again; throws when it is not served. */
export async function besideOthers<T>(port: number, attack: () => Promise<T>): Promise<{ result: T; cost: Cost }> {
  const before = process.memoryUsage().rss;
  let peak = before;
  let served = 0;
  let isOver = false;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 10);
  const others = (async () => {
    do {
      const { status } = await exchange(port, 'GET /dicomweb/studies?limit=1 HTTP/1.1\r\nHost: a\r\n\r\n');
      if (status !== 200) throw new Error(`others were answered ${status}`);
      served++;
      await new Promise((resolve) => setTimeout(resolve, 25));
    } while (!isOver);
  })();
  try {
    const result = await attack();
    return { result, cost: { grownMiB: Math.round((peak - before) / MIB), served } };
  } finally {
    isOver = true;
    await others;
    clearInterval(watch);
  }
}
