/**
 * Protocol data units of the DICOM upper layer (PS3.8 §9.3): their types, the reasons of a reject and an abort, and the
 * encoding of all but the two associate PDUs (associate-pdu.ts). Reading a stream of them is pdu-reader.ts.
 */
import { ArchiveError } from '#shared/errors.ts';

export const PduType = {
  AssociateRequest: 0x01,
  AssociateAccept: 0x02,
  AssociateReject: 0x03,
  Data: 0x04,
  ReleaseRequest: 0x05,
  ReleaseResponse: 0x06,
  Abort: 0x07,
} as const;

/** Of a PDU: type, reserved, length (PS3.8 §9.3.1). */
export const PDU_HEADER_BYTES = 6;
/** Of a presentation data value: length, presentation context ID, message control header (PS3.8 §9.3.5.1, Annex E.2). */
export const PDV_HEADER_BYTES = 6;

/** Bits of the message control header (PS3.8 Annex E.2). */
export const PDV_COMMAND = 0x01;
export const PDV_LAST = 0x02;

/** What we offer to receive in one P-DATA-TF. */
export const DEFAULT_MAX_PDU_BYTES = 256 * 1024;
/** An A-ASSOCIATE-RQ of 128 contexts with some 30 transfer syntaxes each takes about 130 KiB. */
export const MAX_ASSOCIATE_PDU_BYTES = 256 * 1024;

/** PS3.8 §9.3.8. A service user gives no reason; a service provider does. */
export const AbortSource = { ServiceUser: 0, ServiceProvider: 2 } as const;
export const AbortReason = {
  NotSpecified: 0,
  UnrecognizedPdu: 1,
  UnexpectedPdu: 2,
  UnrecognizedPduParameter: 4,
  UnexpectedPduParameter: 5,
  InvalidPduParameterValue: 6,
} as const;

/** Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 §9.3.4). */
export interface Reject {
  readonly result: number;
  readonly source: number;
  readonly reason: number;
}

/** The rejects that we send. Only a transient one makes a modality try again by itself. */
export const Rejects = {
  applicationContextNotSupported: { result: 1, source: 1, reason: 2 },
  callingAeTitleNotRecognized: { result: 1, source: 1, reason: 3 },
  calledAeTitleNotRecognized: { result: 1, source: 1, reason: 7 },
  protocolVersionNotSupported: { result: 1, source: 2, reason: 2 },
  localLimitExceeded: { result: 2, source: 3, reason: 2 },
} as const satisfies Record<string, Reject>;

/** How an association that was violated is to be aborted: carried by the `protocol-violation` that says so. */
export interface AbortCause {
  readonly abortSource: number;
  readonly abortReason: number;
}

/** A PDU that breaks PS3.8: the upper layer itself aborts, with a reason. */
export function pduViolation(
  message: string,
  abortReason: number,
  details: Record<string, unknown> = {},
): ArchiveError {
  return new ArchiveError('protocol-violation', message, {
    ...details,
    abortSource: AbortSource.ServiceProvider,
    abortReason,
  });
}

/** A message that breaks PS3.7: the DIMSE service user aborts, which has no reason to give (PS3.8 §9.3.8). */
export function messageViolation(message: string, details: Record<string, unknown> = {}): ArchiveError {
  return new ArchiveError('protocol-violation', message, {
    ...details,
    abortSource: AbortSource.ServiceUser,
    abortReason: AbortReason.NotSpecified,
  });
}

/** Source and reason for whatever made an association end; what is no violation is our own fault, unspecified. */
export function abortCauseOf(error: unknown): AbortCause {
  const details = error instanceof ArchiveError ? error.details : {};
  const { abortSource, abortReason } = details;
  if (typeof abortSource === 'number' && typeof abortReason === 'number') return { abortSource, abortReason };
  return { abortSource: AbortSource.ServiceUser, abortReason: AbortReason.NotSpecified };
}

/** Header and body of a PDU whose body is `bodyBytes` long, zeros. */
export function allocatePdu(type: number, bodyBytes: number): Buffer {
  const pdu = Buffer.alloc(PDU_HEADER_BYTES + bodyBytes);
  pdu[0] = type;
  pdu.writeUInt32BE(bodyBytes, 2);
  return pdu;
}

