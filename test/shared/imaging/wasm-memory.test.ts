/**
 * The limit for the memory of WebAssembly in a thread, and what is kept of it.
 */
import { afterEach, expect, it } from 'vitest';
import { keepHeap, limitWasmMemory } from '#shared/imaging/wasm-memory.ts';

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: new (size: { initial: number }) => Memory } })
  .WebAssembly;

afterEach(() => limitWasmMemory(Number.POSITIVE_INFINITY));

it('WebAssembly grows up to the limit in force, and what there is stays', () => {
  const memory = new Memory({ initial: 1 });
  limitWasmMemory(3 * 65536);
  expect(memory.grow(2)).toBe(1);
  expect(() => memory.grow(1)).toThrow(RangeError);
  expect(memory.buffer.byteLength).toBe(3 * 65536);
  limitWasmMemory(4 * 65536);
  expect(memory.grow(1)).toBe(3);
  limitWasmMemory(65536);
  expect(memory.grow(0)).toBe(4);
});

it('of all codecs of a thread, the one used last keeps a large heap, and none a huge one', () => {
  const dropped: string[] = [];
  const codecs = new Map(['first', 'second'].map((name) => [name, { name }]));
  const use = (name: string, mebibytes: number) =>
    keepHeap(codecs.get(name)!, mebibytes * 2 ** 20, () => void dropped.push(name));
  use('first', 20);
  use('first', 100);
  use('first', 120);
  use('second', 20);
  expect(dropped).toEqual([]);
  use('second', 100);
  expect(dropped).toEqual(['first']);
  use('second', 300);
  expect(dropped).toEqual(['first', 'second']);
});
