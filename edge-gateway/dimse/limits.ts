/**
 * What connections and associations may cost, in one place, with the values of a gateway. All of it is in CONFORMANCE.md, which
 * a test holds against this file.
 */
import { DEFAULT_MAX_PDU_BYTES } from './pdu.ts';

/** How long one association may take for what. */
export interface AssociationLimits {
  /** From the connection to a complete A-ASSOCIATE-RQ (PS3.8 §9.1.5). */
  readonly artimMs: number;
  /** Between messages: an ultrasound keeps its association open between two images. */
  readonly idleTimeoutMs: number;
  /** Within a message, or while the peer does not read our answers, without a PDU completed. */
  readonly stallTimeoutMs: number;
  /** After our last PDU, until the connection is cut. */
  readonly lingerMs: number;
}

/** How many there may be. */
export interface ConnectionLimits {
  /** Associations at once; beyond it they are rejected 2/3/2 (transient). */
  readonly maxAssociations: number;
  readonly maxAssociationsPerAddress: number;
  /** Connections without an association, from all addresses. */
  readonly maxWaiting: number;
}

export interface DimseLimits extends AssociationLimits, ConnectionLimits {
  /** The longest P-DATA-TF that we take and offer to take. */
  readonly maxPduBytes: number;
  /** From the connection to the end of the TLS handshake. */
  readonly handshakeTimeoutMs: number;
  /** Requests that one association may have unanswered, where the requestor negotiates a window. */
  readonly maxOperations: number;
  /** How long `close` lets running stores go on. */
  readonly closeDeadlineMs: number;
}

export const defaultDimseLimits: DimseLimits = {
  maxPduBytes: DEFAULT_MAX_PDU_BYTES,
  maxAssociations: 64,
  maxAssociationsPerAddress: 32,
  maxWaiting: 512,
  handshakeTimeoutMs: 10_000,
  maxOperations: 8,
  artimMs: 30_000,
  idleTimeoutMs: 10 * 60_000,
  stallTimeoutMs: 60_000,
  lingerMs: 1_500,
  closeDeadlineMs: 10_000,
};
