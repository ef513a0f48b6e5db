/**
 * Which representation a client wants: the Accept header field (RFC 9110 §12.5.1) or the `accept` query parameter, with
 * the DICOM parameters of PS3.18 §8.7 (`type` of multipart/related, `transfer-syntax`), quoted or not, as the field
 * writes them. It knows no resources: those bring their offers.
 */
import { ArchiveError } from '../errors.ts';
import { parseMediaType, splitOutsideQuotes } from './media-type.ts';

/** Of one element of an Accept list. */
export interface MediaRange {
  /** Lower case. For multipart/related what its `type` parameter says, any type without one. */
  readonly type: string;
  /** 'either' for a bare wildcard. */
  readonly form: 'single' | 'multipart' | 'either';
  /** A UID, '*' or, when the client said nothing, undefined. */
  readonly transferSyntax: string | undefined;
  /** 0 to 1; 0 excludes. */
  readonly quality: number;
}

/** One representation that a resource can give. */
export interface Offer<T> {
  readonly type: string;
  readonly form: 'single' | 'multipart';
  /** Absent where transfer syntaxes mean nothing (JSON, ZIP, pictures): then a range may say what it likes. */
  readonly transferSyntax?: {
    readonly uids: readonly string[];
    /** Whether it also serves a range without a transfer-syntax parameter. */
    readonly whenUnsaid: boolean;
    /** Whether it also serves `transfer-syntax=*`. Default true. */
    readonly whenAny?: boolean;
  };
  /** Only for ranges that name its type, or the kind of it: not what a client means that accepts anything. */
  readonly isNamedOnly?: boolean;
  readonly value: T;
}

export const maximumAcceptBytes = 4096;

/**
 * The ranges of an Accept list in the client's order; elements that are no media range are left out. An absent or empty
 * list accepts anything. Error `limit-exceeded` when it is longer than 4 KiB.
 */
export function parseAccept(list: string | null): readonly MediaRange[] {
  if (list === null || list.trim() === '')
    return [{ type: '*/*', form: 'either', transferSyntax: undefined, quality: 1 }];
  if (list.length > maximumAcceptBytes) {
    throw new ArchiveError('limit-exceeded', `The Accept list is longer than ${maximumAcceptBytes} bytes; shorten it.`);
  }
  return splitOutsideQuotes(list, ',').flatMap((element) => mediaRange(element) ?? []);
}

/**
 * The ranges that count for a request: those of the query parameter `accept` where it is given (PS3.18 §8.3.3.1: links
 * cannot set header fields), else of the header field. A '+' that URL decoding made a space is put back.
 */
export function acceptOf(request: Request, query: URLSearchParams): readonly MediaRange[] {
  const asked = query.getAll('accept').filter((value) => value.trim() !== '');
  const ranges =
    asked.length > 0
      ? parseAccept(asked.join(',').replaceAll(/([a-z]) ([a-z])/gi, '$1+$2'))
      : parseAccept(request.headers.get('accept'));
  refuseMixedCategories(ranges);
  return ranges;
}

/**
 * The offer that the client likes best: by quality, then by the client's order, then by ours; each offer is judged by the
 * most specific range that fits it. Error `not-acceptable`, which says what could be had.
 */
export function negotiate<T>(ranges: readonly MediaRange[], offers: readonly Offer<T>[]): Offer<T> {
  let best: { offer: Offer<T>; quality: number; position: number } | undefined;
  for (const offer of offers) {
    const position = mostSpecific(ranges, offer);
    const quality = position < 0 ? 0 : ranges[position]!.quality;
    if (quality === 0) continue;
    if (best === undefined || quality > best.quality || (quality === best.quality && position < best.position)) {
      best = { offer, quality, position };
    }
  }
  if (best !== undefined) return best.offer;
  const available = [...new Set(offers.map(describeOffer))].join(', ');
  throw new ArchiveError(
    'not-acceptable',
    `None of the media types in Accept can be given here; ask for: ${available}`,
  );
}

/** How an offer is asked for in an Accept list. */
export function describeOffer(offer: Offer<unknown>): string {
  const syntax = offer.transferSyntax === undefined ? '' : `; transfer-syntax=${offer.transferSyntax.uids[0]}`;
  return offer.form === 'multipart' ? `multipart/related; type="${offer.type}"${syntax}` : `${offer.type}${syntax}`;
}

/** Whether the range leaves the media type open and so asks for whatever the resource gives by default. */
const isOpen = (range: MediaRange): boolean => range.type.endsWith('/*');

function mostSpecific(ranges: readonly MediaRange[], offer: Offer<unknown>): number {
  let found = -1;
  let rank = -1;
  for (const [position, range] of ranges.entries()) {
    if (!fits(range, offer)) continue;
    const own =
      (range.type === '*/*' ? 0 : isOpen(range) ? 4 : 8) +
      (range.transferSyntax === undefined ? 0 : range.transferSyntax === '*' ? 1 : 2) +
      (range.form === 'either' ? 0 : 0.5);
    if (own > rank) {
      found = position;
      rank = own;
    }
  }
  return found;
}

function fits(range: MediaRange, offer: Offer<unknown>): boolean {
  if (range.form !== 'either' && range.form !== offer.form) return false;
  if (range.type === '*/*' && range.transferSyntax === undefined && offer.isNamedOnly === true) return false;
  if (range.type !== '*/*' && range.type !== offer.type) {
    if (!isOpen(range) || !offer.type.startsWith(range.type.slice(0, -1))) return false;
  }
  const syntax = offer.transferSyntax;
  if (syntax === undefined) return true;
  if (range.transferSyntax === '*') return syntax.whenAny ?? true;
  if (range.transferSyntax === undefined) return syntax.whenUnsaid;
  return syntax.uids.includes(range.transferSyntax);
}

function mediaRange(element: string): MediaRange | undefined {
  const outer = parseMediaType(element);
  if (outer === undefined) return undefined;
  const { type, parameters } = outer;
  const multipart = type.startsWith('multipart/');
  const said = multipart ? parameters.get('type') : undefined;
  // Some put the parameters of the parts inside: type="image/jls; transfer-syntax=1.2.840.10008.1.2.4.80".
  const inner = said === undefined ? { type: '*/*', parameters } : parseMediaType(said);
  if (inner === undefined || (multipart && type !== 'multipart/related' && type !== 'multipart/*')) return undefined;
  const parameter = (name: string): string | undefined => parameters.get(name) ?? inner.parameters.get(name);
  const quality = Number(parameter('q') ?? '1');
  return {
    type: multipart ? inner.type : type,
    form: multipart ? 'multipart' : type === '*/*' ? 'either' : 'single',
    transferSyntax: parameter('transfer-syntax') || undefined,
    quality: quality >= 0 && quality <= 1 ? quality : 1,
  };
}

const renderedTypes: ReadonlySet<string> = new Set([
  'image/png',
  'image/gif',
  'image/jpeg',
  'image/webp',
  'text/html',
  'application/pdf',
]);

/** PS3.18 §8.7.5: DICOM and rendered media types exclude each other in one list. image/jpeg in a multipart is Pixel Data, not a picture. */
function refuseMixedCategories(ranges: readonly MediaRange[]): void {
  const dicom = ranges.find((range) => range.type.startsWith('application/dicom'));
  const rendered = ranges.find((range) => range.form === 'single' && renderedTypes.has(range.type));
  if (dicom === undefined || rendered === undefined) return;
  throw new ArchiveError(
    'bad-request',
    `Accept mixes a DICOM media type (${dicom.type}) with a rendered one (${rendered.type}); ask for one kind at a time.`,
  );
}
