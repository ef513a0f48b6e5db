/**
 * What happens at the DIMSE door, in one list, for pages, counters and the audit trail (PS3.15 §A.5): who came, who was sent
 * away and why, and what was asked for with what end. No patient data: titles, addresses, UIDs, counts and times only.
 * Whoever listens must not throw and must not take long: it is called between two PDUs.
 */
import type { AssociationEnd } from './association.ts';
import type { QueryLevel } from './information-model.ts';
import type { Reject } from './pdu.ts';
import type { SubOperationCounts } from './service.ts';
import type { StoreReport } from './store.ts';

/** The other side of an association, as far as it has said. */
export interface Peer {
  /** Of the A-ASSOCIATE-RQ; empty until that has come. What a stranger claims: not proven unless a certificate binds it. */
  readonly callingAeTitle: string;
  readonly calledAeTitle: string;
  /** IPv4 addresses as such, also where the socket maps them into IPv6. */
  readonly address: string;
  /** Over TLS. */
  readonly isSecure: boolean;
}

export type DimseEvent =
  | { readonly kind: 'association-accepted'; readonly peer: Peer }
  /** A-ASSOCIATE-RJ was sent; `why` is a sentence for the log and the status page. An `association-ended` follows. */
  | { readonly kind: 'association-rejected'; readonly peer: Peer; readonly reject: Reject; readonly why: string }
  /** Of every connection that became one, however short: also of those that never sent a request. */
  | {
      readonly kind: 'association-ended';
      readonly peer: Peer;
      readonly end: AssociationEnd;
      /** Since the connection. */
      readonly durationMs: number;
    }
  /** Cut without a word: too many connections, or a TLS handshake that failed. Several at once are told as one. */
  | {
      readonly kind: 'connections-cut';
      readonly why: 'too-many' | 'handshake-failed';
      readonly count: number;
    }
  /** A C-STORE came to its end, whatever that was. */
  | ({ readonly kind: 'store'; readonly peer: Peer } & StoreReport)
  /** A C-FIND was answered; not told of one whose identifier could not be read. */
  | {
      readonly kind: 'find';
      readonly peer: Peer;
      readonly level: QueryLevel;
      readonly matches: number;
      readonly durationMs: number;
      /** Of the last response. */
      readonly status: number;
    }
  /** A C-GET or C-MOVE was answered; not told of one whose identifier could not be read. */
  | {
      readonly kind: 'retrieve';
      readonly peer: Peer;
      readonly operation: 'get' | 'move';
      /** AE title to which a C-MOVE sent; undefined for C-GET. */
      readonly destination: string | undefined;
      readonly level: QueryLevel;
      readonly counts: SubOperationCounts;
      readonly durationMs: number;
      readonly status: number;
    }
  /** A storage commitment was asked for by N-ACTION. */
  | {
      readonly kind: 'commitment-requested';
      readonly peer: Peer;
      readonly transactionUid: string | undefined;
      readonly instances: number;
      readonly status: number;
    }
  /** The N-EVENT-REPORT of a commitment was taken by the one who asked, or given up. */
  | {
      readonly kind: 'commitment-reported';
      readonly aeTitle: string;
      readonly transactionUid: string;
      readonly committed: number;
      readonly failed: number;
      readonly isDelivered: boolean;
    };
