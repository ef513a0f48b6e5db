/**
 * How @cornerstonejs/codec-libjxl is loaded in Node: its loaders are made for browsers and fetch their own .wasm, which Node does not do
 * for files, so that the bytes are handed over. The one place in shared/ that reads a file: a part of a package, as `import` would.
 */
import { readFile } from 'node:fs/promises';

/** What the package's factories take; the object becomes the module, so that each is a new one. */
interface FactoryOptions {
  readonly print: () => void;
  readonly printErr: () => void;
  readonly wasmBinary: Uint8Array;
}

interface Loader<Module> {
  default(options: FactoryOptions): Promise<Module>;
}

const bytesOf = (name: string): Promise<Uint8Array> => readFile(new URL(import.meta.resolve(name)));
const quiet = (wasmBinary: Uint8Array): FactoryOptions => ({ print: () => {}, printErr: () => {}, wasmBinary });

/** A new instance of the decoder. */
export async function jpegXlDecoder<Module>(): Promise<Module> {
  // @ts-expect-error no types
  const loader: Loader<Module> = await import('@cornerstonejs/codec-libjxl/decodewasmjs');
  return loader.default(quiet(await bytesOf('@cornerstonejs/codec-libjxl/decodewasm')));
}

/** A new instance of the encoder. */
export async function jpegXlEncoder<Module>(): Promise<Module> {
  // @ts-expect-error no types
  const loader: Loader<Module> = await import('@cornerstonejs/codec-libjxl/encodewasmjs');
  return loader.default(quiet(await bytesOf('@cornerstonejs/codec-libjxl/encodewasm')));
}
