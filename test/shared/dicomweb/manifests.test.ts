/**
 * Packs without a manifest: entries are inspected one by one where the archive can do that, with the same answers, until
 * the manifest is there; elsewhere a missing one is damage.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { manifestKey } from '#shared/archive/keys.ts';
import { type EntryRecord, inspectEntry } from '#shared/archive/manifest-entry.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { pathOf } from '#test/support/dicomweb-client.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';

const series = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const made = Array.from({ length: 5 }, (_, i) => makeInstance({ ...series, instanceNumber: i + 1, frames: 2 }));
let fixture: ArchiveFixture;
let inspected = 0;
const inspect = (record: EntryRecord) => {
  inspected++;
  return inspectEntry(fixture.archive.packs, record);
};

beforeAll(async () => {
  fixture = await makeArchive(
    made.map(({ file }) => file),
    { packSize: 3 },
  );
});
afterAll(() => fixture?.close());

async function answers(service: ReturnType<typeof serviceOver>): Promise<unknown> {
  const frames = `${pathOf(made[4]!.ref)}/frames/2`;
  const [metadata, frame, bulk, zip] = await Promise.all([
    ask(service, `${pathOf(series)}/metadata`),
    ask(service, frames, { accept: 'application/octet-stream' }),
    ask(service, `${pathOf(made[0]!.ref)}/bulkdata/7FE00010`, { accept: 'application/octet-stream' }),
    ask(service, pathOf(made[0]!.ref), { accept: 'application/zip' }),
  ]);
  expect([metadata, frame, bulk, zip].map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  return {
    metadata: await metadata.text(),
    frame: (await bytesOf(frame)).toString('hex'),
    bulk: (await bytesOf(bulk)).toString('hex'),
    zip: zipEntries(await bytesOf(zip)).map(({ name, bytes }) => [name, bytes.toString('hex')]),
  };
}

it('are served entry by entry, and by their manifest as soon as it is there', async () => {
  const { packs } = fixture.archive;
  const expected = await answers(serviceOver(fixture));
  const keys = fixture.packs.map((ref) => manifestKey(fixture.tenant, ref));
  const kept = await Promise.all(keys.map((key) => packs.read(key)));
  await Promise.all(keys.map((key) => packs.delete(key)));

  const service = serviceOver(fixture, { inspectEntry: inspect });
  expect(await answers(service)).toEqual(expected);
  expect(inspected).toBeGreaterThan(0);

  const damaged = serviceOver(fixture);
  expect((await ask(damaged, `${pathOf(made[0]!.ref)}/frames/1`)).status).toBe(500);

  for (const [i, bytes] of kept.entries()) {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await packs.create(keys[i]!, bytes, { lengthBytes: bytes.length, sha256 });
  }
  inspected = 0;
  expect(await answers(service)).toEqual(expected);
  expect(inspected).toBe(0);
});

it('are never sent as the ZIP file that they are not yet', async () => {
  const one = makeInstance();
  await fixture.add([one.file]);
  const ref = fixture.packs.at(-1)!;
  const service = serviceOver(fixture, { inspectEntry: inspect });
  const asked = () => ask(service, pathOf(one.ref), { accept: 'application/zip' });
  const whole = await asked();
  const tag = whole.headers.get('etag') ?? '';
  const key = manifestKey(fixture.tenant, ref);
  await fixture.archive.packs.delete(key);
  const fresh = serviceOver(fixture, { inspectEntry: inspect });
  const written = await ask(fresh, pathOf(one.ref), { accept: 'application/zip', 'if-none-match': tag });
  expect(written.status).toBe(200);
  expect(zipEntries(await bytesOf(written))).toEqual(zipEntries(await bytesOf(whole)));
  const same = await ask(fresh, pathOf(one.ref), {
    accept: 'application/zip',
    'if-none-match': written.headers.get('etag') ?? '',
  });
  expect(same.status).toBe(304);
});
