/**
 * The one error of Archipel and the closed list of its codes. Adapters translate foreign errors into it where they
 * arise; two tables say what HTTP (PS3.18 §8.4) and DIMSE (PS3.7 Annex C, PS3.4 Annex B) answer for each code.
 * Whatever is not an ArchiveError is a bug: 500 or 0110H, logged with its stack, generic text outward.
 */

export type ErrorCode =
  | 'bad-request'
  | 'bad-dicom'
  | 'limit-exceeded'
  | 'unsupported-transfer-syntax'
  | 'cannot-render'
  | 'identity-mismatch'
  | 'not-found'
  | 'gone'
  | 'method-not-allowed'
  | 'not-acceptable'
  | 'unsupported-media-type'
  | 'too-large'
  | 'range-not-satisfiable'
  | 'unauthorized'
  | 'forbidden'
  | 'already-exists'
  | 'checksum-mismatch'
  | 'conflict'
  | 'damaged'
  | 'out-of-resources'
  | 'unavailable'
  | 'timeout'
  | 'protocol-violation';

/** `details` never holds patient data: UIDs, sizes, offsets, counts and names of attributes only. */
export class ArchiveError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  /** @param message a sentence for the other side: what is wrong and what to change */
  constructor(code: ErrorCode, message: string, details: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ArchiveError';
    this.code = code;
    this.details = details;
  }
}

export function isArchiveError(error: unknown, code?: ErrorCode): error is ArchiveError {
  return error instanceof ArchiveError && (code === undefined || error.code === code);
}

export const httpStatusOf = {
  'bad-request': 400,
  'bad-dicom': 400,
  'limit-exceeded': 400,
  'unsupported-transfer-syntax': 406,
  'cannot-render': 406,
  'identity-mismatch': 409,
  'not-found': 404,
  gone: 410,
  'method-not-allowed': 405,
  'not-acceptable': 406,
  'unsupported-media-type': 415,
  'too-large': 413,
  'range-not-satisfiable': 416,
  unauthorized: 401,
  forbidden: 403,
  'already-exists': 412,
  'checksum-mismatch': 400,
  conflict: 409,
  damaged: 500,
  'out-of-resources': 503,
  unavailable: 503,
  timeout: 504,
  'protocol-violation': 400,
} as const satisfies Record<ErrorCode, number>;

/** C-STORE status (PS3.4 §B.2.3): A7xx out of resources, A9xx data set does not match SOP Class, Cxxx cannot understand. */
export const dimseStatusOf = {
  'bad-request': 0xc000,
  'bad-dicom': 0xc000,
  'limit-exceeded': 0xc000,
  'unsupported-transfer-syntax': 0x0122,
  'cannot-render': 0x0110,
  'identity-mismatch': 0xa900,
  'not-found': 0x0112,
  gone: 0x0112,
  'method-not-allowed': 0x0211,
  'not-acceptable': 0x0122,
  'unsupported-media-type': 0x0122,
  'too-large': 0xa700,
  'range-not-satisfiable': 0x0110,
  unauthorized: 0x0124,
  forbidden: 0x0124,
  'already-exists': 0x0111,
  'checksum-mismatch': 0x0110,
  conflict: 0x0111,
  damaged: 0x0110,
  'out-of-resources': 0xa700,
  unavailable: 0xa700,
  timeout: 0x0110,
  'protocol-violation': 0x0110,
} as const satisfies Record<ErrorCode, number>;
