/**
 * The resolutions' ends in codestreams that we and others write, and silence about those that leave a doubt.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAIN_HEADER_BYTES, resolutionPrefixes } from '#shared/dicom/resolution-prefixes.ts';
import { openSample } from '#test/shared/imaging/sample-frames.ts';
import { sampleFiles } from '#test/support/samples.ts';

interface Made {
  readonly progression?: number;
  readonly levels?: number;
  readonly tile?: number;
  readonly tileParts?: readonly number[];
  /** Stlm (A.7.1). */
  readonly entrySizes?: number;
  readonly tileIndex?: number;
  readonly extra?: string;
  readonly counted?: number;
  readonly firstBytes?: number;
  readonly afterStart?: string;
  readonly trailing?: number;
}

/** A header as encoders write it, with tile-parts that hold nothing. */
function made(options: Made = {}): Uint8Array {
  const { progression = 2, levels = 2, tile = 512, tileParts = [20, 40, 80], entrySizes = 0x60 } = options;
  const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, '0');
  const long = (...values: number[]): string => values.map((value) => hex(value, 4)).join('');
  const indexBytes = (entrySizes >> 4) & 3;
  const entries = tileParts.map(
    (bytes) => (indexBytes > 0 ? hex(options.tileIndex ?? 0, indexBytes) : '') + hex(bytes, entrySizes & 0x40 ? 4 : 2),
  );
  const table = hex(0, 1) + hex(entrySizes, 1) + entries.join('');
  const header = [
    'ff4f',
    `ff510029${hex(0x4000, 2)}${long(512, 512, 0, 0, tile, tile, 0, 0)}0001070101`,
    `ff52000c00${hex(progression, 1)}000100${hex(levels, 1)}04044001`,
    options.extra ?? '',
    tileParts.length === 0 ? '' : `ff55${hex(table.length / 2 + 2, 2)}${table}`,
    `ff90000a0000${long(options.firstBytes ?? tileParts[0] ?? 20)}00${hex(options.counted ?? levels + 1, 1)}`,
    options.afterStart ?? 'ff93',
  ].join('');
  const head = Buffer.from(header, 'hex');
  const bodyBytes = tileParts.reduce((sum, bytes) => sum + bytes, 0);
  return Buffer.concat([head, Buffer.alloc(Math.max(0, bodyBytes - 14 + (options.trailing ?? 2)))]);
}

const prefixesOf = (codestream: Uint8Array): readonly number[] | undefined =>
  resolutionPrefixes(codestream.subarray(0, MAIN_HEADER_BYTES), codestream.length);

/** Where the first tile-part begins. */
const mainHeaderBytes = (codestream: Uint8Array): number => Buffer.from(codestream).indexOf(Buffer.from('ff90', 'hex'));

describe('the prefixes of the resolutions', () => {
  it.each([
    ['as we write it', {}],
    ['with lengths of two bytes and no index', { entrySizes: 0x00 }],
    ['with an index of one byte', { entrySizes: 0x50 }],
    ['by resolution, then by layer', { progression: 1 }],
    ['where the number of tile-parts is not said', { counted: 0 }],
    ['with a byte of padding behind its end', { trailing: 3 }],
    ['with a comment', { extra: `ff640006${'0001'}4142` }],
  ] satisfies [string, Made][])('are those of the tile-parts, in a codestream %s', (_name, options) => {
    const codestream = made(options);
    const start = mainHeaderBytes(codestream);
    expect(prefixesOf(codestream)).toEqual([start + 20, start + 60]);
  });

  it.each([
    ['of another progression', { progression: 0 }],
    ['of several tiles', { tile: 256 }],
    ['without a table', { tileParts: [] }],
    ['whose table counts otherwise than its resolutions', { levels: 3 }],
    ['whose table names another tile', { tileIndex: 1 }],
    ['whose entries have an impossible size', { entrySizes: 0x70 }],
    ['whose table disagrees with the first tile-part', { firstBytes: 21 }],
    ['whose first tile-part counts otherwise', { counted: 7 }],
    ['whose first tile-part has a coding style of its own', { afterStart: 'ff52' }],
    ['whose tile-parts are too short to be any', { tileParts: [20, 3, 80] }],
    ['whose progression changes', { extra: 'ff5f00020000' }],
    ['of components that differ', { extra: 'ff530009000000000000000000' }],
    ['with something behind its end', { trailing: 40 }],
    ['without any lower resolution', { levels: 0, tileParts: [20] }],
  ] satisfies [string, Made][])('are not told of a codestream %s', (_name, options) => {
    expect(prefixesOf(made(options))).toBeUndefined();
  });

  it('are not told where the codestream is shorter than its table says, or the head ends within the header', () => {
    const codestream = made();
    expect(resolutionPrefixes(codestream, codestream.length - 3)).toBeUndefined();
    const start = mainHeaderBytes(codestream);
    for (let end = 0; end < start + 14; end++) {
      expect(resolutionPrefixes(codestream.subarray(0, end), codestream.length)).toBeUndefined();
    }
  });

  it('stay within the codestream and rise, whatever its bytes are', () => {
    const sound = made();
    const changes = fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(2 ** 31), (places, lengthBytes) => {
        const bytes = Uint8Array.from(sound);
        for (const [at, value] of places) bytes[at] = value;
        const prefixes = resolutionPrefixes(bytes, lengthBytes) ?? resolutionPrefixes(bytes, bytes.length) ?? [];
        for (const [i, end] of prefixes.entries()) {
          expect(end).toBeGreaterThan(prefixes[i - 1] ?? 0);
        }
        expect(prefixes.length).toBeLessThanOrEqual(32);
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => resolutionPrefixes(bytes, 1000) === undefined));
  });

  it('are told of the samples with RPCL options, which others wrote', async () => {
    for (const file of sampleFiles('transfer-syntaxes/htj2k').filter((name) => name.endsWith('_JPH.dcm'))) {
      const { bytes } = (await openSample(file)).frame(1);
      const prefixes = resolutionPrefixes(bytes.subarray(0, MAIN_HEADER_BYTES), bytes.length);
      expect(prefixes?.length, file).toBeGreaterThan(1);
      for (const end of prefixes ?? []) expect([bytes[end], bytes[end + 1]], file).toEqual([0xff, 0x90]);
    }
  });
});
