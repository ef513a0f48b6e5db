/**
 * Memory that is used again never shows through: whatever comes at once, in whatever pieces, is refused or broken off, every
 * instance on disk has its own bytes.
 */
import { expect, it } from 'vitest';
import { BLOCK_BYTES, BlockPool } from '#edge-gateway/cache/block-pool.ts';
import { ByteCollector } from '#edge-gateway/cache/byte-collector.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { announcementOf, Receiving, send } from './receiving.ts';

it('hands out blocks again, and keeps only so many', () => {
  const pool = new BlockPool(2 * BLOCK_BYTES);
  const blocks = [pool.take(), pool.take(), pool.take()];
  for (const block of blocks) pool.give(block);
  expect(pool.freeBlocks).toBe(2);
  expect(blocks).toContain(pool.take());
});

it('collects pieces of any size in order, in blocks of their own', () => {
  const pool = new BlockPool(0);
  const emitted: Uint8Array[] = [];
  const blocks = new Set<Buffer>();
  const collector = new ByteCollector(pool, (bytes, block) => {
    emitted.push(bytes);
    blocks.add(block);
  });
  const pieces = [0, 1, 5, BLOCK_BYTES - 6, BLOCK_BYTES, 3 * BLOCK_BYTES + 7, 2].map((length, i) =>
    Buffer.alloc(length, i),
  );
  for (const piece of pieces) collector.push(piece);
  collector.flush();
  collector.flush();
  expect(Buffer.concat(emitted).equals(Buffer.concat(pieces))).toBe(true);
  expect(blocks.size).toBe(emitted.length);
});

it('lets no instance have bytes of another, with many senders, sizes, duplicates, refusals and aborts', async () => {
  await using receiving = await Receiving.start({ limits: { ownPackBytes: 1_000_000 } });
  const { receiver } = receiving;
  const made: ReturnType<typeof makeInstance>[] = [];
  await Promise.all(
    Array.from({ length: 8 }, async (_, sender) => {
      for (let i = 0; i < 30; i++) {
        const side = [40, 200, 360, 900][(sender + i) % 4] ?? 40;
        // Noise of its own, so that a foreign block cannot go unnoticed.
        const pixels = Buffer.alloc(side * side * 2);
        for (let at = 0; at < pixels.length; at += 4)
          pixels.writeUInt32LE((at * 2_654_435_761 + sender * 977 + i) >>> 0, at);
        const instance = makeInstance({ rows: side, columns: side, pixels });
        const chunkBytes = [700, 16_000, 70_000, 300_000][i % 4] ?? 16_000;
        if (i % 5 === 1) {
          const sink = receiver.begin(announcementOf(instance));
          await sink.write(Buffer.from(instance.dataSet.subarray(0, instance.dataSet.length / 2)));
          sink.abort();
        } else if (i % 5 === 2) {
          const outcome = await send(receiver, instance, { sopInstanceUid: '1.2.3', chunkBytes });
          expect(outcome.kind).toBe('refused');
        } else {
          expect((await send(receiver, instance, { chunkBytes })).kind).toBe('stored');
          made.push(instance);
          if (i % 5 === 3) expect((await send(receiver, instance)).kind).toBe('duplicate');
        }
      }
    }),
  );
  await receiver.flush();
  expect(made.length).toBe(8 * 18);
  for (const instance of made) {
    const stored = await receiving.dataSet(instance.ref);
    expect(stored?.equals(instance.dataSet)).toBe(true);
  }
});
