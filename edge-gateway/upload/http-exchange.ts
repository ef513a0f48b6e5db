/**
 * One HTTP request to the cloud that always ends: with an answer, or with an ArchiveError within bounded time, however the
 * network or the other side behaves. A body may take hours, but something of it must move; an answer may come late, but
 * not drop by drop for ever.
 */
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { ArchiveError } from '#shared/errors.ts';

export interface ExchangeLimits {
  /** While a body is sent, at least `windowBytes` must go within it, unless our own side has nothing to send. */
  readonly windowMs: number;
  readonly windowBytes: number;
  /** From the last byte of the body to the last byte of the answer. */
  readonly answerMs: number;
  readonly maxAnswerBytes: number;
}

export interface Exchange {
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
  readonly limits: ExchangeLimits;
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface HttpExchanges {
  /** Errors: `unavailable` (not reached, broken off), `timeout`. */
  send(exchange: Exchange): Promise<Answer>;
  close(): void;
}

/** Connections are kept and used again. */
export function createHttpExchanges(): HttpExchanges {
  const agents = {
    http: new http.Agent({ keepAlive: true }),
    https: new https.Agent({ keepAlive: true }),
  };

  function send({ url, method, headers, body, limits, signal }: Exchange): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const secure = url.startsWith('https:');
      const agent = secure ? agents.https : agents.http;
      const request = (secure ? https : http).request(url, { method, headers, agent, signal });
      const endWatch = watch(request, limits);
      // The answer may come before the body has gone (412 spares the upload): it counts, whatever becomes of the body.
      let answered = false;
      const fail = (error: Error): void => {
        if (answered) return;
        reject(
          error instanceof ArchiveError
            ? error
            : new ArchiveError('unavailable', 'The cloud could not be reached.', { reason: reasonOf(error) }, error),
        );
      };
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length <= limits.maxAnswerBytes) return void chunks.push(chunk);
          // Said before the end may come: what was cut short is no answer.
          fail(new ArchiveError('unavailable', 'The cloud answered more than it may.'));
          request.destroy();
        });
        response.on('error', fail);
        response.on('end', () => {
          answered = true;
          // An answer before the end of the body: the rest is not wanted. A request that has ended must be left alone, since
          // its connection may serve the next one already.
          if (!request.writableEnded) request.destroy();
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
        });
      });
      request.on('error', fail);
      // Not stream.pipeline: that destroys the request when all is over, and with it a connection that serves the next one.
      body.on('error', (error) => request.destroy(error));
      request.on('close', () => {
        endWatch();
        body.destroy();
        fail(new ArchiveError('unavailable', 'The cloud broke off.'));
      });
      body.pipe(request);
    });
  }

  return {
    send,
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

/** Destroys a request that stands still; answers how to stop watching. */
function watch(request: http.ClientRequest, { windowMs, windowBytes, answerMs }: ExchangeLimits): () => void {
  let sentBytes = 0;
  const give = (ms: number): void => {
    request.destroy(new ArchiveError('timeout', `The cloud did not go on for ${Math.round(ms / 1000)} s.`));
  };
  const window = setInterval(() => {
    const nowBytes = request.socket?.bytesWritten ?? 0;
    // A socket that would take more is not what we wait for: the line may be limited, or the disk slow.
    const isOurTurn = request.socket?.connecting === false && !request.writableEnded && !request.writableNeedDrain;
    if (!isOurTurn && nowBytes - sentBytes < windowBytes) give(windowMs);
    sentBytes = nowBytes;
  }, windowMs);
  let answer: NodeJS.Timeout | undefined;
  const awaitAnswer = (): void => {
    clearInterval(window);
    answer ??= setTimeout(() => give(answerMs), answerMs);
  };
  request.on('socket', (socket) => {
    sentBytes = socket.bytesWritten;
  });
  request.on('finish', awaitAnswer);
  request.on('response', awaitAnswer);
  return () => {
    clearInterval(window);
    clearTimeout(answer);
  };
}

/** ECONNREFUSED and the like; never a message that could hold a URL with its signature. */
function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
