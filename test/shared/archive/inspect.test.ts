/**
 * inspectPack on packs made here byte by byte and on real files: what it finds, and what it refuses.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { crc32, deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { entryNameOf } from '#shared/archive/entry-inspector.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { newPackId, packKey } from '#shared/archive/keys.ts';
import { decodeManifest, encodeManifest } from '#shared/archive/manifest.ts';
import { encodeDirectory, encodeLocalHeader, type PackEntry } from '#shared/archive/pack.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { encodeFileMeta, readHeader } from '#shared/dicom/part10.ts';
import { freshUid, type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';

interface File {
  readonly name: string;
  readonly bytes: Uint8Array;
}

function zip(files: readonly File[]): Buffer {
  const parts: Uint8Array[] = [];
  const entries: PackEntry[] = [];
  let at = 0;
  for (const { name, bytes } of files) {
    const entry = { name, crc32: crc32(bytes), lengthBytes: bytes.length, dosTime: 0 };
    const header = encodeLocalHeader(entry);
    parts.push(header, bytes);
    entries.push({ ...entry, headerOffsetBytes: at, offsetBytes: at + header.length });
    at += header.length + bytes.length;
  }
  return Buffer.concat([...parts, encodeDirectory(entries, at)]);
}

/** A store of one object, which counts what is read beside the stream. */
function storeOf(bytes: Buffer, chunkBytes = 100_000): PackStore & { reads: number } {
  const no = () => Promise.reject(new Error('not for inspection'));
  return {
    reads: 0,
    head: no,
    create: no,
    delete: no,
    async read(_key, range) {
      this.reads++;
      return range === undefined ? bytes : bytes.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes);
    },
    async stream() {
      let at = 0;
      return new ReadableStream({
        pull(controller) {
          if (at >= bytes.length) return controller.close();
          controller.enqueue(bytes.subarray(at, at + chunkBytes));
          at += chunkBytes;
        },
      });
    },
  };
}

/** A Part 10 file as the gateway writes it. */
function stored(
  options: InstanceOptions = {},
  deflate = false,
): File & { ref: ReturnType<typeof makeInstance>['ref']; digest: string } {
  const made = makeInstance(options);
  const dataSet = deflate ? deflateRawSync(made.dataSet) : made.dataSet;
  const transferSyntaxUid = deflate ? '1.2.840.10008.1.2.1.99' : made.transferSyntaxUid;
  const meta = encodeFileMeta({
    sopClassUid: made.sopClassUid,
    sopInstanceUid: made.ref.sopInstanceUid,
    transferSyntaxUid,
    sourceAeTitle: 'CT1',
  });
  const digest = createHash('sha256').update(dataSet).digest('hex');
  return { name: entryNameOf(made.ref.sopInstanceUid), bytes: Buffer.concat([meta, dataSet]), ref: made.ref, digest };
}

