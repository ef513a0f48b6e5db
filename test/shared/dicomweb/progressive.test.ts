/**
 * Small pictures of large HTJ2K frames: one read of the store, of the beginning of the frame alone, and the picture that the
 * whole frame gives. Where the beginning will not do, the whole frame is read and nobody notices.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ByteRange } from '#shared/archive/records.ts';
import { frameRange } from '#shared/dicom/frame-ranges.ts';
import { MAIN_HEADER_BYTES, resolutionPrefixes } from '#shared/dicom/resolution-prefixes.ts';
import { createManifests } from '#shared/dicomweb/manifests.ts';
import { ArchiveError } from '#shared/errors.ts';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { type RenderRequest, renderFrame } from '#shared/imaging/render.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { attributesWith, noise } from '../imaging/image-fixture.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';
import { codestreamOf } from './made-codestreams.ts';

const RPCL = '1.2.840.10008.1.2.4.202';
const side = 2048;
const size: Partial<ImageAttributes> = { rows: side, columns: side, bitsStored: 12 };

/** Smooth as tissue, with the grain of a detector. */
function mammogram(): Uint8Array {
  const next = noise(7);
  const cells = new Uint16Array(side * side);
  for (let i = 0; i < cells.length; i++) {
    cells[i] = 1900 + 1500 * Math.sin(i / side / 200) * Math.cos((i % side) / 150) + next(64);
  }
  return new Uint8Array(cells.buffer);
}

const instanceOf = (frames: readonly Uint8Array[], extra: [number, string, string][] = []): MadeInstance =>
  makeInstance({
    transferSyntaxUid: RPCL,
    rows: side,
    columns: side,
    bitsStored: 12,
    frames: frames.length,
    pixels: frames,
    extra: [[0x00281050, 'DS', '2000'], [0x00281051, 'DS', '4000'], ...extra].map(([tag, vr, value]) => ({ tag, vr, value })) as never, // biome-ignore format: one thought
  });

let fixture: ArchiveFixture;
let large: MadeInstance;
let shuttered: MadeInstance;
let frame: Uint8Array;

beforeAll(async () => {
  const codestream = await codestreamOf(mammogram(), size, RPCL);
  // As it lies in the archive: of even length.
  frame = Buffer.concat([codestream, new Uint8Array(codestream.length % 2)]);
  large = instanceOf([frame, frame]);
  shuttered = instanceOf([frame], [[0x00181600, 'CS', 'CIRCULAR'], [0x00181610, 'IS', '1024\\1024'], [0x00181612, 'IS', '900']]); // biome-ignore format: a row
  fixture = await makeArchive([large.file, shuttered.file]);
});
afterAll(() => fixture?.close());

interface Watched {
  readonly reads: ByteRange[];
  readonly drawn: RenderRequest[];
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** A service whose reads of packs are written down, manifests apart. */
function watched(render: (request: RenderRequest) => Promise<Uint8Array> = renderFrame): Watched {
  const reads: ByteRange[] = [];
  const drawn: RenderRequest[] = [];
  const { index, packs } = fixture.archive;
  const watchedPacks = {
    ...packs,
    read: (key: string, range?: ByteRange) => {
      if (range !== undefined) reads.push(range);
      return packs.read(key, range);
    },
  };
  const service = serviceOver(
    { ...fixture, archive: { index, packs: watchedPacks } },
    {
      render: (request) => {
        drawn.push(request);
        return render(request);
      },
    },
  );
  return { reads, drawn, get: (path, headers) => ask(service, path, headers) };
}

const bytesRead = (reads: readonly ByteRange[]): number => reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);

