/**
 * Content codings (RFC 9110 §8.4.1, §12.5.3) for text that compresses well: metadata and long search answers. Pixels are
 * never compressed again. Compression runs outside the event loop.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip, createZstdCompress } from 'node:zlib';

const outputChunkBytes = 64 * 1024;

export type Coding = 'zstd' | 'gzip';

/** The quick one first: at its fastest level gzip still takes several times as long as zstd. */
const ours: readonly Coding[] = ['zstd', 'gzip'];

/** The coding the client prefers among ours, ours first among equals; undefined for none. */
export function chooseCoding(acceptEncoding: string | null): Coding | undefined {
  const weights = new Map<string, number>();
  for (const element of (acceptEncoding ?? '').toLowerCase().split(',')) {
    const [name = '', ...parameters] = element.split(';').map((piece) => piece.trim());
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    weights.set(name, weight === undefined ? 1 : Number(weight) || 0);
  }
  const weightOf = (coding: Coding): number => weights.get(coding) ?? 0;
  const [best] = ours.filter((coding) => weightOf(coding) > 0).sort((a, b) => weightOf(b) - weightOf(a));
  return best;
}

/** The stream in that coding; as it is without one. */
export function encodeBody(body: ReadableStream<Uint8Array>, coding: Coding | undefined): ReadableStream<Uint8Array> {
  if (coding === undefined) return body;
  const compressor =
    coding === 'gzip'
      ? createGzip({ level: 1, chunkSize: outputChunkBytes })
      : createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3 }, chunkSize: outputChunkBytes });
  // Its failure reaches whoever reads the compressor; the promise itself has nobody to tell.
  pipeline(Readable.fromWeb(body), compressor).catch(() => {});
  return Readable.toWeb(compressor) as ReadableStream<Uint8Array>;
}
