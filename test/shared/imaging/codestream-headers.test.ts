/**
 * The readers of codestreams' headers on any bytes at all behind a right beginning: a header or `cannot-render`, never another error.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { checkTileParts, readJ2kHeader, unwrapJp2 } from '#shared/imaging/j2k-codestream.ts';
import { readJpegHeader } from '#shared/imaging/jpeg-codestream.ts';
import { checkScans } from '#shared/imaging/jpeg-huffman.ts';
import { readJpegXlHeader } from '#shared/imaging/jpeg-xl-codestream.ts';

const jpeg2000 = (bytes: Uint8Array) => {
  const codestream = unwrapJp2(bytes);
  const header = readJ2kHeader(codestream);
  checkTileParts(codestream, header.firstTileOffset);
  return header;
};
const jpeg = (bytes: Uint8Array) => {
  const header = readJpegHeader(bytes);
  checkScans(bytes, header.firstScanOffset);
  return header;
};

const readers = [
  ['JPEG', jpeg, ['ffd8', 'ffd8ffc0000b08001800180101110', 'ffd8ffee000e41646f6265', 'ffd8ffc3']],
  ['JPEG 2000', jpeg2000, ['ff4fff51', 'ff4fff510029000000000018000000180000000000000000000000180000001800000000000000000001070101ff52000c', '0000000c6a5020200d0a870a', '000000016a703263']],
  ['JPEG XL', readJpegXlHeader, ['ff0a', '0000000c4a584c200d0a870a', '0000000c4a584c200d0a870a000000016a786c63', '0000000c4a584c200d0a870a000000146a786c70']],
] as const; // biome-ignore format: a table

/** What codestreams are made of, rather than bytes alone. */
const pieces = fc.oneof(
  fc.uint8Array({ maxLength: 24 }),
  fc.constantFrom(...['ff', 'ffff', 'ff90000a0000', 'ff93', 'ffda', 'ffc4', 'ff52000c0000', '00000000', 'ff64ffff', 'ff550002'].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')))), // biome-ignore format: a list
);

it.each(readers)('%s', (_name, read, beginnings) => {
  fc.assert(
    fc.property(fc.constantFrom(...beginnings), fc.array(pieces, { maxLength: 12 }), (beginning, rest) => {
      const bytes = new Uint8Array(Buffer.concat([Buffer.from(beginning, 'hex'), ...rest]));
      try {
        const { rows, columns, samplesPerPixel, precision } = read(bytes);
        for (const number of [rows, columns, samplesPerPixel, precision]) expect(Number.isInteger(number)).toBe(true);
      } catch (error) {
        if (!isArchiveError(error, 'cannot-render')) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
