/**
 * What the other side sees when something goes wrong: application/problem+json (RFC 9457) with the status of
 * `httpStatusOf`. What is not an ArchiveError is a bug of ours: 500, generic text, and a line in the log with its stack.
 */
import { type ArchiveError, httpStatusOf, isArchiveError } from './errors.ts';
import type { Logger } from './log.ts';

const titles: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  410: 'Gone',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  416: 'Range Not Satisfiable',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** Seconds after which a client may try again when nothing better is known. */
const retryAfterSeconds = 10;

/** `log` already carries what identifies the request; never its query string, which may name a patient. */
export function problemResponse(error: unknown, log: Logger): Response {
  if (!isArchiveError(error)) {
    log.error({ err: error }, 'A request failed for a reason that nobody foresaw');
    return problem(500, 'internal', 'The archive failed to answer this request; the failure has been logged.');
  }
  const status = httpStatusOf[error.code];
  // What passes by itself (the cloud is away, the disk is full) is for whoever asks again, not for whoever mends.
  if (status === 503) log.warn({ code: error.code, ...error.details }, `A request has to wait: ${error.message}`);
  else if (status >= 500) log.error({ err: error, code: error.code, ...error.details }, 'A request failed');
  // A damaged object's sentence may name keys and folders of ours, which are nobody's business.
  const detail = status === 500 ? 'A stored object cannot be read; the failure has been logged.' : error.message;
  return withHeaders(problem(status, error.code, detail), error);
}

/** The same of what is the client's own doing, 4xx, which is nothing for a log. */
export const problemOf = (error: ArchiveError): Response =>
  withHeaders(problem(httpStatusOf[error.code], error.code, error.message), error);

function withHeaders(response: Response, error: ArchiveError): Response {
  for (const [name, value] of headersOf(error, response.status)) response.headers.set(name, value);
  return response;
}

function* headersOf(error: ArchiveError, status: number): Generator<[string, string]> {
  if (status === 405) yield ['allow', String(error.details.allow ?? 'GET, HEAD, OPTIONS')];
  if (status === 401) yield ['www-authenticate', 'Bearer'];
  if (status === 503) yield ['retry-after', String(Number(error.details.retryAfterSeconds) || retryAfterSeconds)];
  if (status === 416 && Number.isSafeInteger(error.details.lengthBytes)) {
    yield ['content-range', `bytes */${String(error.details.lengthBytes)}`];
  }
}

function problem(status: number, code: string, detail: string): Response {
  const body = JSON.stringify({ type: 'about:blank', title: titles[status] ?? 'Error', status, code, detail });
  return new Response(body, {
    status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
  });
}
