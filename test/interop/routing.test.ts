/**
 * Compressed images on their way to AEs that take native pixels alone: DCMTK's storescu sends them, the gateway routes them to
 * a storescp that takes Implicit VR Little Endian and nothing else, movescu and getscu ask for them; what arrives is compared with what DCMTK's own decompressors make.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Header, readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import type { Codec } from '#shared/dicom/transfer-syntax.ts';
import { filesBelow, samplesFolder } from '#test/support/samples.ts';
import { freePorts, type System, startSystem, until } from '#test/support/system.ts';
import { hasPrograms, pairsOf, run, Storescp, storescu, writeAcceptorProfile, writeRequestorProfile } from './dcmtk.ts';

const IMPLICIT = '1.2.840.10008.1.2';
const EXPLICIT = '1.2.840.10008.1.2.1';
const folders = ['rle', 'jpeg', 'jpeg-ls', 'jpeg2000', 'htj2k'].map((name) => `transfer-syntaxes/${name}`);
const samples = samplesFolder();
const isPossible =
  samples !== undefined && hasPrograms('storescu', 'storescp', 'movescu', 'getscu', 'dcmdjpeg', 'dcmdrle', 'dcmdjpls');
/** DCMTK has none for JPEG 2000: those are held against the references of the samples in the tests of the decoders. */
const decompressors: Partial<Record<Codec, string>> = {
  rle: 'dcmdrle',
  jpeg: 'dcmdjpeg',
  'jpeg-lossless': 'dcmdjpeg',
  'jpeg-ls': 'dcmdjpls',
};

interface Image {
  readonly file: string;
  readonly header: Header;
  readonly pixels: Buffer;
}

function open(file: string): Image {
  const bytes = readFileSync(file);
  const header = readHeader(bytes);
  const { offsetBytes = 0, lengthBytes = 0 } = header.pixelData ?? {};
  return { file, header, pixels: bytes.subarray(offsetBytes, offsetBytes + lengthBytes) };
}
const uidOf = ({ header }: Image): string => header.dataSet.ascii(Tag.SOPInstanceUID) ?? '';
const byUid = (files: readonly string[]): Map<string, Image> =>
  new Map(files.map(open).map((image) => [uidOf(image), image]));

