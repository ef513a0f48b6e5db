/**
 * The WebAssembly encoders behind one door, loaded at first use and thrown away as the decoders are (wasm-codecs.ts). They know samples
 * only: what those mean, and what the data set says of them, is transcode.ts. What comes out is not trusted to be complete:
 * an encoder whose buffer is too small fails, and one that was aborted is undefined. JPEG is encoded by sharp: libjpeg-turbo's package
 * writes beyond its buffer, which is as long as the pixels, when a frame grows.
 */
import { ArchiveError } from '../errors.ts';
import { jpegXlEncoder } from './jpeg-xl-package.ts';
import { keepHeap } from './wasm-memory.ts';

export type WasmEncoder = 'charls' | 'libjxl' | 'openjpeg' | 'openjph';

/** Unsigned samples, interleaved; bytes up to 8 bits, words above. */
export interface Samples {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly precision: number;
  readonly values: Uint8Array | Uint16Array;
  /** RGB that the codec is to make luminance and chrominance of, reversibly. */
  readonly colorTransform?: boolean;
}

interface Encoder {
  getDecodedBuffer(info: Readonly<Record<string, number | boolean>>): Uint8Array;
  getEncodedBuffer(): Uint8Array;
  encode(): void;
  delete(): void;
  setInterleaveMode(mode: number): void;
  setNearLossless(difference: number): void;
  setLossless(isLossless: boolean): void;
  setEffort(effort: number): void;
  setQuality(...quality: (number | boolean)[]): void;
  setDecompositions(levels: number): void;
  setProgressionOrder(order: number): void;
  setTLMMarker(isWritten: boolean): void;
  setTilePartDivisionsAtResolutions(isDivided: boolean): void;
}

interface Loaded {
  readonly module: { readonly HEAPU8: Uint8Array };
  readonly Encoder: new () => Encoder;
}

type Module = Loaded['module'] & Record<string, Loaded['Encoder']>;

type Package = {
  default(options: Readonly<Record<string, () => void>>): Promise<Module>;
};

/** CharLS: all samples of a pixel together. */
const INTERLEAVED_BY_SAMPLE = 2;
const RESOLUTION_POSITION_COMPONENT_LAYER = 2;
const MOST_LEVELS = 5;
const JPEG_XL_EFFORT = 3;
/** What the transfer syntax with RPCL options wants of the lowest resolution: no more to a side. */
const LOWEST_RESOLUTION_PIXELS = 64;

/** A new object each time: the factory makes it the module. */
const quiet = () => ({ print: () => {}, printErr: () => {} });

const loaded = async (found: Promise<Package>, className: string): Promise<Loaded> =>
  encoderIn(await (await found).default(quiet()), className);

function encoderIn(module: Module, className: string): Loaded {
  const Encoder = module[className];
  if (Encoder === undefined) throw new Error(`the package has no ${className}`);
  return { module, Encoder };
}

// The packages bring no types: what is used of them is written down here.
const loaders: Readonly<Record<WasmEncoder, () => Promise<Loaded>>> = {
  // @ts-expect-error no types
  charls: () => loaded(import('@cornerstonejs/codec-charls/wasmjs'), 'JpegLSEncoder'),
  libjxl: async () => encoderIn(await jpegXlEncoder<Module>(), 'JpegXLEncoder'),
  // @ts-expect-error no types
  openjpeg: () => loaded(import('@cornerstonejs/codec-openjpeg/wasmjs'), 'J2KEncoder'),
  // @ts-expect-error no types
  openjph: () => loaded(import('@cornerstonejs/codec-openjph/wasmjs'), 'HTJ2KEncoder'),
};

/** OpenJPEG wants a pixel left at the lowest resolution, in both directions. */
const levelsThatFit = ({ rows, columns }: Samples): number =>
  Math.min(MOST_LEVELS, Math.floor(Math.log2(Math.min(rows, columns))));

const levelsDownTo = (pixels: number, { rows, columns }: Samples): number =>
  Math.max(MOST_LEVELS, Math.ceil(Math.log2(Math.max(rows, columns) / pixels)));

const settings: Readonly<Record<WasmEncoder, (encoder: Encoder, samples: Samples) => void>> = {
  charls(encoder, { samplesPerPixel }) {
    encoder.setNearLossless(0);
    encoder.setInterleaveMode(samplesPerPixel > 1 ? INTERLEAVED_BY_SAMPLE : 0);
  },
  libjxl(encoder) {
    encoder.setLossless(true);
    encoder.setEffort(JPEG_XL_EFFORT);
  },
  openjpeg(encoder, samples) {
    encoder.setQuality(true, 0);
    encoder.setDecompositions(levelsThatFit(samples));
  },
  // By resolution, a tile-part to each and a table of them: a reader of the first bytes has a smaller picture.
  openjph(encoder, samples) {
    encoder.setQuality(true, 0);
    encoder.setProgressionOrder(RESOLUTION_POSITION_COMPONENT_LAYER);
    encoder.setDecompositions(levelsDownTo(LOWEST_RESOLUTION_PIXELS, samples));
    encoder.setTLMMarker(true);
    encoder.setTilePartDivisionsAtResolutions(true);
  },
};

const instances = new Map<WasmEncoder, Promise<Loaded>>();

/**
 * One codestream, in memory of its own; it loses nothing.
 * @throws ArchiveError `not-acceptable` for what the encoder cannot take, as noise that grows by being compressed
 */
export async function encodeWithWasm(codec: WasmEncoder, samples: Samples): Promise<Uint8Array<ArrayBuffer>> {
  const loading = instances.get(codec) ?? loaders[codec]();
  instances.set(codec, loading);
  let encoder: Encoder | undefined;
  let module: Loaded['module'] | undefined;
  try {
    const found = await loading;
    module = found.module;
    encoder = new found.Encoder();
    const { rows, columns, samplesPerPixel, precision, values, colorTransform = false } = samples;
    const info = {
      width: columns,
      height: rows,
      bitsPerSample: precision,
      componentCount: samplesPerPixel,
      isSigned: false,
      isUsingColorTransform: colorTransform,
    };
    encoder.getDecodedBuffer(info).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    settings[codec](encoder, samples);
    encoder.encode();
    const bytes = new Uint8Array(encoder.getEncodedBuffer());
    if (bytes.length === 0) throw new Error('the encoder gave nothing');
    return bytes;
  } catch (error) {
    instances.delete(codec);
    throw new ArchiveError(
      'not-acceptable',
      'The pixels of a frame cannot be compressed in the transfer syntax asked for; ask for another, or for transfer-syntax=*.',
      { codec },
      error,
    );
  } finally {
    try {
      encoder?.delete();
    } catch {
      // An aborted instance cannot free anything; it is dropped as a whole.
    }
    keepHeap(loaders[codec], module?.HEAPU8.length ?? 0, () => instances.delete(codec));
  }
}
