/**
 * Who was heard from: AE titles with the addresses that they came from, counted, for the status page, so that "is this modality
 * sending?" and "why is it refused?" are answered at a glance. In memory, bounded; of strangers that only ever were refused the
 * one not heard of for longest is forgotten first, since titles cost an attacker nothing.
 */
import type { DimseEvent, Peer } from './events.ts';

/** One AE title at one address. */
export interface PeerNote {
  readonly callingAeTitle: string;
  readonly address: string;
  /** Whether it came over TLS the last time. */
  readonly isSecure: boolean;
  readonly firstHeardAtMs: number;
  readonly lastHeardAtMs: number;
  readonly associations: number;
  readonly rejections: number;
  readonly lastRejection: { readonly atMs: number; readonly why: string } | undefined;
  /** Answered Success, with their bytes. */
  readonly stores: number;
  readonly storedBytes: number;
  /** Answered otherwise, or broken off. */
  readonly failedStores: number;
  readonly lastStoreAtMs: number | undefined;
  readonly queries: number;
  readonly retrievals: number;
  readonly commitments: number;
}

export interface PeerBook {
  /** To be called with every event. */
  readonly note: (event: DimseEvent) => void;
  /** Last heard first. */
  list(): readonly PeerNote[];
}

type Entry = { -readonly [K in keyof PeerNote]: PeerNote[K] };

/** @param maxPeers beyond which somebody is forgotten */
export function createPeerBook(nowMs: () => number, maxPeers = 500): PeerBook {
  /** The one heard of last is the last. */
  const entries = new Map<string, Entry>();

  const entryOf = (peer: Peer): Entry => {
    const key = `${peer.callingAeTitle}\n${peer.address}`;
    const atMs = nowMs();
    const entry = entries.get(key) ?? newEntry(peer, atMs);
    entry.lastHeardAtMs = atMs;
    entry.isSecure = peer.isSecure;
    entries.delete(key);
    if (entries.size >= maxPeers) entries.delete(leastWanted(entries));
    entries.set(key, entry);
    return entry;
  };

  return {
    note: (event) => {
      // Of what ended without a request nothing is known but an address.
      if (!('peer' in event) || event.kind === 'association-ended') return;
      const entry = entryOf(event.peer);
      switch (event.kind) {
        case 'association-accepted':
          entry.associations++;
          break;
        case 'association-rejected':
          entry.rejections++;
          entry.lastRejection = { atMs: entry.lastHeardAtMs, why: event.why };
          break;
        case 'store':
          if (event.status === 0) {
            entry.stores++;
            entry.storedBytes += event.lengthBytes;
            entry.lastStoreAtMs = entry.lastHeardAtMs;
          } else entry.failedStores++;
          break;
        case 'find':
          entry.queries++;
          break;
        case 'retrieve':
          entry.retrievals++;
          break;
        case 'commitment-requested':
          entry.commitments++;
          break;
      }
    },
    list: () => [...entries.values()].reverse().map((entry) => ({ ...entry })),
  };
}

function newEntry({ callingAeTitle, address, isSecure }: Peer, atMs: number): Entry {
  return {
    callingAeTitle,
    address,
    isSecure,
    firstHeardAtMs: atMs,
    lastHeardAtMs: atMs,
    associations: 0,
    rejections: 0,
    lastRejection: undefined,
    stores: 0,
    storedBytes: 0,
    failedStores: 0,
    lastStoreAtMs: undefined,
    queries: 0,
    retrievals: 0,
    commitments: 0,
  };
}

/** The oldest that was never let in, else the oldest. */
function leastWanted(entries: ReadonlyMap<string, Entry>): string {
  let oldest = '';
  for (const [key, { associations }] of entries) {
    if (associations === 0) return key;
    if (oldest === '') oldest = key;
  }
  return oldest;
}
