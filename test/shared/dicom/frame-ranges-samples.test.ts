/**
 * The frames of real files: as many as the samples' manifest says, and native ones hash to the reference.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { frameCount, frameRange, locateFrames } from '#shared/dicom/frame-ranges.ts';
import { readHeaderRanged } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { sampleManifest, samplesFolder, sampleTable } from '#test/support/samples.ts';

const root = samplesFolder();
describe.skipIf(root === undefined)('the frames of the samples', () => {
  it('are as many as declared, and native ones are those of the reference', async () => {
    const reference = new Map(
      sampleTable('REFERENCE.csv').map((row) => [`${row.file} ${row.frame}`, row.sha256_native]),
    );
    const problems: string[] = [];
    let compared = 0;
    for (const row of sampleManifest()) {
      if (/broken/.test(row.file ?? '') || row.rows === '') continue;
      await using file = await open(join(root ?? '', row.file ?? ''));
      const { size } = await file.stat();
      const read = async ({ offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number }) => {
        const { buffer, bytesRead } = await file.read(new Uint8Array(lengthBytes), 0, lengthBytes, offsetBytes);
        return buffer.subarray(0, bytesRead);
      };
      const header = await readHeaderRanged(read, size);
      if (header.pixelData === undefined) continue;
      const { table, tolerated } = await locateFrames(header, size, read);
      const isVideo = row.file?.includes('/video/');
      const wanted = isVideo ? 1 : Number(row.frames || 1);
      if (frameCount(table) !== wanted || tolerated.length > 0) {
        problems.push(`${row.file}: ${frameCount(table)} frames, not ${wanted}; ${tolerated.join('; ')}`);
      }
      if (table.kind !== 'native' || !header.dataSet.littleEndian || Number(row.bits_allocated) < 8) continue;
      if (header.dataSet.number(Tag.PlanarConfiguration) === 1) continue;
      for (const frameNumber of [1, wanted]) {
        const sha256 = reference.get(`${row.file} ${frameNumber}`);
        if (!sha256) continue;
        const hash = createHash('sha256')
          .update(await read(frameRange(table, frameNumber)))
          .digest('hex');
        if (hash !== sha256) problems.push(`${row.file}: frame ${frameNumber} is not that of the reference`);
        compared += 1;
      }
    }
    expect(problems).toEqual([]);
    expect(compared).toBeGreaterThan(500);
  });
});
