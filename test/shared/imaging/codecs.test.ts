/**
 * The decoders behind the registry: what they get right beyond the samples, and how they tell what is not a whole frame. Hostile ones by the
 * hundred are in hostile-codestreams.test.ts.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { canDecode, decodeFrame } from '#shared/imaging/codecs.ts';
import { imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { readJ2kHeader } from '#shared/imaging/j2k-codestream.ts';
import { samplesFolder } from '#test/support/samples.ts';
import { attributesWith } from './image-fixture.ts';
import { openSample } from './sample-frames.ts';

const HTJ2K_LOSSLESS = '1.2.840.10008.1.2.4.201';
const JPEG_LS_LOSSLESS = '1.2.840.10008.1.2.4.80';

interface Encoder {
  getDecodedBuffer(info: object): Uint8Array;
  getEncodedBuffer(): Uint8Array;
  encode(): void;
  setQuality?(lossless: boolean, step: number): void;
  setNearLossless?(near: number): void;
  setInterleaveMode?(mode: number): void;
}
type Encoders = Record<'HTJ2KEncoder' | 'JpegLSEncoder', new () => Encoder>;

/** The encoders that come with the decoders' packages. */
async function encode(
  className: keyof Encoders,
  info: { width: number; height: number; bitsPerSample: number; componentCount: number; isSigned: boolean },
  bytes: Uint8Array,
  set: (encoder: Encoder) => void,
): Promise<Uint8Array> {
  const name =
    className === 'HTJ2KEncoder' ? '@cornerstonejs/codec-openjph/wasmjs' : '@cornerstonejs/codec-charls/wasmjs';
  const factory = createRequire(import.meta.url)(name) as (options: object) => Promise<Encoders>;
  const encoder = new (await factory({ print: () => {}, printErr: () => {} }))[className]();
  encoder.getDecodedBuffer({ ...info, isUsingColorTransform: info.componentCount === 3 }).set(bytes);
  set(encoder);
  encoder.encode();
  return new Uint8Array(encoder.getEncodedBuffer());
}

describe('JPEG 2000 and HTJ2K', () => {
  const info = { width: 30, height: 20, bitsPerSample: 12, componentCount: 1, isSigned: false };
  const size = { rows: 20, columns: 30 };
  const values = Array.from({ length: 600 }, (_, i) => (i * 7919) % 4096);
  const bytes = new Uint8Array(Uint16Array.from(values).buffer);

  it('signed samples of up to 8 bits keep their negative half', async () => {
    const eight = Uint8Array.from(values, (value) => value & 255);
    const stream = await encode('HTJ2KEncoder', { ...info, bitsPerSample: 8 }, eight, (e) => e.setQuality?.(true, 0));
    // Declared signed, the codestream means the same values less half the range.
    const depthAt = readJ2kHeader(stream).depthOffsets[0]!;
    stream[depthAt] = stream[depthAt]! | 0x80;
    const decoded = await decodeFrame(
      stream,
      HTJ2K_LOSSLESS,
      attributesWith({ ...size, bitsAllocated: 8, signed: true }),
    );
    expect([...decoded.values]).toEqual([...eight].map((value) => value - 128));
  });

  it('a lossy overshoot is clamped to Bits Stored, not wrapped to black', async () => {
    const edges = Uint16Array.from({ length: 600 }, (_, i) => (i % 7 < 3 ? 4095 : 0));
    const stream = await encode('HTJ2KEncoder', info, new Uint8Array(edges.buffer), (e) => e.setQuality?.(false, 0.05));
    expect(readJ2kHeader(stream)).toMatchObject({ lossy: true, precision: 12 });
    const decoded = await decodeFrame(
      stream,
      '1.2.840.10008.1.2.4.203',
      attributesWith({ ...size, bitsStored: 12, highBit: 11 }),
    );
    decoded.values.forEach((value, i) => {
      expect(Math.abs(value - edges[i]!)).toBeLessThan(2000);
    });
  });

  it('is found inside a JP2 file, and its own precision may be less than Bits Stored', async () => {
    const stream = await encode('HTJ2KEncoder', info, bytes, (e) => e.setQuality?.(true, 0));
    const box = (type: string, payload: Uint8Array) => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(8 + payload.length);
      head.write(type, 4, 'latin1');
      return Buffer.concat([head, payload]);
    };
    const jp2 = Buffer.concat([
      box('jP  ', Uint8Array.of(0x0d, 0x0a, 0x87, 0x0a)),
      box('ftyp', Buffer.from('jp2 \0\0\0\0jp2 ')),
      box('jp2c', stream),
    ]);
    const attributes = attributesWith({ ...size, bitsStored: 16, signed: true });
    expect([...(await decodeFrame(jp2, HTJ2K_LOSSLESS, attributes)).values]).toEqual(values);
  });
});