describe('a small picture of a large HTJ2K frame', () => {
  it.each([
    ['thumbnail', 0.02],
    ['frames/2/thumbnail', 0.02],
    ['frames/1/rendered?viewport=512,512', 0.1],
    ['rendered?viewport=1000,1000', 0.4],
    ['rendered?viewport=400,400,100,200,1600,1600', 0.1],
  ])('%s takes one read, of less than %d of the frame, and is what the whole frame gives', async (path, part) => {
    const at = watched();
    const response = await at.get(`${pathOf(large)}/${path}${path.includes('?') ? '&' : '?'}accept=image/png`);
    expect(response.status).toBe(200);
    const picture = await seen(await bytesOf(response));
    expect(at.reads.length).toBe(1);
    expect(bytesRead(at.reads)).toBeLessThan(frame.length * part);
    const [request] = at.drawn;
    expect(request?.frame.length).toBe(bytesRead(at.reads));
    const whole = await seen(await renderFrame({ ...request!, frame }));
    expect(picture.rgb).toEqual(whole.rgb);
    expect([picture.width, picture.height]).toEqual([whole.width, whole.height]);
  });

  it.each([
    ['at full size', () => large, 'rendered'],
    ['larger than half of it', () => large, 'rendered?viewport=1100,1100'],
    ['with a shutter, whose place is given in its pixels', () => shuttered, 'rendered?viewport=100,100'],
    ['in a window that is mirrored', () => large, 'rendered?viewport=100,100,0,0,-2048,2048'],
  ])('is made of all of it %s', async (_name, made, path) => {
    const at = watched(async () => Uint8Array.of(1));
    expect((await at.get(`${pathOf(made())}/${path}`)).status).toBe(200);
    expect(at.drawn.map((request) => request.frame.length)).toEqual([frame.length]);
  });

  it('is made of all of it where its beginning cannot show it, and is refused only when that cannot either', async () => {
    const refuse = new ArchiveError('cannot-render', 'Not so.');
    const at = watched(async ({ frame: bytes }) => {
      if (bytes.length < frame.length) throw refuse;
      return Uint8Array.of(1);
    });
    expect((await at.get(`${pathOf(large)}/rendered?viewport=64,64`)).status).toBe(200);
    expect(at.reads.length).toBe(2);
    const never = watched(() => Promise.reject(refuse));
    expect((await never.get(`${pathOf(large)}/rendered?viewport=64,64`)).status).toBe(406);
    const busy = watched(() => Promise.reject(new ArchiveError('unavailable', 'Too many.')));
    expect((await busy.get(`${pathOf(large)}/rendered?viewport=64,64`)).status).toBe(503);
    expect(busy.reads.length).toBe(1);
  });

  it('is there for a client that reads the frame itself from its beginning, by ranges', async () => {
    const at = watched();
    const end = resolutionPrefixes(frame.subarray(0, MAIN_HEADER_BYTES), frame.length)?.[2] ?? 0;
    const path = `${pathOf(large)}/frames/2`;
    const accept = `image/jphc; transfer-syntax=${RPCL}`;
    const response = await at.get(path, { accept, range: `bytes=0-${end - 1}` });
    expect([response.status, response.headers.get('content-range')]).toEqual([
      206,
      `bytes 0-${end - 1}/${frame.length}`,
    ]);
    const beginning = await bytesOf(response);
    expect(beginning.equals(frame.subarray(0, end))).toBe(true);
    expect([at.reads.length, bytesRead(at.reads)]).toEqual([1, end]);
    const attributes = attributesWith(size);
    const decoded = await decodeFrame(beginning, RPCL, attributes, { reduction: 3 });
    expect(decoded).toEqual(await decodeFrame(frame, RPCL, attributes, { reduction: 3 }));
    const rest = await at.get(path, { accept, range: `bytes=${end}-`, 'if-range': response.headers.get('etag') ?? '' });
    expect(Buffer.concat([beginning, await bytesOf(rest)]).equals(frame)).toBe(true);
    const whole = await at.get(path, { accept, range: 'bytes=0-9', 'if-range': '"another"' });
    expect([whole.status, whole.headers.get('accept-ranges'), (await bytesOf(whole)).length]).toEqual([
      200,
      'bytes',
      frame.length,
    ]);
    expect((await at.get(path, { accept, range: `bytes=${frame.length}-` })).status).toBe(416);
    const decompressed = await at.get(path, { accept: 'application/octet-stream', range: 'bytes=0-9' });
    expect([decompressed.status, decompressed.headers.get('accept-ranges')]).toEqual([200, null]);
  });

  it('finds in the manifest where its resolutions end', async () => {
    const record = await fixture.index.getInstance(fixture.tenant, large.ref);
    const entry = await createManifests(fixture.archive.packs, 1e9).entryOf(record!);
    for (const frameNumber of [1, 2]) {
      const { prefixes = [] } = frameRange(entry.frames, frameNumber);
      expect(prefixes.length).toBe(5);
      expect(prefixes.every((end, i) => end > (prefixes[i - 1] ?? 0) && end < frame.length)).toBe(true);
    }
  });
});
