/**
 * ICC profiles of rendered pictures (PS3.18 §8.3.5.1.5, ICC.1): the three colour spaces that a client may ask for as matrix
 * profiles made here, colours brought from sRGB into them, and a profile put into a JPEG or PNG. What an instance's own
 * profile means is left to libvips (encode.ts).
 */
import { crc32, deflateSync } from 'node:zlib';

export type ColorSpace = 'srgb' | 'adobergb' | 'rommrgb';

interface Space {
  readonly name: string;
  /** X, Y and Z of red, green and blue, adapted to D50. */
  readonly primaries: readonly [Xyz, Xyz, Xyz];
  /** From a coded value of 0 to 1 to light, and back. */
  readonly decode: (coded: number) => number;
  readonly encode: (light: number) => number;
  /** Of a pure power function; otherwise the profile holds a table. */
  readonly gamma?: number;
}

type Xyz = readonly [number, number, number];

const ADOBE_GAMMA = 563 / 256;

const spaces: Readonly<Record<ColorSpace, Space>> = {
  srgb: {
    name: 'sRGB',
    primaries: [
      [0.43607, 0.22249, 0.01392],
      [0.38515, 0.71687, 0.09708],
      [0.14307, 0.06061, 0.7141],
    ],
    decode: (coded) => (coded <= 0.04045 ? coded / 12.92 : ((coded + 0.055) / 1.055) ** 2.4),
    encode: (light) => (light <= 0.0031308 ? light * 12.92 : 1.055 * light ** (1 / 2.4) - 0.055),
  },
  adobergb: {
    name: 'Compatible with Adobe RGB (1998)',
    primaries: [
      [0.60974, 0.31111, 0.01947],
      [0.20528, 0.62567, 0.06087],
      [0.14919, 0.06322, 0.74457],
    ],
    decode: (coded) => coded ** ADOBE_GAMMA,
    encode: (light) => light ** (1 / ADOBE_GAMMA),
    gamma: ADOBE_GAMMA,
  },
  rommrgb: {
    name: 'ROMM RGB',
    primaries: [
      [0.79767, 0.28804, 0],
      [0.13519, 0.71188, 0],
      [0.03134, 0.00009, 0.82491],
    ],
    decode: (coded) => (coded < 16 / 512 ? coded / 16 : coded ** 1.8),
    encode: (light) => (light < 1 / 512 ? light * 16 : light ** (1 / 1.8)),
  },
};

const D50: Xyz = [0.9642, 1, 0.8249];
const CURVE_ENTRIES = 1024;
const ENCODE_STEPS = 8192;

/** A display profile of version 2 with a matrix and curves. */
export function iccProfileOf(space: ColorSpace): Uint8Array<ArrayBuffer> {
  const { name, primaries, decode, gamma } = spaces[space];
  const curve =
    gamma === undefined
      ? Array.from({ length: CURVE_ENTRIES }, (_, i) => Math.round(decode(i / (CURVE_ENTRIES - 1)) * 65535))
      : [Math.round(gamma * 256)];
  const tags: [string, Buffer][] = [
    ['desc', description(name)],
    ['cprt', Buffer.concat([typed('text'), Buffer.from('No copyright, use freely\0', 'latin1')])],
    ['wtpt', xyz(D50)],
    ...(['rXYZ', 'gXYZ', 'bXYZ'] as const).map((tag, i): [string, Buffer] => [tag, xyz(primaries[i]!)]),
    ['rTRC', Buffer.concat([typed('curv'), uint32(curve.length), ...curve.map(uint16)])],
  ];
  // Three channels have one curve: their tags name the same bytes.
  const names = [...tags.map(([tag]) => tag), 'gTRC', 'bTRC'];
  let offset = 128 + 4 + 12 * names.length;
  const entries = new Map<string, Buffer>();
  const bodies: Buffer[] = [];
  for (const [tag, body] of tags) {
    const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
    entries.set(tag, Buffer.concat([uint32(offset), uint32(body.length)]));
    bodies.push(padded);
    offset += padded.length;
  }
  const table = names.map((tag) =>
    Buffer.concat([Buffer.from(tag, 'latin1'), entries.get(tag) ?? entries.get('rTRC')!]),
  );
  return Uint8Array.from(Buffer.concat([header(offset), uint32(names.length), ...table, ...bodies]));
}

