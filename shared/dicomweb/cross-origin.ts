/**
 * Cross-origin reading (the Fetch standard's CORS protocol): which pages' origins may, with which header fields, and what they
 * may see of an answer. Credentials travel as Authorization, never as cookies.
 */

const requestHeaders = 'Accept, Authorization, Content-Type, If-None-Match, If-Range, Range';
export const exposedHeaders =
  'Content-Type, Content-Length, Content-Location, Content-Range, Content-Encoding, ETag, Retry-After, Warning';
const preflightSeconds = 600;

/** Adds what an allowed origin needs to `headers`; nothing for any other, which browsers take for a refusal. */
export function allowCrossOrigin(
  request: Request,
  headers: Headers,
  allowedOrigins: readonly string[],
  methods: string,
): void {
  const origin = request.headers.get('origin');
  if (origin === null) return;
  const any = allowedOrigins.includes('*');
  if (!any && !allowedOrigins.includes(origin)) return;
  headers.set('access-control-allow-origin', any ? '*' : origin);
  headers.set('access-control-expose-headers', exposedHeaders);
  if (request.method !== 'OPTIONS') return;
  headers.set('access-control-allow-methods', methods);
  headers.set('access-control-allow-headers', requestHeaders);
  headers.set('access-control-max-age', String(preflightSeconds));
}
