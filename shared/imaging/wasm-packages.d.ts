/** The parts of the WebAssembly codec packages that wasm-codecs.ts uses; the packages bring no types of their own. */
declare module '@cornerstonejs/codec-charls/decodewasmjs' {
  const factory: import('./wasm-codecs.ts').ModuleFactory<{ JpegLSDecoder: import('./wasm-codecs.ts').DecoderClass }>;
  export = factory;
}
declare module '@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs' {
  const factory: import('./wasm-codecs.ts').ModuleFactory<{ JPEGDecoder: import('./wasm-codecs.ts').DecoderClass }>;
  export = factory;
}
declare module '@cornerstonejs/codec-openjpeg/decodewasmjs' {
  const factory: import('./wasm-codecs.ts').ModuleFactory<{ J2KDecoder: import('./wasm-codecs.ts').DecoderClass }>;
  export = factory;
}
declare module '@cornerstonejs/codec-openjph/wasmjs' {
  const factory: import('./wasm-codecs.ts').ModuleFactory<{ HTJ2KDecoder: import('./wasm-codecs.ts').DecoderClass }>;
  export = factory;
}
