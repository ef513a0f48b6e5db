/**
 * What the receiver answers and what is on the disk then: stored, duplicate, conflict and refused, one sender and many, small
 * and large, and what waits when there is too much. Crashes are receiver-crash.test.ts, failing disks receiver-disk.test.ts.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import { announcementOf, oneSeries, Receiving, readSealed, rival, sealedFiles, TENANT } from './receiving.ts';

let at: Receiving;
const restart = async (options: Parameters<typeof Receiving.start>[0]) => {
  await at[Symbol.asyncDispose]();
  at = await Receiving.start(options);
};
beforeEach(async () => {
  at = await Receiving.start();
});
afterEach(() => at[Symbol.asyncDispose]());

const patient = { timeout: 20_000 };
const MiB = 1024 * 1024;
const large = (bytes: number, options = {}) =>
  makeInstance({
    ...options,
    rows: 1024,
    columns: 1024,
    bitsAllocated: 8,
    bitsStored: 8,
    frames: Math.ceil(bytes / MiB),
    pixels: randomBytes(Math.ceil(bytes / MiB) * MiB),
  });

describe('an instance', () => {
  it('is stored as it came, readable before its pack is sealed and after', async () => {
    const made = makeInstance();
    expect(await at.send(made)).toEqual({ kind: 'stored', ref: made.ref, digest: made.digest });
    await at.receiver.flush();
    const again = await at.dataSet(made.ref);
    expect(again && Buffer.compare(again, made.dataSet)).toBe(0);
    const record = await at.index.getInstance(TENANT, made.ref);
    expect(record).toMatchObject({ digest: made.digest, state: 'current', transferSyntaxUid: made.transferSyntaxUid });
  });

  it('is readable from its acknowledgement on, as soon as it is indexed', async () => {
    const made = await at.stored();
    await expect.poll(() => at.index.getInstance(TENANT, made.ref), patient).toBeDefined();
    expect(sealedFiles(at.folder)).toEqual([]);
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
  });

  it('may come in chunks of any size', async () => {
    const series = oneSeries();
    for (const chunkBytes of [1, 3, 1000, 16 * 1024, 70_000, 10 * MiB]) {
      const made = makeInstance({ ...series, rows: 64, columns: 64 });
      expect((await at.send(made, { chunkBytes })).kind).toBe('stored');
      await at.receiver.flush();
      expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
    }
  });

  it('in the same bytes again is a duplicate: nothing is written', async () => {
    const made = await at.stored();
    expect((await at.send(made)).kind).toBe('duplicate');
    await at.receiver.flush();
    expect((await at.send(made)).kind).toBe('duplicate');
    await at.receiver.flush();
    expect(at.sealed).toHaveLength(1);
    expect(at.sealed[0]?.instanceCount).toBe(1);
  });

  it('in other bytes is a conflict: both are kept, the first stays current', async () => {
    const first = await at.stored();
    const [second, third] = [rival(first, 'Second'), rival(first, 'Third')];
    expect((await at.send(second)).kind).toBe('conflict');
    await at.receiver.flush();
    expect((await at.send(third)).kind).toBe('conflict');
    expect((await at.send(third)).kind).toBe('duplicate');
    expect((await at.send(second)).kind).toBe('duplicate');
    expect((await at.send(first)).kind).toBe('duplicate');
    await at.receiver.flush();
    const versions = await at.index.getVersions(TENANT, first.ref);
    expect(versions.map(({ digest, state }) => [digest, state])).toEqual([
      [first.digest, 'current'],
      ...[second.digest, third.digest].map((digest) => [digest, 'conflict']),
    ]);
    const kept = readSealed(at.folder)
      .flatMap(zipEntries)
      .map(({ bytes }) => bytes.subarray(-200).toString('hex'));
    expect(new Set(kept).size).toBeLessThanOrEqual(3);
    expect(kept).toHaveLength(3);
  });

  it('sent by two at once is stored once', async () => {
    const made = makeInstance({ rows: 128, columns: 128 });
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, (_, i) => at.send(made, { chunkBytes: 1000 + 777 * i })),
    );
    expect(outcomes.map(({ kind }) => kind).sort()).toEqual([
      'duplicate',
      'duplicate',
      'duplicate',
      'duplicate',
      'duplicate',
      'duplicate',
      'duplicate',
      'stored',
    ]);
    await at.receiver.flush();
    expect(at.sealed.map(({ instanceCount }) => instanceCount)).toEqual([1]);
  });

  it('in other bytes sent by two at once: one is current, by the order that everybody can derive', async () => {
    const first = makeInstance();
    const rivals = [first, rival(first, 'B'), rival(first, 'C'), rival(first, 'D')];
    const outcomes = await Promise.all(rivals.map((made) => at.send(made)));
    expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['conflict', 'conflict', 'conflict', 'stored']);
    await at.receiver.flush();
    const current = await at.index.getInstance(TENANT, first.ref);
    expect(current?.digest).toBe(rivals[outcomes.findIndex(({ kind }) => kind === 'stored')]?.digest);
  });

  it('whose pack was rejected by the cloud is stored again, and goes there anew', async () => {
    const made = await at.stored();
    await at.receiver.flush();
    const first = await at.index.getInstance(TENANT, made.ref);
    for (const pack of at.sealed)
      await at.index.updatePack(TENANT, pack, ['sealed'], { state: 'rejected', reason: 'It came there damaged.' });
    expect((await at.send(made)).kind).toBe('stored');
    expect((await at.send(made)).kind).toBe('duplicate');
    await at.receiver.flush();
    expect(at.sealed).toHaveLength(2);
    const second = await at.index.getInstance(TENANT, made.ref);
    expect(second).toMatchObject({ digest: made.digest, packId: at.sealed[1]?.packId });
    expect(second?.packId).not.toBe(first?.packId);
    expect(await at.index.getVersions(TENANT, made.ref)).toHaveLength(1);
    expect((await at.send(made)).kind).toBe('duplicate');
  });

  it('whose bytes have vanished from the disk is stored again', async () => {
    const made = await at.stored();
    await at.receiver.flush();
    const lost = await at.index.getInstance(TENANT, made.ref);
    await at.store.delete(packKey(TENANT, lost!));
    expect((await at.send(made)).kind).toBe('stored');
    await at.receiver.flush();
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
  });

  it('that breaks off leaves nothing', async () => {
    for (const made of [makeInstance({ rows: 64, columns: 64 }), large(10 * MiB)]) {
      const sink = at.receiver.begin(announcementOf(made));
      for (let i = 0; i < made.dataSet.length / 2; i += 50_000) await sink.write(made.dataSet.subarray(i, i + 50_000));
      sink.abort();
      sink.abort();
    }
    await expect.poll(() => at.openFiles(), patient).toEqual([]);
    expect(at.receiver.totals()).toMatchObject({ instancesArriving: 0, heldBytes: 0, openPacks: 0, unindexed: 0 });
  });
});

describe('a pack', () => {
  it('holds one series and is a ZIP file that everybody can read', async () => {
    const series = oneSeries();
    const sent = [];
    for (let i = 0; i < 5; i++) sent.push(await at.stored({ ...series, instanceNumber: i }));
    await at.stored({ ...series, seriesInstanceUid: freshUid() });
    await at.receiver.flush();
    expect(at.sealed.map(({ instanceCount }) => instanceCount).sort()).toEqual([1, 5]);
    for (const file of sealedFiles(at.folder)) {
      if (spawnSync('unzip', ['-v']).status === 0) execFileSync('unzip', ['-tq', file]);
    }
    for (const record of at.sealed) {
      const bytes = await at.store.read(packKey(TENANT, record));
      expect(record).toMatchObject({
        state: 'sealed',
        lengthBytes: bytes.length,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      });
    }
    const five = readSealed(at.folder)
      .map(zipEntries)
      .find((entries) => entries.length === 5);
    expect(five?.map(({ name }) => name)).toEqual(sent.map(({ ref }) => `${ref.sopInstanceUid}.dcm`));
    for (const [i, { bytes }] of (five ?? []).entries())
      expect(bytes.subarray(-sent[i]!.dataSet.length).equals(sent[i]!.dataSet)).toBe(true);
    expect(at.openFiles()).toEqual([]);
  });

  it('passes the cloud’s inspection', async () => {
    const made = await at.stored();
    await at.receiver.flush();
    const [record] = at.sealed;
    const { instances } = await inspectPack(at.store, packKey(TENANT, record!), {
      tenant: TENANT,
      ref: record!,
      lengthBytes: record!.lengthBytes,
      sha256: record!.sha256!,
    });
    expect(instances).toEqual([await at.index.getInstance(TENANT, made.ref)]);
  });

  it('is sealed when it is full, when its series is quiet, and when it is old', async () => {
    const series = oneSeries();
    await restart({ limits: { packBytes: 20_000 } });
    for (let i = 0; i < 9; i++) await at.stored({ ...series, rows: 64, columns: 64 });
    await expect.poll(() => at.sealed.length, patient).toBe(3);
    await restart({ limits: { quietMs: 40 } });
    await at.stored(series);
    await expect.poll(() => at.sealed.length, patient).toBe(1);
    await restart({ limits: { ageMs: 60 } });
    for (let i = 0; i < 20 && at.sealed.length === 0; i++) {
      await at.stored(series);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await expect.poll(() => at.sealed.length, patient).toBeGreaterThan(0);
  });

  it('is sealed when too many are open', async () => {
    await restart({ limits: { openPacks: 3 } });
    for (let i = 0; i < 10; i++) await at.stored();
    expect(at.receiver.totals().openPacks).toBe(3);
    await at.receiver.flush();
    expect(at.sealed).toHaveLength(10);
  });

  it('has later ids than all before, even if the clock goes back', async () => {
    let now = Date.now();
    await restart({ clock: () => (now -= 1000) });
    const first = await at.stored();
    await at.send(rival(first, 'B'));
    await at.send(rival(first, 'C'));
    await at.receiver.flush();
    const versions = await at.index.getVersions(TENANT, first.ref);
    expect(versions.find(({ state }) => state === 'current')?.digest).toBe(first.digest);
    expect(new Set(versions.map(({ packId }) => packId)).size).toBe(3);
  });
});

describe('a large instance', () => {
  it('has a pack of its own and is streamed to it', async () => {
    const made = large(12 * MiB);
    const sink = at.receiver.begin(announcementOf(made));
    let most = 0;
    for (let i = 0; i < made.dataSet.length; i += 100_000) {
      await sink.write(made.dataSet.subarray(i, i + 100_000));
      most = Math.max(most, at.receiver.totals().heldBytes);
    }
    expect(await sink.commit()).toMatchObject({ kind: 'stored', digest: made.digest });
    expect(most).toBeLessThan(10 * MiB);
    await at.receiver.flush();
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
    const [pack] = at.sealed;
    const file = sealedFiles(at.folder)[0] ?? '';
    if (spawnSync('unzip', ['-v']).status === 0) execFileSync('unzip', ['-tq', file]);
    const { manifest } = await inspectPack(at.store, packKey(TENANT, pack!), { tenant: TENANT, ref: pack! });
    expect(manifest.entries[0]).toMatchObject({ digest: made.digest, frames: { kind: 'native', count: 12 } });
    expect((await at.send(made)).kind).toBe('duplicate');
    expect(await at.send(large(12 * MiB, made.ref))).toMatchObject({ kind: 'conflict' });
  });

  it('leaves nothing when it is refused', async () => {
    const made = large(10 * MiB);
    expect(await at.send(made, { sopInstanceUid: '1.2.3' })).toMatchObject({
      kind: 'refused',
      code: 'identity-mismatch',
    });
    expect(await at.send(made, { sopInstanceUid: undefined })).toMatchObject({ kind: 'stored' });
    await at.receiver.flush();
    expect(at.openFiles()).toEqual([]);
    expect(at.receiver.totals().heldBytes).toBe(0);
  });
});

describe('what cannot be identified', () => {
  it('is refused without a SOP Instance UID', async () => {
    const outcome = await at.send(makeInstance({ without: [0x00080018] }));
    expect(outcome).toEqual({
      kind: 'refused',
      code: 'bad-dicom',
      reason: expect.stringContaining('SOP Instance UID'),
      offendingElements: [0x00080018],
    });
    await at.receiver.flush();
    expect(at.sealed).toEqual([]);
  });

  it('is refused when it is something else than was announced, padding apart', async () => {
    const made = makeInstance();
    expect(await at.send(made, { sopInstanceUid: '1.2.3.4' })).toMatchObject({
      code: 'identity-mismatch',
      offendingElements: [0x00080018],
    });
    expect(await at.send(made, { sopClassUid: '1.2.3.4' })).toMatchObject({
      code: 'identity-mismatch',
      offendingElements: [0x00080016],
    });
    const padded = { sopInstanceUid: `${made.ref.sopInstanceUid}\0`, sopClassUid: `${made.sopClassUid} ` };
    expect((await at.send(made, padded)).kind).toBe('stored');
    await at.receiver.flush();
    expect((await at.index.getInstance(TENANT, made.ref))?.sopInstanceUid).toBe(made.ref.sopInstanceUid);
  });

  it('is refused when there is nothing, or no DICOM', async () => {
    const made = makeInstance();
    for (const bytes of [new Uint8Array(), Buffer.from('x'), randomBytes(5000), Buffer.alloc(1000)])
      expect(await at.send(made, { bytes })).toMatchObject({ kind: 'refused', code: 'bad-dicom' });
  });

  it('is stored all the same when only its end cannot be read', async () => {
    const made = makeInstance({ pixels: 'none' });
    const bytes = Buffer.concat([made.dataSet, Buffer.from('e07f1000ffff00000000', 'hex'), randomBytes(100)]);
    expect((await at.send(made, { bytes })).kind).toBe('stored');
    await at.receiver.flush();
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, bytes)).toBe(0);
    const [pack] = at.sealed;
    await inspectPack(at.store, packKey(TENANT, pack!), { tenant: TENANT, ref: pack! });
  });

  it('with UIDs that are none is stored under names that are harmless', async () => {
    const made = makeInstance({ studyInstanceUid: '../../1', seriesInstanceUid: '/etc', sopInstanceUid: '..\\passwd' });
    expect((await at.send(made)).kind).toBe('stored');
    expect((await at.send(made)).kind).toBe('duplicate');
    await at.receiver.flush();
    expect((await at.send(made)).kind).toBe('duplicate');
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
    expect(sealedFiles(at.folder)[0]?.slice(at.folder.length)).toMatch(
      /^\/packs\/hospital\/x[0-9a-f]{32}\/x[0-9a-f]{32}\/[0-9a-f-]{36}\.zip$/,
    );
  });

  it('is identified within a deflated data set', async () => {
    const made = makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.1' });
    const bytes = deflateRawSync(made.dataSet);
    const outcome = await at.send(made, { bytes, transferSyntaxUid: '1.2.840.10008.1.2.1.99' });
    expect(outcome).toMatchObject({ kind: 'stored', ref: made.ref });
    await at.receiver.flush();
    expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, bytes)).toBe(0);
  });
});

describe('many senders', () => {
  it('store into one series and into many', async () => {
    const series = oneSeries();
    const made = Array.from({ length: 16 }, (_, s) =>
      Array.from({ length: 6 }, () => makeInstance(s % 2 === 0 ? { ...series, rows: 64, columns: 64 } : {})),
    );
    const outcomes = await Promise.all(
      made.map(async (own) => {
        const kinds = [];
        for (const instance of own) kinds.push((await at.send(instance, { chunkBytes: 4000 })).kind);
        return kinds;
      }),
    );
    expect(outcomes.flat()).toEqual(Array.from({ length: 96 }, () => 'stored'));
    await at.receiver.flush();
    for (const instance of made.flat())
      expect(Buffer.compare((await at.dataSet(instance.ref)) as Buffer, instance.dataSet)).toBe(0);
    expect(at.errors).toEqual([]);
  });

  it('wait when they hold too much together, and slow ones are moved to disk instead of stopping the others', async () => {
    await restart({ limits: { heldBytes: MiB } });
    const slow = Array.from({ length: 4 }, () => large(MiB));
    const slowSinks = slow.map((made) => at.receiver.begin(announcementOf(made)));
    for (const [i, sink] of slowSinks.entries()) {
      for (let j = 0; j < 300_000; j += 30_000) await sink.write(slow[i]!.dataSet.subarray(j, j + 30_000));
    }
    expect(at.receiver.totals().heldBytes).toBeLessThan(1.1 * MiB);
    const quick = Array.from({ length: 20 }, () => makeInstance({ rows: 256, columns: 256 }));
    const outcomes = await Promise.all(quick.map((made) => at.send(made, { chunkBytes: 20_000 })));
    expect(outcomes.every(({ kind }) => kind === 'stored')).toBe(true);
    for (const [i, sink] of slowSinks.entries()) {
      await sink.write(slow[i]!.dataSet.subarray(300_000));
      expect((await sink.commit()).kind).toBe('stored');
    }
    await at.receiver.flush();
    for (const made of [...slow, ...quick])
      expect(Buffer.compare((await at.dataSet(made.ref)) as Buffer, made.dataSet)).toBe(0);
    expect(at.receiver.totals().heldBytes).toBe(0);
  });
});

describe('closing', () => {
  it('seals what is open and takes nothing more', async () => {
    const made = await at.stored();
    const late = at.receiver.begin(announcementOf(makeInstance()));
    await at.receiver.close();
    expect(at.sealed).toHaveLength(1);
    expect(await late.commit()).toMatchObject({ kind: 'refused', code: 'out-of-resources' });
    expect(await at.send(makeInstance())).toMatchObject({ kind: 'refused', code: 'out-of-resources' });
    expect(await at.index.getInstance(TENANT, made.ref)).toBeDefined();
  });
});
