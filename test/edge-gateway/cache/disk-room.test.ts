/** The three marks of the disk, what is on its way counted, bytes and files, and how it recovers by itself. */
import { expect, it } from 'vitest';
import { DiskRoom } from '#edge-gateway/cache/disk-room.ts';
import { diskFiles } from '#edge-gateway/cache/files.ts';

const marks = { evictBelowBytes: 4_000, reserveBytes: 1_000, rejectBelowBytes: 500 };

function roomOver(space: { freeBytes: number; freeFiles?: number; totalFiles?: number }) {
  const time = { ms: 0, measured: 0 };
  const room = new DiskRoom({
    files: {
      ...diskFiles,
      space: async () => {
        time.measured++;
        return { totalBytes: 100_000, freeFiles: 0, totalFiles: 0, ...space };
      },
    },
    folder: '/',
    marks,
    elapsedMs: () => time.ms,
  });
  return { room, time, space };
}

it('promises what leaves the reserve, and counts what is promised and not written over any number of measurements', async () => {
  const { room, time, space } = roomOver({ freeBytes: 3_000 });
  const written = await room.claim(1_500);
  await expect(room.claim(501)).rejects.toMatchObject({ code: 'out-of-resources', details: { freeBytes: 1_500 } });
  time.ms += 5_000;
  await expect(room.claim(501)).rejects.toMatchObject({ code: 'out-of-resources' });
  written();
  written();
  space.freeBytes = 1_500;
  time.ms += 5_000;
  await expect(room.claim(501)).rejects.toMatchObject({ code: 'out-of-resources' });
  await expect(room.claim(500)).resolves.toBeTypeOf('function');
});

it('measures at most once a second, and at once when something has changed', async () => {
  const { room, time } = roomOver({ freeBytes: 50_000 });
  for (let i = 0; i < 100; i++) (await room.claim(1))();
  expect(time.measured).toBe(1);
  room.changed();
  await Promise.all(Array.from({ length: 10 }, () => room.claim(1)));
  expect(time.measured).toBe(2);
});

it('evicts first, then refuses instances, then associations', async () => {
  const { room, time, space } = roomOver({ freeBytes: 4_000 });
  const seen = [];
  for (const freeBytes of [4_000, 3_999, 999, 499, 4_000]) {
    space.freeBytes = freeBytes;
    time.ms += 5_000;
    const { bytes } = await room.shortage();
    const refused = await room.claim(0).then(
      () => false,
      () => true,
    );
    seen.push({ freeBytes, bytes, refused, takesAssociations: room.takesAssociations() });
  }
  expect(seen).toEqual([
    { freeBytes: 4_000, bytes: 0, refused: false, takesAssociations: true },
    { freeBytes: 3_999, bytes: 1, refused: false, takesAssociations: true },
    { freeBytes: 999, bytes: 3_001, refused: true, takesAssociations: true },
    { freeBytes: 499, bytes: 3_501, refused: true, takesAssociations: false },
    { freeBytes: 4_000, bytes: 0, refused: false, takesAssociations: true },
  ]);
});

it('keeps what is fetched back off the room of those who send', async () => {
  const { room } = roomOver({ freeBytes: 3_000 });
  expect(await room.hasRoom(500)).toBe(true);
  expect(await room.hasRoom(501)).toBe(false);
});

it('knows that a volume can run out of files', async () => {
  const { room, time, space } = roomOver({ freeBytes: 50_000, freeFiles: 100, totalFiles: 1_000 });
  expect(await room.shortage()).toEqual({ bytes: 0, files: 0 });
  space.freeFiles = 60;
  time.ms += 5_000;
  expect(await room.shortage()).toEqual({ bytes: 0, files: 40 });
  space.freeFiles = 9;
  time.ms += 5_000;
  await expect(room.claim(1)).rejects.toMatchObject({ code: 'out-of-resources', details: { freeFiles: 9 } });
});

it('sees room by itself when nobody asks, and says what the disk says when it cannot be measured', async () => {
  const room = new DiskRoom({ files: diskFiles, folder: '/', marks });
  await room.watch();
  expect(room.totalBytes).toBeGreaterThan(0);
  room.close();
  const lost = new DiskRoom({ files: diskFiles, folder: '/no such folder', marks });
  await expect(lost.watch()).rejects.toMatchObject({ code: 'ENOENT' });
  expect(lost.takesAssociations()).toBe(true);
});