describe.skipIf(!isPossible)('compressed images for receivers of native ones', () => {
  let work: string;
  let system: System;
  let port: number;
  let runs = 0;
  /** What the gateway took, by SOP Instance UID: the first of each is current. */
  let sent: Map<string, Image>;
  let classes: Set<string>;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-routing-'));
    const roots = folders.map((folder) => join(samples ?? '', folder));
    const pairs = pairsOf(roots.flatMap((root) => filesBelow(root)));
    classes = new Set([...pairs.values()].flatMap((found) => [...found]));
    writeRequestorProfile(join(work, 'scu.cfg'), pairs);
    writeAcceptorProfile(join(work, 'implicit.cfg'), new Map([[IMPLICIT, classes]]));
    [port] = (await freePorts(1)) as [number];
    const settings = [
      '[[remoteAes]]',
      'aeTitle = "NATIVE"',
      'host = "127.0.0.1"',
      `port = ${port}`,
      '[[routes]]',
      'to = "NATIVE"',
      'callingAeTitles = ["STORESCU"]',
    ];
    writeFileSync(join(work, 'settings.toml'), `${settings.join('\n')}\n`);
    const environment = { ARCHIPEL_EDGE_SETTINGS: join(work, 'settings.toml') };
    system = await startSystem({ folder: join(work, 'data'), environment });
    const profile = ['-xf', join(work, 'scu.cfg'), 'ALL', '+sd', '+r', ...roots];
    const { sent: all } = await storescu(system.dicomPort, profile);
    sent = new Map();
    for (const { file, answer } of all) {
      const image = open(file);
      if (answer === 'Success' && !sent.has(uidOf(image))) sent.set(uidOf(image), image);
    }
    expect(sent.size).toBeGreaterThan(20);
  }, 120_000);
  afterAll(async () => {
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  const newFolder = (): string => {
    const folder = join(work, `run${runs++}`);
    mkdirSync(folder);
    return folder;
  };
  const filesIn = (folder: string): string[] => readdirSync(folder).map((name) => join(folder, name));

  /** What DCMTK makes of it; undefined where it cannot. */
  async function theirs({ file, header }: Image): Promise<Image | undefined> {
    const program = decompressors[header.transferSyntax.codec];
    const native = join(newFolder(), 'native.dcm');
    if (program === undefined || (await run(program, [file, native])).code !== 0) return undefined;
    return open(native);
  }

  async function expectNative(got: ReadonlyMap<string, Image>, transferSyntaxUid = IMPLICIT): Promise<void> {
    expect([...got.keys()].sort()).toEqual([...sent.keys()].sort());
    let compared = 0;
    for (const [uid, source] of sent) {
      const image = got.get(uid);
      if (image === undefined) throw new Error(`${source.file} did not arrive`);
      const { dataSet, transferSyntax } = image.header;
      expect(transferSyntax.uid).toBe(transferSyntaxUid);
      if (source.header.dataSet.ascii(0x00282110) === '01') expect(dataSet.ascii(0x00282110)).toBe('01');
      const reference = await theirs(source);
      if (reference === undefined) continue;
      compared++;
      expect(dataSet.ascii(Tag.PhotometricInterpretation), source.file).toBe(
        reference.header.dataSet.ascii(Tag.PhotometricInterpretation),
      );
      expect(image.pixels.length, source.file).toBe(reference.pixels.length);
      if (source.header.transferSyntax.codec !== 'jpeg')
        expect(image.pixels.equals(reference.pixels), source.file).toBe(true);
      else expect(difference(image, reference), source.file).toBeLessThan(1.5);
    }
    expect(compared).toBeGreaterThan(15);
  }

  it('are routed to storescp, which comes after the gateway was killed', async () => {
    await system.killGateway();
    await system.waitUntilUp();
    const folder = newFolder();
    const scp = await Storescp.start(port, join(work, 'implicit.cfg'), folder);
    await until(
      () => `${sent.size} images; there are ${readdirSync(folder).length}`,
      120_000,
      async () => readdirSync(folder).length >= sent.size,
    );
    await expectNative(byUid(await scp.stop()));
  });

  it('movescu has them sent to storescp', async () => {
    const folder = newFolder();
    const scp = await Storescp.start(port, join(work, 'implicit.cfg'), folder);
    const keys = ['-k', 'QueryRetrieveLevel=IMAGE', '-k', `SOPInstanceUID=${[...sent.keys()].join('\\')}`];
    const to = ['-v', '-S', '-aec', 'ARCHIPEL', '-aem', 'NATIVE', ...keys, '127.0.0.1', String(system.dicomPort)];
    const { text } = await run('movescu', to);
    expect(text).toMatch(/Received Final Move Response \(Success\)/);
    await expectNative(byUid(await scp.stop()));
  });

  it('getscu gets them', async () => {
    const folder = newFolder();
    const keys = ['-k', 'QueryRetrieveLevel=IMAGE', '-k', `SOPInstanceUID=${[...sent.keys()].join('\\')}`];
    const parameters = ['-S', '+B', '-aec', 'ARCHIPEL', '-od', folder, ...keys];
    const { code, text } = await run('getscu', [...parameters, '127.0.0.1', String(system.dicomPort)]);
    expect(code, text).toBe(0);
    await expectNative(byUid(filesIn(folder)), EXPLICIT);
  });
});

/** The mean of how far samples are apart: decoders of lossy JPEG may differ by a little. */
function difference(a: Image, b: Image): number {
  const width = (a.header.dataSet.number(Tag.BitsAllocated) ?? 8) / 8;
  let sum = 0;
  for (let at = 0; at + width <= a.pixels.length; at += width)
    sum += Math.abs(a.pixels.readUIntLE(at, width) - b.pixels.readUIntLE(at, width));
  return sum / (a.pixels.length / width);
}
