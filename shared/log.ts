/**
 * The injected logger: JSON lines, context added once by `child`. No patient data ever: no names, patient IDs or
 * accession numbers; UIDs are allowed. The writer is given by the composition root.
 */
import { pino } from 'pino';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  child(fields: LogFields): Logger;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** A logger that hands each finished line (with its newline) to `write`. Errors go under the field `err`. */
export function createLogger(level: LogLevel, write: (line: string) => void, context: LogFields = {}): Logger {
  return pino(
    { level, base: { ...context }, timestamp: pino.stdTimeFunctions.isoTime },
    { write },
  ) as unknown as Logger;
}

export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};
