/** Streams and data sets with faults at random places: bits turned, bytes lost, doubled, or made all ones or zeros; lengths made lies. */
import type { Chance } from './random.ts';

/** A copy with one to four faults. */
export function mutated(whole: Uint8Array, chance: Chance): Buffer {
  let bytes = Buffer.from(whole);
  for (let faults = 1 + chance.integer(4); faults > 0 && bytes.length > 0; faults--) {
    const at = chance.integer(bytes.length);
    const end = Math.min(bytes.length, at + 1 + chance.integer(60));
    switch (chance.integer(7)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << chance.integer(8));
        break;
      case 1:
        bytes.fill(0xff, at, Math.min(end, at + 4));
        break;
      case 2:
        bytes.fill(0, at, Math.min(end, at + 4));
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
        break;
      case 5:
        bytes = bytes.subarray(0, at);
        break;
      default:
        if (at + 4 <= bytes.length) bytes.writeUInt32LE(chance.integer(2 ** 32), at);
    }
  }
  return bytes;
}
