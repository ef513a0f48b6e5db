/**
 * Why a gateway does not start although nothing is broken: a sentence for the person in front of it, and an exit code by
 * which systemd knows whether to try again.
 */

/** As sysexits.h has them: EX_DATAERR, EX_TEMPFAIL, EX_CONFIG. Any other failure ends with 1. */
export const exitCodes = { laterFormat: 65, folderInUse: 75, settings: 78 } as const;

export class StartRefusal extends Error {
  readonly exitCode: number;

  constructor(reason: keyof typeof exitCodes, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StartRefusal';
    this.exitCode = exitCodes[reason];
  }
}
