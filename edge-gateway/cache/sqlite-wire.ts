/**
 * What travels between a thread that calls an engine on SQLite and the thread that has it. Errors travel as data.
 */
import { ArchiveError, type ErrorCode, isArchiveError } from '#shared/errors.ts';
import type { Answer, Request } from './sqlite-runner.ts';

/** What a worker opens: which engine, on which file. */
export interface EngineSpec {
  readonly engine: 'index' | 'index-reader' | 'queue' | 'commitments';
  readonly file: string;
  /** Of the queue. */
  readonly maxReceiveCount?: number;
}

export type WireAnswer = { readonly value: unknown } | { readonly error: WireError };

export interface WireError {
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly stack: string | undefined;
}

/** To the worker: the requests of one turn, or `undefined`: answer what came before, close, end. */
export interface WireRequests {
  readonly firstId: number;
  readonly requests: readonly Request[] | undefined;
}

/** From the worker: `firstId` -1 says that it is open, or why it is not. */
export interface WireAnswers {
  readonly firstId: number;
  readonly answers: readonly WireAnswer[];
}

/** An answer in a form that can be cloned. */
export function toWire(answer: Answer): WireAnswer {
  if (!('error' in answer)) return answer;
  const { error } = answer;
  if (isArchiveError(error)) {
    return { error: { code: error.code, message: error.message, details: error.details, stack: error.stack } };
  }
  const known = error instanceof Error ? error : new Error(String(error));
  return { error: { code: undefined, message: known.message, details: {}, stack: known.stack } };
}

/** The error that toWire was given. */
export function errorOf({ code, message, details, stack }: WireError): Error {
  const error = code === undefined ? new Error(message) : new ArchiveError(code, message, details);
  if (stack !== undefined) error.stack = stack;
  return error;
}
