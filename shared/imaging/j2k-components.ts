/**
 * JPEG 2000 and HTJ2K codestreams of one component each, put together into one of all components without a colour transform (ISO/IEC 15444-1
 * Annex A and B.12): for colour of 16 bits, which the encoders' packages do not take. Packets are moved, never decoded.
 */

interface Part {
  readonly head: Uint8Array;
  readonly body: Uint8Array;
}

interface Codestream {
  /** Marker segments of the main header behind SOC, each with its marker. */
  readonly segments: ReadonlyMap<number, Uint8Array>;
  readonly parts: readonly Part[];
}

const SIZ = 0xff51;
const COD = 0xff52;
const TLM = 0xff55;
const COMMENT = 0xff64;
const START_OF_TILE = 0xff90;
const TILE_HEAD_BYTES = 12;
/** Before it in SIZ: marker, length, capabilities and eight sizes. */
const COMPONENT_COUNT_OFFSET = 38;

/** Up to this, each resolution has one precinct where nothing is said of them (2 ** 15 to a side, A.6.1). */
export const LARGEST_JOINED_SIDE = 2 ** 15;

/**
 * With one precinct to a resolution and one layer, the packets of a component are its resolutions in order: one behind the other they are
 * CPRL, and, where each resolution has a tile-part of its own, RPCL.
 * @param codestreams of the same size, not above LARGEST_JOINED_SIDE, and the same parameters; one tile, of the encoders of wasm-encoders.ts
 */
export function joinComponents(codestreams: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const components = codestreams.map(split);
  const [first] = components as [Codestream];
  const parts = first.parts.map(({ head }, i) => {
    const bodies = components.map(({ parts: own }) => own[i]!.body);
    const lengthBytes = head.length + bodies.reduce((sum, body) => sum + body.length, 0);
    const own = Uint8Array.from(head);
    new DataView(own.buffer).setUint32(6, lengthBytes);
    return { lengthBytes, pieces: [own, ...bodies] };
  });
  const header = [...first.segments].flatMap(([marker, segment]) => {
    if (marker === SIZ) return [sizeOf(segment, components.length)];
    if (marker === TLM) return [lengthsOf(parts.map(({ lengthBytes }) => lengthBytes))];
    if (marker === COD && parts.length === 1) return [byComponent(segment)];
    return marker === COMMENT ? [] : [segment];
  });
  const joined = Buffer.concat([
    Uint8Array.of(0xff, 0x4f),
    ...header,
    ...parts.flatMap(({ pieces }) => pieces),
    Uint8Array.of(0xff, 0xd9),
  ]);
  return new Uint8Array(joined);
}

function split(bytes: Uint8Array): Codestream {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const segments = new Map<number, Uint8Array>();
  let at = 2;
  while (view.getUint16(at) !== START_OF_TILE) {
    const lengthBytes = 2 + view.getUint16(at + 2);
    segments.set(view.getUint16(at), bytes.subarray(at, at + lengthBytes));
    at += lengthBytes;
  }
  const parts: Part[] = [];
  while (at + TILE_HEAD_BYTES <= bytes.length && view.getUint16(at) === START_OF_TILE) {
    const end = at + view.getUint32(at + 6);
    // SOD follows at once: these encoders write nothing into the headers of tile-parts.
    const start = at + TILE_HEAD_BYTES + 2;
    if (bytes[start - 1] !== 0x93 || end > bytes.length) throw new Error('the codestream has another form');
    parts.push({ head: bytes.subarray(at, start), body: bytes.subarray(start, end) });
    at = end;
  }
  return { segments, parts };
}

/** SIZ (A.5.1) with the one component's depth and sampling repeated. */
function sizeOf(segment: Uint8Array, count: number): Uint8Array {
  const component = segment.subarray(COMPONENT_COUNT_OFFSET + 2, COMPONENT_COUNT_OFFSET + 5);
  const joined = new Uint8Array(COMPONENT_COUNT_OFFSET + 2 + 3 * count);
  joined.set(segment.subarray(0, COMPONENT_COUNT_OFFSET));
  const view = new DataView(joined.buffer);
  view.setUint16(2, joined.length - 2);
  view.setUint16(COMPONENT_COUNT_OFFSET, count);
  for (let i = 0; i < count; i++) joined.set(component, COMPONENT_COUNT_OFFSET + 2 + 3 * i);
  return joined;
}

/** COD (A.6.1) with its progression order, CPRL. */
function byComponent(segment: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(segment);
  changed[5] = 4;
  return changed;
}

/** TLM (A.7.1): the length of every tile-part of tile 0, in 32 bits, with the tile in 16. */
function lengthsOf(lengths: readonly number[]): Uint8Array {
  const segment = new Uint8Array(6 + 6 * lengths.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, TLM);
  view.setUint16(2, segment.length - 2);
  view.setUint8(5, 0x60);
  for (const [i, lengthBytes] of lengths.entries()) view.setUint32(6 + 6 * i + 2, lengthBytes);
  return segment;
}