const packId = newPackId(Date.now(), randomBytes(10));
const series = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const ref = { ...series, packId };
const inspect = (bytes: Buffer, more: { lengthBytes?: number; sha256?: string } = {}, chunkBytes?: number) =>
  inspectPack(storeOf(bytes, chunkBytes), packKey('hospital', ref), { tenant: 'hospital', ref, ...more });
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('a sound pack', () => {
  it('gives records and a manifest, however its bytes come', async () => {
    const files = [stored(series), stored({ ...series, frames: 3 }), stored({ ...series, pixels: 'none' })];
    const bytes = zip(files);
    const results = [];
    for (const chunkBytes of [bytes.length, 1, 333])
      results.push(await inspect(bytes, { lengthBytes: bytes.length, sha256: sha256(bytes) }, chunkBytes));
    const [{ manifest, instances } = results[0]!] = results;
    for (const result of results) expect(result).toEqual(results[0]);
    expect(manifest).toMatchObject({ tenant: 'hospital', ...ref, lengthBytes: bytes.length, sha256: sha256(bytes) });
    expect(instances.map(({ digest, sopInstanceUid }) => [digest, sopInstanceUid])).toEqual(
      files.map((file) => [file.digest, file.ref.sopInstanceUid]),
    );
    for (const [i, record] of instances.entries()) {
      const file = bytes.subarray(record.offsetBytes, record.offsetBytes + record.lengthBytes);
      expect(file.equals(files[i]!.bytes)).toBe(true);
      expect(sha256(file.subarray(record.dataSetOffsetBytes))).toBe(record.digest);
      expect(record.attributes['0020000D']).toEqual({ vr: 'UI', Value: [series.studyInstanceUid] });
      expect(record.attributes['7FE00010']).toBeUndefined();
    }
    expect(manifest.entries.map(({ frames }) => frames.kind)).toEqual(['native', 'native', 'none']);
    const [first] = manifest.entries;
    const pixels = JSON.parse(first!.metadata)['7FE00010'];
    expect(pixels).toEqual({ vr: 'OW', BulkDataURI: '~/7FE00010' });
    const header = readHeader(files[0]!.bytes);
    expect(first!.bulk['7FE00010']).toEqual({
      offsetBytes: header.pixelData?.offsetBytes,
      lengthBytes: header.pixelData?.lengthBytes,
      vr: 'OW',
    });
    expect(await decodeManifest(await encodeManifest(manifest))).toEqual(manifest);
  });

  it('finds encapsulated frames and bulk values, and the frames of deflated data sets', async () => {
    const frames = [randomBytes(100), randomBytes(300), randomBytes(50)];
    const encapsulated = stored({ ...series, transferSyntaxUid: '1.2.840.10008.1.2.4.50', frames: 3, pixels: frames });
    const bulky = stored({ ...series, extra: [{ tag: 0x00420011, vr: 'OB', value: randomBytes(5000) }] });
    const deflated = stored({ ...series, frames: 2 }, true);
    const { manifest } = await inspect(zip([encapsulated, bulky, deflated]));
    const [a, b, c] = manifest.entries;
    if (a?.frames.kind !== 'encapsulated') throw new Error('frames were not found');
    for (const [i, { offsetBytes, lengthBytes }] of a.frames.frames.entries())
      expect(
        Buffer.from(encapsulated.bytes)
          .subarray(offsetBytes, offsetBytes + lengthBytes)
          .equals(frames[i]!),
      ).toBe(true);
    expect(b?.bulk['00420011']).toMatchObject({ lengthBytes: 5000, vr: 'OB' });
    expect(JSON.parse(b!.metadata)['00420011']).toEqual({ vr: 'OB', BulkDataURI: '~/00420011' });
    expect(c?.frames).toMatchObject({ kind: 'deflated', count: 2 });
  });

  it('holding one large instance is not kept in memory: its frames are found by ranged reads', async () => {
    const frames = Array.from({ length: 9 }, () => randomBytes(1_100_000));
    const file = stored({
      ...series,
      transferSyntaxUid: '1.2.840.10008.1.2.4.50',
      frames: 9,
      pixels: frames,
      offsetTable: 'empty',
    });
    const store = storeOf(zip([file]));
    const { manifest } = await inspectPack(store, packKey('hospital', ref), { tenant: 'hospital', ref });
    expect(manifest.entries[0]?.frames).toMatchObject({ kind: 'encapsulated', frames: { length: 9 } });
    expect(store.reads).toBeGreaterThan(0);
  });

  it('with UIDs that are none is checked against what stands for them in its key', async () => {
    const odd = { studyInstanceUid: 'no uid', seriesInstanceUid: '../x' };
    const bytes = zip([stored({ ...odd, sopInstanceUid: 'neither' })]);
    const key = packKey('hospital', { ...odd, packId });
    const { instances } = await inspectPack(storeOf(bytes), key, { tenant: 'hospital', ref: { ...odd, packId } });
    expect(instances[0]).toMatchObject(odd);
  });
});

