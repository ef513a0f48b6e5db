/**
 * Encoding text in GB 18030 and GBK (PS3.3 §C.12.1.1.2: character sets of several bytes without code extensions). Decoding
 * is the platform's; its tables are turned round here when they are first needed.
 */
import { decodeWith, REPLACEMENT } from './graphic-sets.ts';

/** Undefined when GBK lacks a character; GB 18030 lacks only lone surrogates. */
export function encodeGb(text: string, label: 'gb18030' | 'gbk'): Uint8Array | undefined {
  const bytes: number[] = [];
  for (const character of text) {
    const point = character.codePointAt(0)!;
    if (point < 0x80) {
      bytes.push(point);
      continue;
    }
    const code = twoByteCodes().get(point);
    if (code !== undefined) {
      bytes.push(code >> 8, code & 0xff);
      continue;
    }
    const pointer = label === 'gbk' ? undefined : pointerOf(point);
    if (pointer === undefined) return undefined;
    bytes.push(...fourBytes(pointer));
  }
  return Uint8Array.from(bytes);
}

let twoBytes: ReadonlyMap<number, number> | undefined;

function twoByteCodes(): ReadonlyMap<number, number> {
  if (twoBytes !== undefined) return twoBytes;
  const codes = new Map<number, number>();
  for (let lead = 0x81; lead <= 0xfe; lead++) {
    for (let trail = 0x40; trail <= 0xfe; trail++) {
      const text = decodeWith('gb18030', Uint8Array.of(lead, trail));
      const point = text.codePointAt(0)!;
      if (text.length === 1 && text !== REPLACEMENT && !codes.has(point)) codes.set(point, (lead << 8) | trail);
    }
  }
  twoBytes = codes;
  return codes;
}

/** Four-byte codes run in one row: the rest of the Basic Multilingual Plane from 0, the other planes from 189,000. */
const BMP_POINTERS = 39_420;
const SUPPLEMENTARY_POINTER = 189_000;
let fourByteBmp: ReadonlyMap<number, number> | undefined;

function pointerOf(point: number): number | undefined {
  if (point >= 0x10000) return point - 0x10000 + SUPPLEMENTARY_POINTER;
  if (fourByteBmp === undefined) {
    const pointers = new Map<number, number>();
    for (let pointer = 0; pointer < BMP_POINTERS; pointer++) {
      const text = decodeWith('gb18030', fourBytes(pointer));
      if (text.length === 1 && text !== REPLACEMENT) pointers.set(text.charCodeAt(0), pointer);
    }
    fourByteBmp = pointers;
  }
  return fourByteBmp.get(point);
}

const fourBytes = (pointer: number): Uint8Array =>
  Uint8Array.of(
    0x81 + Math.floor(pointer / 12_600),
    0x30 + (Math.floor(pointer / 1260) % 10),
    0x81 + (Math.floor(pointer / 10) % 126),
    0x30 + (pointer % 10),
  );
