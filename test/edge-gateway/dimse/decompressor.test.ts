/**
 * What frames may cost before anything of them is decoded.
 */
import { expect, it } from 'vitest';
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';

it('does not even read a frame that takes more memory than a thread may', async () => {
  const decompressor = createDecompressor();
  let isRead = false;
  const frame = decompressor.begin(2 * 1024 ** 3, async () => {
    isRead = true;
    throw new Error('it was read');
  });
  await expect(frame.frame).rejects.toMatchObject({ code: 'cannot-render' });
  frame.release();
  await decompressor.close();
  expect(isRead).toBe(false);
});