describe('a pack is refused', () => {
  const good = (): File[] => [stored(series), stored(series)];

  it.each([
    ['that is empty', 'damaged', () => zip([])],
    ['that is no ZIP file', 'damaged', () => randomBytes(1000)],
    ['that is cut', 'damaged', () => zip(good()).subarray(0, -1)],
    [
      'with a byte changed',
      'damaged',
      () => {
        const bytes = zip(good());
        bytes[bytes.length >> 1]! ^= 1;
        return bytes;
      },
    ],
    [
      'with an entry twice',
      'damaged',
      () => {
        const file = stored(series);
        return zip([file, file]);
      },
    ],
    [
      'with an instance of another series',
      'identity-mismatch',
      () => zip([...good(), stored({ ...series, seriesInstanceUid: freshUid() })]),
    ],
    [
      'with an instance of another study',
      'identity-mismatch',
      () => zip([stored({ ...series, studyInstanceUid: freshUid() })]),
    ],
    ['with an instance under another name', 'identity-mismatch', () => zip([{ ...stored(series), name: '1.2.3.dcm' }])],
    ['with an entry that is not DICOM', 'bad-dicom', () => zip([{ name: '1.2.3.dcm', bytes: randomBytes(2000) }])],
    ['with an empty entry', 'bad-dicom', () => zip([{ name: '1.2.3.dcm', bytes: new Uint8Array() }])],
    [
      'with an instance that does not say who it is',
      'bad-dicom',
      () => zip([stored({ ...series, without: [0x00080018] })]),
    ],
    [
      'with a data set that has no File Meta',
      'bad-dicom',
      () => zip([{ name: '1.2.3.dcm', bytes: makeInstance(series).dataSet }]),
    ],
  ])('%s', async (_, code, make) => {
    await expect(inspect(make())).rejects.toMatchObject({ code });
  });

  it('that is not what was announced', async () => {
    const bytes = zip(good());
    await expect(inspect(bytes, { lengthBytes: bytes.length - 1 })).rejects.toMatchObject({
      code: 'checksum-mismatch',
    });
    await expect(inspect(bytes, { sha256: sha256(randomBytes(1)) })).rejects.toMatchObject({
      code: 'checksum-mismatch',
    });
  });
});

describe.skipIf(samplesFolder() === undefined)('real files', () => {
  it('can all be packed and inspected', async () => {
    const kinds = new Map<string, number>();
    for (const path of sampleFiles('transfer-syntaxes').concat(
      sampleFiles('modalities'),
      sampleFiles('charsets'),
      sampleFiles('multiframe'),
    )) {
      const file = readFileSync(path);
      let header: ReturnType<typeof readHeader>;
      try {
        header = readHeader(file);
      } catch {
        continue;
      }
      const { dataSet, transferSyntax, dataSetOffsetBytes } = header;
      const uid = (tag: number): string => dataSet.ascii(tag) ?? '';
      const [studyInstanceUid, seriesInstanceUid, sopInstanceUid] = [uid(0x0020000d), uid(0x0020000e), uid(0x00080018)];
      if (studyInstanceUid === '' || seriesInstanceUid === '' || sopInstanceUid === '') continue;
      const meta = encodeFileMeta({
        sopClassUid: uid(0x00080016),
        sopInstanceUid,
        transferSyntaxUid: transferSyntax.uid,
      });
      const bytes = zip([
        { name: entryNameOf(sopInstanceUid), bytes: Buffer.concat([meta, file.subarray(dataSetOffsetBytes)]) },
      ]);
      const real = { studyInstanceUid, seriesInstanceUid, packId };
      const { manifest, instances } = await inspectPack(storeOf(bytes, 512 * 1024), packKey('hospital', real), {
        tenant: 'hospital',
        ref: real,
      });
      expect(instances[0]?.digest).toBe(sha256(file.subarray(dataSetOffsetBytes)));
      const [entry] = manifest.entries;
      expect(() => JSON.parse(entry!.metadata)).not.toThrow();
      kinds.set(entry!.frames.kind, (kinds.get(entry!.frames.kind) ?? 0) + 1);
    }
    console.info('frames found in real files:', Object.fromEntries(kinds));
    expect(kinds.get('native') ?? 0).toBeGreaterThan(10);
    expect(kinds.get('encapsulated') ?? 0).toBeGreaterThan(10);
  });
});