/** 8-bit RGB of sRGB in another space, in place. Colours outside of it go to its edge. */
export function fromSrgb(pixels: Uint8Array, space: ColorSpace): void {
  if (space === 'srgb') return;
  const { primaries, encode } = spaces[space];
  const m = product(inverse(columns(primaries)), columns(spaces.srgb.primaries));
  const light = Float64Array.from({ length: 256 }, (_, i) => spaces.srgb.decode(i / 255));
  const coded = Uint8Array.from({ length: ENCODE_STEPS + 1 }, (_, i) => Math.round(encode(i / ENCODE_STEPS) * 255));
  for (let i = 0; i + 2 < pixels.length; i += 3) {
    const r = light[pixels[i]!]!;
    const g = light[pixels[i + 1]!]!;
    const b = light[pixels[i + 2]!]!;
    for (let channel = 0; channel < 3; channel++) {
      const value = m[channel]![0]! * r + m[channel]![1]! * g + m[channel]![2]! * b;
      pixels[i + channel] = coded[Math.max(0, Math.min(ENCODE_STEPS, Math.round(value * ENCODE_STEPS)))]!;
    }
  }
}

/** Of a JPEG: APP2 segments of at most 64 KiB (ICC.1 Annex B.4), behind the JFIF header where there is one. */
export function withProfileInJpeg(jpeg: Uint8Array, profile: Uint8Array): Uint8Array<ArrayBuffer> {
  const hasJfif = jpeg[2] === 0xff && jpeg[3] === 0xe0;
  const at = hasJfif ? 4 + jpeg[4]! * 256 + jpeg[5]! : 2;
  const room = 65_535 - 2 - 14;
  const count = Math.ceil(profile.length / room);
  const segments = Array.from({ length: count }, (_, i) => {
    const piece = profile.subarray(i * room, (i + 1) * room);
    const head = [Buffer.from([0xff, 0xe2]), uint16(piece.length + 16), Buffer.from('ICC_PROFILE\0', 'latin1')];
    return Buffer.concat([...head, Buffer.from([i + 1, count]), piece]);
  });
  return Uint8Array.from(Buffer.concat([jpeg.subarray(0, at), ...segments, jpeg.subarray(at)]));
}

/** Of a PNG: the chunk iCCP, behind IHDR. */
export function withProfileInPng(png: Uint8Array, profile: Uint8Array): Uint8Array<ArrayBuffer> {
  const afterHeader = 8 + 25;
  const content = Buffer.concat([Buffer.from('iCCPICC\0\0', 'latin1'), deflateSync(profile)]);
  const chunk = Buffer.concat([uint32(content.length - 4), content, uint32(crc32(content))]);
  return Uint8Array.from(Buffer.concat([png.subarray(0, afterHeader), chunk, png.subarray(afterHeader)]));
}

/** Whether it is an ICC profile of RGB, as far as its header says. */
export function isRgbProfile(bytes: Uint8Array): boolean {
  const text = (at: number): string => Buffer.from(bytes.subarray(at, at + 4)).toString('latin1');
  return bytes.length > 128 && text(36) === 'acsp' && text(16) === 'RGB ';
}

function header(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(128);
  bytes.writeUInt32BE(sizeBytes, 0);
  bytes.writeUInt32BE(0x02400000, 8);
  bytes.write('mntrRGB XYZ ', 12, 'latin1');
  for (const [i, value] of [2000, 1, 1].entries()) bytes.writeUInt16BE(value, 24 + 2 * i);
  bytes.write('acsp', 36, 'latin1');
  for (const [i, value] of D50.entries()) bytes.writeInt32BE(Math.round(value * 65536), 68 + 4 * i);
  return bytes;
}

function description(name: string): Buffer {
  const text = Buffer.from(`${name}\0`, 'latin1');
  return Buffer.concat([typed('desc'), uint32(text.length), text, Buffer.alloc(4 + 4 + 2 + 1 + 67)]);
}

const typed = (type: string): Buffer => Buffer.from(`${type}\0\0\0\0`, 'latin1');
const xyz = (values: Xyz): Buffer =>
  Buffer.concat([typed('XYZ '), ...values.map((value) => uint32(Math.round(value * 65536) >>> 0))]);

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

type Matrix = readonly (readonly number[])[];

const columns = (primaries: readonly [Xyz, Xyz, Xyz]): Matrix =>
  [0, 1, 2].map((row) => primaries.map((primary) => primary[row]!));

const product = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => [0, 1, 2].map((column) => row.reduce((sum, value, i) => sum + value * b[i]![column]!, 0)));

function inverse(matrix: Matrix): Matrix {
  const [[a, b, c], [d, e, f], [g, h, i]] = matrix as [[number, number, number], [number, number, number], [number, number, number]]; // biome-ignore format: three by three
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / det));
}
