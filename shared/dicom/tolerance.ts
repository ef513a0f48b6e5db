/**
 * What the reader let pass although the standard forbids it, in words for people: one sentence for each kind, naming the
 * first place where it was met. Never attribute values: tags, byte positions and UIDs of transfer syntaxes only.
 */
import { tagText } from './tags.ts';

const sentences = {
  'no-preamble': 'The 128-byte preamble is missing',
  'no-prefix': 'The prefix DICM is missing',
  'no-file-meta': 'The File Meta Information is missing; the encoding was recognised from the data set',
  'no-transfer-syntax': 'The Transfer Syntax UID (0002,0010) is missing; the encoding was recognised from the data set',
  'no-group-length': 'The File Meta Information Group Length (0002,0000) is missing',
  'wrong-group-length': 'The File Meta Information Group Length (0002,0000) is wrong',
  'implicit-file-meta': 'The File Meta Information is encoded in implicit VR',
  'not-explicit': 'The transfer syntax says explicit VR, but the data set is encoded in implicit VR',
  'not-implicit': 'The transfer syntax says implicit VR, but the data set is encoded in explicit VR',
  'not-little-endian': 'The transfer syntax says little endian, but the data set is encoded in big endian',
  'not-big-endian': 'The transfer syntax says big endian, but the data set is encoded in little endian',
  'zlib-wrapped': 'The deflated data set has a zlib header, which a raw deflate stream must not have',
  'odd-length': 'has an odd length',
  'unknown-vr': 'has a Value Representation that does not exist',
  'no-vr': 'has no Value Representation although the data set is encoded in explicit VR',
  'reserved-bytes': 'has reserved bytes that are not zero',
  'short-length': 'has a 16-bit length where its Value Representation demands 32 bits',
  'un-known': 'is sent as UN although its Value Representation is known; the dictionary was followed',
  'explicit-in-un': 'is sent as UN with items in explicit VR',
  'unreadable-sequence': 'is not a readable sequence; its bytes were kept as UN',
  'item-length': 'has an item that claims to end behind the sequence',
  'delimiter-length': 'ends with a delimiter whose length is not zero',
  'stray-delimiter': 'is followed by a delimiter that belongs to nothing',
  'no-item-delimiter': 'has an item of undefined length without its delimiter',
  'no-sequence-delimiter': 'is a sequence of undefined length without its delimiter',
  'not-ascending': 'stands behind an element with a higher tag',
  duplicate: 'is there more than once; the first one counts',
  'cut-short': 'is cut short: the data end before it does',
  'cut-off': 'The data end within the head of an element',
  padding: 'Zeros follow the last element of the data set',
} as const;

export type ToleratedKind = keyof typeof sentences;

const cuts: readonly ToleratedKind[] = ['cut-short', 'cut-off', 'no-item-delimiter', 'no-sequence-delimiter'];

export class Tolerance {
  readonly #met = new Map<ToleratedKind, string>();

  /** @param tag where it was met, for the kinds that speak of an element */
  note(kind: ToleratedKind, tag?: number): void {
    if (this.#met.has(kind)) return;
    const sentence = sentences[kind];
    this.#met.set(kind, tag === undefined ? sentence : `${tagText(tag)} ${sentence}`);
  }

  /** Whether the data end before what was begun in them. */
  get isCut(): boolean {
    return cuts.some((kind) => this.#met.has(kind));
  }

  /** In the order in which they were met. */
  get sentences(): readonly string[] {
    return [...this.#met.values()];
  }
}
