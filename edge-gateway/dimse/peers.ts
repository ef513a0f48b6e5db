/**
 * Who may speak to this gateway and what for: called and calling AE titles, the addresses and the certificate that a title
 * is bound to, and the services that it may use (the acceptor's local policy of PS3.8 §7.1.1.7). How many may come at once is
 * connections.ts.
 */
import { BlockList, isIP } from 'node:net';
import { ArchiveError } from '#shared/errors.ts';
import { type Reject, Rejects } from './pdu.ts';

/** What settings say of an AE that may call; whatever is absent is not restricted. */
export interface KnownAe {
  /** Addresses or CIDR ranges; empty: any. */
  readonly addresses?: readonly string[];
  /** CN or SAN (dNSName, URI), one of which its client certificate must have; empty: none is asked for. */
  readonly certificateSubjects?: readonly string[];
  readonly mayStore?: boolean;
  readonly mayQuery?: boolean;
  readonly mayRetrieve?: boolean;
  /** Associations at once. */
  readonly maxAssociations?: number | undefined;
}

export interface PeerSettings {
  /** Titles by which we may be called. */
  readonly calledAeTitles: 'any' | readonly string[];
  /** Callers that are not among `remoteAes`. */
  readonly unknownCallers: 'accepted' | 'rejected';
  readonly remoteAes: ReadonlyMap<string, KnownAe>;
}

/** What a connection and its A-ASSOCIATE-RQ say of the caller. */
export interface Caller {
  readonly callingAeTitle: string;
  readonly calledAeTitle: string;
  readonly address: string;
  /** Of a certificate that was verified; empty: there is none. */
  readonly certificateSubjects: readonly string[];
}

/** Which services an association is offered. */
export interface Rights {
  readonly mayStore: boolean;
  readonly mayQuery: boolean;
  readonly mayRetrieve: boolean;
}

export const allRights: Rights = { mayStore: true, mayQuery: true, mayRetrieve: true };

export type Admission =
  | { readonly kind: 'admitted'; readonly rights: Rights; readonly maxAssociations: number | undefined }
  | { readonly kind: 'rejected'; readonly reject: Reject; readonly why: string };

/** A rejection of this association. */
export const rejected = (reject: Reject, why: string): Extract<Admission, { kind: 'rejected' }> => ({
  kind: 'rejected',
  reject,
  why,
});

/**
 * Decides about callers by these settings. A title that is known is held to what is known of it, also where unknown callers are
 * accepted. Error `bad-request`: an address of the settings is none.
 */
export function createAdmission(settings: PeerSettings): (caller: Caller) => Admission {
  const { calledAeTitles, unknownCallers, remoteAes } = settings;
  const matchers = new Map<string, (address: string) => boolean>();
  for (const [aeTitle, { addresses = [] }] of remoteAes)
    if (addresses.length > 0) matchers.set(aeTitle, addressMatcher(addresses));
  const unrecognized = (why: string) => rejected(Rejects.callingAeTitleNotRecognized, why);
  return ({ callingAeTitle, calledAeTitle, address, certificateSubjects }) => {
    if (calledAeTitles !== 'any' && !calledAeTitles.includes(calledAeTitle))
      return rejected(Rejects.calledAeTitleNotRecognized, 'the called AE title is not ours');
    const known = remoteAes.get(callingAeTitle);
    if (known === undefined)
      return unknownCallers === 'accepted'
        ? { kind: 'admitted', rights: allRights, maxAssociations: undefined }
        : unrecognized('the calling AE title is not in the settings');
    if (matchers.get(callingAeTitle)?.(address) === false)
      return unrecognized('the calling AE title does not belong to this address');
    const wanted = known.certificateSubjects ?? [];
    if (wanted.length > 0 && !hasSubject(certificateSubjects, wanted))
      return unrecognized(
        certificateSubjects.length === 0
          ? 'the calling AE title is bound to a certificate, and none was shown'
          : 'the calling AE title is not that of the certificate',
      );
    const { mayStore = true, mayQuery = true, mayRetrieve = true, maxAssociations } = known;
    return { kind: 'admitted', rights: { mayStore, mayQuery, mayRetrieve }, maxAssociations };
  };
}

/** Whether a certificate with these subjects is one of those wanted: letter by letter, but host names know no case. */
export function hasSubject(subjects: readonly string[], wanted: readonly string[]): boolean {
  const lower = new Set(wanted.map((subject) => subject.toLowerCase()));
  return subjects.some(
    (subject) => wanted.includes(subject) || (isHostName(subject) && lower.has(subject.toLowerCase())),
  );
}

const isHostName = (subject: string): boolean => subject.includes('.') && /^[A-Za-z0-9.-]+$/.test(subject);

/**
 * Whether an address is one of a list of addresses and CIDR ranges, IPv4 or IPv6. Error `bad-request`: an entry is neither.
 */
export function addressMatcher(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [base = '', prefix] = entry.trim().split('/');
    const address = plainAddress(base);
    const family = isIP(address);
    const isMapped = family === 4 && base.includes(':');
    const bits = prefix === undefined ? (family === 4 ? 32 : 128) : prefixOf(prefix) - (isMapped ? 96 : 0);
    if (family === 0 || entry.trim().split('/').length > 2 || !(bits >= 0 && bits <= (family === 4 ? 32 : 128)))
      throw new ArchiveError(
        'bad-request',
        `${entry} is neither an address nor a range such as 10.1.2.0/24 or fd00::/8`,
      );
    list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6');
  }
  return (address) => {
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && list.check(plain, family === 4 ? 'ipv4' : 'ipv6');
  };
}

const prefixOf = (text: string): number => (/^\d{1,3}$/.test(text) ? Number(text) : Number.NaN);

/** As people write it: without the zone of a link-local address, and IPv4 addresses that IPv6 sockets map as IPv4. */
export function plainAddress(address: string): string {
  const withoutZone = address.replace(/%.*$/, '');
  return /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(withoutZone)?.[1] ?? withoutZone;
}
