/**
 * What DCMTK's tools make, stored by curl and got back: pictures, PDF, CDA and text turned into DICOM, files changed, compressed and
 * written anew in every way that its tools have. The data set comes back as it was, and what can be drawn is drawn.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identityOf } from '#shared/archive/instance-reader.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, pathOf, sha256 } from '#test/support/dicomweb-client.ts';
import { type System, startSystem, until } from '#test/support/system.ts';
import { hasPrograms, run } from './dcmtk.ts';

const tools = ['img2dcm', 'dump2dcm', 'pdf2dcm', 'cda2dcm', 'dcmodify', 'dcmcjpeg', 'dcmcjpls', 'dcmcrle', 'dcmconv'];
const isPossible = hasPrograms('curl', ...tools);
const SIZE = 96;

/** The smallest PDF that is one. */
const PDF = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj
trailer<</Root 1 0 R>>
%%EOF
`;
const CDA = `<?xml version="1.0"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<id root="1.2.3.4"/><code code="11488-4" codeSystem="2.16.840.1.113883.6.1" displayName="Consultation note"/>
<title>Note</title><effectiveTime value="20240131"/><confidentialityCode code="N"/>
<component><nonXMLBody><text mediaType="text/plain">Nothing.</text></nonXMLBody></component>
</ClinicalDocument>
`;
const DUMP = `(0008,0016) UI =SecondaryCaptureImageStorage
(0008,0018) UI [1.2.826.0.1.3680043.10.1462.7.1]
(0008,0005) CS [ISO_IR 192]
(0008,0060) CS [OT]
(0010,0010) PN [Dump^Ängström]
(0010,0020) LO [DUMP]
(0020,000d) UI [1.2.826.0.1.3680043.10.1462.7.2]
(0020,000e) UI [1.2.826.0.1.3680043.10.1462.7.3]
(0028,0002) US 1
(0028,0004) CS [MONOCHROME2]
(0028,0010) US 2
(0028,0011) US 2
(0028,0100) US 8
(0028,0101) US 8
(0028,0102) US 7
(0028,0103) US 0
(7fe0,0010) OB 00\\40\\80\\ff
`;

interface Made {
  readonly name: string;
  readonly command: readonly string[];
  /** What `rendered` gives; undefined: not asked for. */
  readonly rendered: 'image/jpeg' | 'application/pdf' | undefined;
}

describe.skipIf(!isPossible)('what DCMTK makes', () => {
  let work: string;
  let system: System;
  const at = (name: string): string => join(work, name);

  /** The last parameter is the file that is made. */
  const makings = (): Made[] => {
    const image = 'image/jpeg' as const;
    const making = (name: string, rendered: Made['rendered'], ...command: string[]): Made => ({
      name,
      rendered,
      command: [...command, at(name)],
    });
    return [
      making('jpeg.dcm', image, 'img2dcm', at('in.jpg')),
      making('jpeg-vl.dcm', image, 'img2dcm', '-vlp', at('in.jpg')),
      making('progressive.dcm', image, 'img2dcm', at('progressive.jpg')),
      making('bmp.dcm', image, 'img2dcm', '-i', 'BMP', at('in.bmp')),
      making('pdf.dcm', 'application/pdf', 'pdf2dcm', '+g', at('in.pdf')),
      making('cda.dcm', undefined, 'cda2dcm', '+g', at('in.xml')),
      making('dump.dcm', image, 'dump2dcm', at('in.dump')),
      making('implicit.dcm', image, 'dcmconv', '+ti', at('new-1.dcm')),
      making('big-endian.dcm', image, 'dcmconv', '+tb', at('new-2.dcm')),
      making('deflated.dcm', image, 'dcmconv', '+td', at('new-3.dcm')),
      making('undefined-lengths.dcm', image, 'dcmconv', '-e', at('new-4.dcm')),
      making('group-lengths.dcm', image, 'dcmconv', '+g=', at('new-5.dcm')),
      making('padded.dcm', image, 'dcmconv', '+p', '512', '64', at('new-6.dcm')),
      making('data-set-only.dcm', image, 'dcmconv', '-F', '+te', at('new-7.dcm')),
      making('rle.dcm', image, 'dcmcrle', at('new-8.dcm')),
      making('jpeg-lossless.dcm', image, 'dcmcjpeg', '+e1', at('new-9.dcm')),
      making('jpeg-baseline.dcm', image, 'dcmcjpeg', '+eb', at('bmp.dcm')),
      making('jpeg-extended.dcm', image, 'dcmcjpeg', '+ee', at('new-10.dcm')),
      making('jpeg-ls.dcm', image, 'dcmcjpls', '+el', at('new-11.dcm')),
      making('jpeg-ls-near.dcm', image, 'dcmcjpls', '+en', at('new-12.dcm')),
    ];
  };
  const NEW_FILES = 13;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-dcmtk-made-'));
    system = await startSystem({ folder: at('data') });
    const pixels = Buffer.from(Array.from({ length: SIZE * SIZE * 3 }, (_, i) => (i * 7) & 0xff));
    const picture = sharp(pixels, { raw: { width: SIZE, height: SIZE, channels: 3 } });
    await picture.clone().jpeg().toFile(at('in.jpg'));
    await picture.clone().jpeg({ progressive: true }).toFile(at('progressive.jpg'));
    writeFileSync(at('in.bmp'), bmpOf(pixels));
    writeFileSync(at('in.pdf'), PDF);
    writeFileSync(at('in.xml'), CDA);
    writeFileSync(at('in.dump'), DUMP);
    for (let i = 1; i <= NEW_FILES; i++) {
      const { file } = makeInstance({ rows: SIZE, columns: SIZE, bitsStored: 12, seriesNumber: i, pixels: shades() });
      writeFileSync(at(`new-${i}.dcm`), file);
    }
  });
  afterAll(async () => {
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  it('is stored by curl, comes back as it was, and is drawn', async () => {
    const table: string[] = [];
    for (const [i, { name, command, rendered }] of makings().entries()) {
      const [program = '', ...parameters] = command;
      const made = await run(program, parameters);
      expect(made.code, `${command.join(' ')}: ${made.text}`).toBe(0);
      // Half of them into the gateway, half into the cloud.
      table.push(`  ${name.padEnd(22)} ${await storedAndBack(at(name), i % 2 === 0 ? 'gateway' : 'cloud', rendered)}`);
    }
    console.log(['made by DCMTK', ...table].join('\n'));
  });

  it('is another instance, or a conflict that is kept, where dcmodify has changed it', async () => {
    const changed = at(`new-${NEW_FILES}.dcm`);
    await storedAndBack(changed, 'gateway', 'image/jpeg');
    const before = readFileSync(changed);
    expect((await run('dcmodify', ['-nb', '-m', '0010,0010=Changed^Name', changed])).code).toBe(0);
    const conflict = await curl(changed, 'gateway');
    expect(conflict.status).toBe(202);
    const [item] = (conflict.json['00081199']?.Value ?? []) as DicomJson[];
    expect(item?.['00081196']?.Value).toEqual([0xb00e]);
    const header = readHeader(before);
    const first = sha256(before.subarray(header.dataSetOffsetBytes));
    expect(sha256(await client('gateway').dataSet(identityOf(header)))).toBe(first);
    expect((await run('dcmodify', ['-nb', '-gin', '-i', '0008,103e=New', changed])).code).toBe(0);
    await storedAndBack(changed, 'gateway', 'image/jpeg');
  });

  const urlOf = (host: string): string => `${host === 'gateway' ? system.gatewayUrl : system.cloudUrl}/dicomweb`;
  const client = (host: string): DicomwebClient => new DicomwebClient(urlOf(host));

  async function curl(file: string, host: string): Promise<{ status: number; json: DicomJson }> {
    const answer = at('answer.json');
    const headers = ['-H', 'Content-Type: application/dicom', '-H', 'Accept: application/dicom+json'];
    const url = `${urlOf(host)}/studies`;
    const sent = await run('curl', [
      '-sS',
      '-o',
      answer,
      '-w',
      '%{http_code}',
      ...headers,
      '--data-binary',
      `@${file}`,
      url,
    ]);
    return { status: Number(sent.text), json: JSON.parse(readFileSync(answer, 'utf8')) as DicomJson };
  }

  async function storedAndBack(file: string, host: string, rendered: Made['rendered']): Promise<string> {
    const { status, json } = await curl(file, host);
    expect(status, `${file}: ${JSON.stringify(json)}`).toBe(200);
    const bytes = readFileSync(file);
    const header = readHeader(bytes);
    const ref = identityOf(header);
    await until(
      'it to be found',
      20_000,
      async () => (await client(host).search(`${pathOf(ref).replace(/\/[^/]+$/, '')}`)).length > 0,
    );
    const back = await client(host).dataSet(ref);
    const sent = bytes.subarray(header.dataSetOffsetBytes);
    expect(sha256(back), file).toBe(sha256(sent));
    const [metadata] = (await (await client(host).get(`${pathOf(ref)}/metadata`)).json()) as DicomJson[];
    expect(metadata?.['00080018']?.Value?.[0]).toBe(ref.sopInstanceUid);
    if (rendered !== undefined) {
      const response = await client(host).get(`${pathOf(ref)}/rendered`, rendered);
      expect(response.headers.get('content-type')).toBe(rendered);
      const start = Buffer.from(await response.arrayBuffer())
        .subarray(0, 4)
        .toString('latin1');
      expect(start.slice(0, 2)).toBe(rendered === 'image/jpeg' ? '\xff\xd8' : '%P');
    }
    return `${header.transferSyntax.uid}, ${bytes.length} bytes, ${host}`;
  }
});

/** 12 bits from dark to bright. */
function shades(): Uint8Array {
  const bytes = Buffer.alloc(SIZE * SIZE * 2);
  for (let i = 0; i < SIZE * SIZE; i++) bytes.writeUInt16LE((i * 4095) / (SIZE * SIZE), i * 2);
  return bytes;
}

/** 24 bits, bottom up. */
function bmpOf(rgb: Uint8Array): Buffer {
  const head = Buffer.alloc(54);
  head.write('BM');
  head.writeUInt32LE(54 + rgb.length, 2);
  head.writeUInt32LE(54, 10);
  head.writeUInt32LE(40, 14);
  head.writeInt32LE(SIZE, 18);
  head.writeInt32LE(SIZE, 22);
  head.writeUInt16LE(1, 26);
  head.writeUInt16LE(24, 28);
  return Buffer.concat([head, rgb]);
}