describe('JPEG-LS', () => {
  it('colour interleaved by plane, by line and by sample is the same colour', async () => {
    const pixels = Uint8Array.from({ length: 20 * 10 * 3 }, (_, i) => (i * 31) % 256);
    const planes = Uint8Array.from({ length: 600 }, (_, i) => pixels[(i % 200) * 3 + Math.floor(i / 200)]!);
    const info = { width: 20, height: 10, bitsPerSample: 8, componentCount: 3, isSigned: false };
    const attributes = attributesWith({
      rows: 10,
      columns: 20,
      samplesPerPixel: 3,
      photometricInterpretation: 'RGB',
      bitsAllocated: 8,
      planarConfiguration: 1,
    });
    for (const [mode, source] of [
      [0, planes],
      [1, pixels],
      [2, pixels],
    ] as const) {
      const stream = await encode('JpegLSEncoder', info, source, (e) => {
        e.setNearLossless?.(0);
        e.setInterleaveMode?.(mode);
      });
      expect([...(await decodeFrame(stream, JPEG_LS_LOSSLESS, attributes)).values], `mode ${mode}`).toEqual([
        ...pixels,
      ]);
    }
  });
});

describe('deflated frames', () => {
  const attributes = attributesWith({ bitsAllocated: 8 });
  const syntax = '1.2.840.10008.1.2.8.1';

  it('are inflated to the size of a frame and no further', async () => {
    const good = await decodeFrame(deflateRawSync(Uint8Array.of(1, 2, 3, 4)), syntax, attributes);
    expect([...good.values]).toEqual([1, 2, 3, 4]);
    const bomb = deflateRawSync(new Uint8Array(10_000_000));
    await expect(decodeFrame(bomb, syntax, attributes)).rejects.toMatchObject({ code: 'cannot-render' });
    await expect(decodeFrame(Uint8Array.of(1, 2), syntax, attributes)).rejects.toMatchObject({ code: 'cannot-render' });
  });
});

it('what cannot be decoded is named: video, and syntaxes nobody knows', async () => {
  for (const uid of ['1.2.840.10008.1.2.4.102', '1.2.3.4']) {
    expect(canDecode(uid)).toBe(false);
    await expect(decodeFrame(new Uint8Array(100), uid, attributesWith())).rejects.toMatchObject({
      code: 'cannot-render',
    });
  }
  expect(canDecode('1.2.840.10008.1.2.1')).toBe(true);
});

const root = samplesFolder();
const ct = 'transfer-syntaxes/ct-one-image/CTImage.dcm_';

describe.skipIf(root === undefined)('hostile frames', () => {
  it('a JPEG 2000 frame cut within a tile is refused, not drawn in part', async () => {
    for (const file of ['jpeg2000/MR_small_jp2klossless.dcm', 'htj2k/NM1_JPH.dcm']) {
      const sample = await openSample(join(root!, 'transfer-syntaxes', file));
      const { bytes } = sample.frame(1);
      const cut = decodeFrame(
        bytes.subarray(0, bytes.length * 0.9),
        sample.transferSyntaxUid,
        imageAttributesOf(sample.metadata, 1),
      );
      await expect(cut).rejects.toThrow(/cut short/);
    }
  });

  it('stray bytes between the segments of a JPEG do not matter', async () => {
    const sample = await openSample(join(root!, `${ct}JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm`));
    const attributes = imageAttributesOf(sample.metadata, 1);
    const { bytes } = sample.frame(1);
    const good = await decodeFrame(bytes, sample.transferSyntaxUid, attributes);
    const end = bytes.findLastIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xd9);
    const stray = Buffer.concat([bytes.subarray(0, end), Uint8Array.of(0, 1, 2), bytes.subarray(end)]);
    const decoded = await decodeFrame(stray, sample.transferSyntaxUid, attributes);
    decoded.values.forEach((value, i) => {
      if (Math.abs(value - good.values[i]!) > 1) expect.fail(`pixel ${i}`);
    });
  });

  it('a codestream that names 65535 x 65535 is refused by its header', async () => {
    const sample = await openSample(join(root!, 'transfer-syntaxes/htj2k/CT1_JPH.dcm'));
    const attributes = imageAttributesOf(sample.metadata, 1);
    const bomb = new Uint8Array(sample.frame(1).bytes);
    bomb.set([0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff], 8);
    for (const uid of [sample.transferSyntaxUid, '1.2.840.10008.1.2.4.90']) {
      await expect(decodeFrame(bomb, uid, attributes)).rejects.toThrow(/65535 x 65535/);
      await expect(decodeFrame(bomb, uid, { ...attributes, rows: 65535, columns: 65535 })).rejects.toThrow(/limit/);
    }
  });
});
