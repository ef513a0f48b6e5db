/**
 * The limit for the memory of WebAssembly in a thread.
 */
import { afterEach, expect, it } from 'vitest';
import { limitWasmMemory } from '#shared/imaging/wasm-memory.ts';

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
