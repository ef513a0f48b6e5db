/**
 * One request as the handlers see it: whose archive, under which URL, with which query. Made once by service.ts.
 */
import type { Logger } from '../log.ts';

export interface Context {
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly tenant: string;
  /** See base-url.ts. */
  readonly baseUrl: string;
  /** Carries the resource and its UIDs. */
  readonly log: Logger;
}
