/**
 * How far WebAssembly may grow in a thread, and how much of it is kept between frames. Codecs allocate what codestreams ask for, each up to a limit of its own of 2 GiB, which no
 * machine has to give away to a hostile frame. All of them grow through one function of JavaScript, where they are stopped.
 */

const PAGE_BYTES = 65536;

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

let maximum = Number.POSITIVE_INFINITY;
let isWatched = false;

/**
 * For all instances in the calling thread, until it is called again. One that is longer already stays as it is; what it is refused
 * is to it as if the machine had no more.
 */
export function limitWasmMemory(maximumBytes: number): void {
  maximum = maximumBytes;
  if (isWatched) return;
  isWatched = true;
  const { prototype } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: Memory } } }).WebAssembly
    .Memory;
  const { grow } = prototype;
  prototype.grow = function (this: Memory, pages: number): number {
    if (pages > 0 && this.buffer.byteLength + pages * PAGE_BYTES > maximum)
      throw new RangeError('WebAssembly has no more memory');
    return grow.call(this, pages);
  };
}

/** What a codec takes beside what its frame needs: the code itself, its stack, the compressed bytes twice. */
const CODEC_BYTES = 64 * 1024 * 1024;

/**
 * Before a frame is decoded whose estimate is `neededBytes`: estimates are for what encoders make, and hostile frames have tiles and layers
 * without number.
 */
export function limitCodecMemory(frameBytes: number, neededBytes: number, memoryBytes: number): void {
  limitWasmMemory(Math.min(memoryBytes, CODEC_BYTES + 2 * frameBytes + 2 * neededBytes));
}

const SMALL_BYTES = 64 * 1024 * 1024;
const LARGEST_BYTES = 256 * 1024 * 1024;
let large: { readonly codec: object; readonly drop: () => void } | undefined;

/**
 * After a frame: memory that has grown never shrinks, so that of all codecs of a thread one may keep what a large frame has left, the one
 * used last; its next frame is likely to be as large.
 * @param codec who it is, the same object each time
 * @param drop lets the instance go; the next frame has a new one
 */
export function keepHeap(codec: object, heapBytes: number, drop: () => void): void {
  if (heapBytes > LARGEST_BYTES) drop();
  else if (heapBytes > SMALL_BYTES) {
    if (large !== undefined && large.codec !== codec) large.drop();
    large = { codec, drop };
  }
}
