/**
 * One picture in many colour encodings, rendered: whatever it was stored as, it looks the same.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeArchive } from '#test/support/archive-fixture.ts';
import { sampleFiles } from '#test/support/samples.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { differenceOf, pathOf, type Seen, seen } from './looking.ts';

async function rendered(file: string, accept = 'image/png'): Promise<Seen> {
  const fixture = await makeArchive([readFileSync(file)]);
  const service = serviceOver(fixture);
  const [found] = (await (await ask(service, '/instances')).json()) as Record<string, { Value: string[] }>[];
  const [studyInstanceUid, seriesInstanceUid, sopInstanceUid] = ['0020000D', '0020000E', '00080018'].map(
    (tag) => found![tag]!.Value[0]!,
  ) as [string, string, string];
  const path = pathOf({ ref: { studyInstanceUid, seriesInstanceUid, sopInstanceUid } });
  const response = await ask(service, `${path}/rendered`, { accept });
  const bytes = await bytesOf(response);
  await fixture.close();
  expect([basename(file), response.status]).toEqual([basename(file), 200]);
  return seen(bytes);
}

const pattern = sampleFiles('transfer-syntaxes', 'test-pattern');
const named = (name: string): string => pattern.find((file) => basename(file) === name)!;

describe.skipIf(pattern.length === 0)('colour', () => {
  it('is the same out of RGB, palettes, JPEG of YBR and RGB, JPEG-LS and JPEG lossless (dcm4chee#2208, #2214)', async () => {
    const original = await rendered(named('TestPattern_RGB.dcm'));
    for (const file of pattern) {
      const { mean } = differenceOf((await rendered(file)).rgb, original.rgb);
      // Palettes have 256 colours of the pattern's many, and lossy ones their error.
      const limit = /Palette/.test(file) ? 8 : /Baseline/.test(file) ? 3 : /Near/.test(file) ? 2 : 0.01;
      expect([basename(file), mean < limit, mean]).toEqual([basename(file), true, mean]);
    }
  });

  it('of a JPEG that holds RGB stays what it is, with and without a marker that says so (dcm4chee#2208)', async () => {
    const files = sampleFiles('transfer-syntaxes', 'jpeg').filter((file) =>
      /SC_rgb_dcmtk__eb|SC_rgb_jpeg_(dcmtk|gdcm|lossy_gdcm)\.dcm/.test(file),
    );
    const original = await rendered(sampleFiles('transfer-syntaxes', 'rle', 'SC_rgb_rle.dcm')[0]!);
    expect(files.length).toBeGreaterThan(6);
    for (const file of files) {
      const { mean } = differenceOf((await rendered(file)).rgb, original.rgb);
      expect([basename(file), mean < 12, mean]).toEqual([basename(file), true, mean]);
    }
  });

  it('goes out as YCbCr in a JPEG, as every reader takes it, and looks the same (dcm4chee#2214)', async () => {
    const file = named('TestPattern_RGB.dcm');
    const [jpeg, png, gif] = [
      await rendered(file, 'image/jpeg'),
      await rendered(file),
      await rendered(file, 'image/gif'),
    ];
    expect(differenceOf(jpeg.rgb, png.rgb).mean).toBeLessThan(2);
    expect(differenceOf(gif.rgb, png.rgb).mean).toBeLessThan(9);
  });

  it.each([
    ['uncompressed YBR_FULL_422', 'transfer-syntaxes/uncompressed/SC_ybr_full_422_uncompressed.dcm'],
    ['JPEG 2000', 'transfer-syntaxes/jpeg2000/SC_rgb_gdcm_KY.dcm'],
    ['RLE of 16 bits', 'transfer-syntaxes/rle/SC_rgb_rle_16bit.dcm'],
    ['RLE of 32 bits', 'transfer-syntaxes/rle/SC_rgb_rle_32bit.dcm'],
  ])('out of %s is the same, too', async (_name, path) => {
    const original = await rendered(sampleFiles('transfer-syntaxes', 'rle', 'SC_rgb_rle.dcm')[0]!);
    const { rgb } = await rendered(sampleFiles(...path.split('/'))[0]!);
    expect(differenceOf(rgb, original.rgb).mean).toBeLessThan(12);
  });
});
