/**
 * Huffman codes as JPEG has them (ISO/IEC 10918-1 Annex K.2 and Annex C): at most 16 bits, and none of ones alone. For a handful of
 * symbols; reading them is jpeg-huffman.ts.
 */

const LONGEST = 16;

/** Bits of each symbol's code, 0 for what does not occur. @param counts how often each occurs, by symbol */
export function codeLengths(counts: Uint32Array): Uint8Array {
  const lengths = new Uint8Array(counts.length);
  // One more, which never occurs, takes the code of ones alone.
  const reserved = counts.length;
  interface Node {
    readonly weight: number;
    readonly symbols: readonly number[];
  }
  const nodes: Node[] = [...counts].flatMap((weight, symbol) => (weight === 0 ? [] : [{ weight, symbols: [symbol] }]));
  if (nodes.length === 0) return lengths;
  nodes.push({ weight: 0, symbols: [reserved] });
  const deep = new Uint8Array(counts.length + 1);
  while (nodes.length > 1) {
    nodes.sort((a, b) => b.weight - a.weight);
    const [one, other] = [nodes.pop()!, nodes.pop()!];
    const symbols = [...one.symbols, ...other.symbols];
    for (const symbol of symbols) deep[symbol]!++;
    nodes.push({ weight: one.weight + other.weight, symbols });
  }
  const perLength = new Uint8Array(deep.length + 1);
  for (const depth of deep) if (depth > 0) perLength[depth]!++;
  shorten(perLength);
  // The most frequent have the shortest; the reserved one the last place of all.
  const order = [...counts.keys()].filter((symbol) => counts[symbol]! > 0).toSorted((a, b) => deep[a]! - deep[b]!);
  let length = 1;
  for (const symbol of order) {
    while (perLength[length] === 0) length++;
    perLength[length]!--;
    lengths[symbol] = length;
  }
  return lengths;
}

/** Figure K.3: pairs of codes that are too long give up a bit for one that is split. */
function shorten(perLength: Uint8Array): void {
  for (let length = perLength.length - 1; length > LONGEST; length--) {
    while (perLength[length]! > 0) {
      let shorter = length - 2;
      while (perLength[shorter] === 0) shorter--;
      perLength[length]! -= 2;
      perLength[length - 1]!++;
      perLength[shorter + 1]! += 2;
      perLength[shorter]!--;
    }
  }
}

/** The code of each symbol, in the order of their lengths and then of the symbols (Annex C). */
export function codesOf(lengths: Uint8Array): Uint16Array {
  const codes = new Uint16Array(lengths.length);
  let code = 0;
  for (let length = 1; length <= LONGEST; length++, code <<= 1)
    for (const [symbol, own] of lengths.entries()) if (own === length) codes[symbol] = code++;
  return codes;
}
