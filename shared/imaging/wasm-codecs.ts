/**
 * The WebAssembly decoders behind one door: loaded at first use, one instance to a codec and thread, and thrown away
 * after any failure (an aborted instance is undefined) or when a large frame has left a large heap, which never shrinks.
 * The packages' quirks are met here: they answer some failures with silence, or with the buffer of the frame before.
 */
import { cannotRender } from './decoded-frame.ts';
import { reduced } from './j2k-codestream.ts';
import { jpegXlDecoder } from './jpeg-xl-package.ts';
import { keepHeap } from './wasm-memory.ts';

interface FrameInfo {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
  readonly isSigned?: boolean;
}

interface WasmDecoder {
  getEncodedBuffer(lengthBytes: number): Uint8Array;
  getDecodedBuffer(): Uint8Array | Uint8ClampedArray;
  decode(): void;
  /** Of both kinds of JPEG 2000; so many of the quality layers, 0 being all. */
  decodeSubResolution?(reduction: number, layers?: number): void;
  getFrameInfo(): FrameInfo;
  getInterleaveMode?(): number;
  delete(): void;
}

type DecoderClass = new () => WasmDecoder;

interface WasmModule {
  readonly HEAPU8: Uint8Array;
  getExceptionMessage?(error: unknown): readonly string[];
}

interface Package<ClassName extends string> {
  default(options: {
    print: (line: string) => void;
    printErr: (line: string) => void;
  }): Promise<WasmModule & Record<ClassName, DecoderClass>>;
}

interface Loaded {
  readonly module: WasmModule;
  readonly Decoder: DecoderClass;
}

export type WasmCodec = 'charls' | 'libjpeg-turbo' | 'libjxl' | 'openjpeg' | 'openjph';

/** A new object each time: the factory makes it the module. */
const quiet = () => ({ print: () => {}, printErr: () => {} });

// The packages bring no types: what is used of them is written down here.
const loaders: Record<WasmCodec, () => Promise<Loaded>> = {
  charls: async () => {
    // @ts-expect-error no types
    const found: Package<'JpegLSDecoder'> = await import('@cornerstonejs/codec-charls/decodewasmjs');
    const module = await found.default(quiet());
    return { module, Decoder: module.JpegLSDecoder };
  },
  'libjpeg-turbo': async () => {
    // @ts-expect-error no types
    const found: Package<'JPEGDecoder'> = await import('@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs');
    const module = await found.default(quiet());
    return { module, Decoder: module.JPEGDecoder };
  },
  libjxl: async () => {
    const module = await jpegXlDecoder<WasmModule & Record<'JpegXLDecoder', DecoderClass>>();
    return { module, Decoder: module.JpegXLDecoder };
  },
  openjpeg: async () => {
    // @ts-expect-error no types
    const found: Package<'J2KDecoder'> = await import('@cornerstonejs/codec-openjpeg/decodewasmjs');
    const module = await found.default(quiet());
    return { module, Decoder: module.J2KDecoder };
  },
  openjph: async () => {
    // @ts-expect-error no types
    const found: Package<'HTJ2KDecoder'> = await import('@cornerstonejs/codec-openjph/wasmjs');
    const module = await found.default(quiet());
    return { module, Decoder: module.HTJ2KDecoder };
  },
};

const instances = new Map<WasmCodec, Promise<Loaded>>();

/**
 * Decodes one codestream whose header has been checked.
 * @param expected what must come out at full resolution; anything else is an error, never a picture
 * @param reduction of JPEG 2000: levels to leave out
 * @returns the decoder's samples in memory of their own, little endian, in bytes up to 8 bits and words above
 * @throws ArchiveError `cannot-render`
 */
export async function decodeWithWasm(
  codec: WasmCodec,
  codestream: Uint8Array,
  expected: {
    readonly rows: number;
    readonly columns: number;
    readonly samplesPerPixel: number;
    readonly precision: number;
  },
  reduction = 0,
): Promise<{ readonly samples: Uint8Array | Uint16Array; readonly interleaveMode: number | undefined }> {
  const loading = instances.get(codec) ?? loaders[codec]();
  instances.set(codec, loading);
  let loaded: Loaded;
  try {
    loaded = await loading;
  } catch (error) {
    instances.delete(codec);
    throw cannotRender(`The decoder ${codec} could not be loaded`, { codec }, error);
  }
  const { module, Decoder } = loaded;
  let decoder: WasmDecoder | undefined;
  try {
    decoder = new Decoder();
    decoder.getEncodedBuffer(codestream.length).set(codestream);
    if (reduction === 0) decoder.decode();
    else if (codec === 'openjph') decoder.decodeSubResolution?.(reduction);
    else decoder.decodeSubResolution?.(reduction, 0);
    const info = decoder.getFrameInfo();
    const decoded = decoder.getDecodedBuffer();
    const width = expected.precision <= 8 ? 1 : 2;
    const pixels = reduced(expected.rows, reduction) * reduced(expected.columns, reduction);
    const lengthBytes = pixels * expected.samplesPerPixel * width;
    if (
      decoded.length !== lengthBytes ||
      info.width !== expected.columns ||
      info.height !== expected.rows ||
      info.componentCount !== expected.samplesPerPixel
    ) {
      throw cannotRender('The compressed frame is damaged: it does not decode to the size it names', { codec });
    }
    const bytes = new Uint8Array(decoded);
    return {
      samples: width === 1 ? bytes : new Uint16Array(bytes.buffer),
      interleaveMode: decoder.getInterleaveMode?.(),
    };
  } catch (error) {
    instances.delete(codec);
    if (error instanceof Error && error.name === 'ArchiveError') throw error;
    throw cannotRender(`The compressed frame cannot be decoded: ${reasonOf(module, error)}`, { codec }, error);
  } finally {
    try {
      decoder?.delete();
    } catch {
      // An aborted instance cannot free anything; it is dropped as a whole.
    }
    keepHeap(loaders[codec], module.HEAPU8.length, () => instances.delete(codec));
  }
}

/** C++ exceptions arrive as numbers or wrapped objects; the module knows their text, the first line of which is fit to show. */
function reasonOf(module: WasmModule, error: unknown): string {
  let text: string | undefined;
  if (error instanceof Error) text = error.message;
  else {
    try {
      text = module.getExceptionMessage?.(error).find((part) => part.trim() !== '');
    } catch {
      text = undefined;
    }
  }
  const line = text
    ?.split('\n')[0]
    ?.replace(/[^\x20-\x7e]/g, '')
    .slice(0, 120)
    .trim();
  return line === undefined || line === '' ? 'its data is damaged' : line;
}