export function encodeAssociateReject(reject: Reject): Buffer {
  const pdu = allocatePdu(PduType.AssociateReject, 4);
  pdu[7] = reject.result;
  pdu[8] = reject.source;
  pdu[9] = reject.reason;
  return pdu;
}

export function encodeAbort(cause: AbortCause): Buffer {
  const pdu = allocatePdu(PduType.Abort, 4);
  pdu[8] = cause.abortSource;
  pdu[9] = cause.abortReason;
  return pdu;
}

export const encodeReleaseRequest = (): Buffer => allocatePdu(PduType.ReleaseRequest, 4);
export const encodeReleaseResponse = (): Buffer => allocatePdu(PduType.ReleaseResponse, 4);

/** The body of an A-ASSOCIATE-RJ. */
export function decodeAssociateReject(body: Uint8Array): Reject {
  return { result: body[1] ?? 0, source: body[2] ?? 0, reason: body[3] ?? 0 };
}

/** The body of an A-ABORT. */
export function decodeAbort(body: Uint8Array): AbortCause {
  return { abortSource: body[2] ?? 0, abortReason: body[3] ?? 0 };
}

/**
 * How many bytes one presentation data value may carry to a peer that takes `maxPduBytes` (0: no limit, PS3.8 Annex
 * D.1) when `pdvsPerPdu` of them share a PDU: even, since fragments are; 0 when not even two bytes fit.
 */
export function fragmentLimit(maxPduBytes: number, pdvsPerPdu = 1): number {
  const pduBytes = maxPduBytes === 0 ? DEFAULT_MAX_PDU_BYTES : Math.min(maxPduBytes, DEFAULT_MAX_PDU_BYTES * 4);
  const bytes = Math.floor(pduBytes / pdvsPerPdu) - PDV_HEADER_BYTES;
  return bytes < 2 ? 0 : bytes - (bytes % 2);
}

/** Writes the header of a presentation data value with `fragmentBytes` of payload at `offset`. */
export function writePdvHeader(
  target: Buffer,
  offset: number,
  fragmentBytes: number,
  contextId: number,
  control: number,
): void {
  target.writeUInt32BE(fragmentBytes + 2, offset);
  target[offset + 4] = contextId;
  target[offset + 5] = control;
}

/** A whole command as P-DATA-TF PDUs in one buffer, so that it goes out in one write. */
export function encodeCommandPdus(contextId: number, command: Uint8Array, maxPduBytes: number): Buffer {
  return encodePdus(contextId, command, maxPduBytes, PDV_COMMAND);
}

/** The same for a data set that is at hand, such as an identifier. */
export function encodeDataSetPdus(contextId: number, dataSet: Uint8Array, maxPduBytes: number): Buffer {
  return encodePdus(contextId, dataSet, maxPduBytes, 0);
}

function encodePdus(contextId: number, bytes: Uint8Array, maxPduBytes: number, kind: number): Buffer {
  const limit = fragmentLimit(maxPduBytes);
  if (limit === 0) throw new ArchiveError('bad-request', 'the peer takes PDUs too small to carry a message');
  const fragments = Math.max(1, Math.ceil(bytes.length / limit));
  const pdus = Buffer.allocUnsafe(fragments * (PDU_HEADER_BYTES + PDV_HEADER_BYTES) + bytes.length);
  let offset = 0;
  for (let i = 0; i < fragments; i++) {
    const fragment = bytes.subarray(i * limit, (i + 1) * limit);
    pdus[offset] = PduType.Data;
    pdus[offset + 1] = 0;
    pdus.writeUInt32BE(PDV_HEADER_BYTES + fragment.length, offset + 2);
    const control = kind | (i === fragments - 1 ? PDV_LAST : 0);
    writePdvHeader(pdus, offset + PDU_HEADER_BYTES, fragment.length, contextId, control);
    offset += PDU_HEADER_BYTES + PDV_HEADER_BYTES;
    pdus.set(fragment, offset);
    offset += fragment.length;
  }
  return pdus;
}
