/**
 * Every broken sample, its bytes sent as they are over our own SCU between good instances: a definite DIMSE status for each,
 * the process alive, and the rest of the batch stored.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Header, readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { isUid } from '#shared/dicom/uid.ts';
import { CT_IMAGE_STORAGE, freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { type Sendable, send } from '#test/support/sender.ts';
import { type System, startSystem } from '#test/support/system.ts';

const samples = samplesFolder();
const files = [...sampleFiles('broken'), ...sampleFiles('generated', 'broken')];
const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const SUCCESS = 0x0000;

/** File Meta as far as it can be read by somebody who trusts nothing, and where it ends. */
function fileMetaOf(bytes: Buffer): { elements: Map<number, string>; endBytes: number } {
  const elements = new Map<number, string>();
  let at = bytes.toString('latin1', 128, 132) === 'DICM' ? 132 : 0;
  while (at + 8 <= bytes.length && bytes.readUInt16LE(at) === 2) {
    const isLong = ['OB', 'OW', 'UN', 'UT', 'SQ'].includes(bytes.toString('latin1', at + 4, at + 6));
    if (isLong && at + 12 > bytes.length) break;
    const start = at + (isLong ? 12 : 8);
    const end = start + (isLong ? bytes.readUInt32LE(at + 8) : bytes.readUInt16LE(at + 6));
    if (end > bytes.length) break;
    elements.set(bytes.readUInt16LE(at + 2), bytes.toString('latin1', start, end).replace(/[\0 ]+$/, ''));
    at = end;
  }
  return { elements, endBytes: at };
}

function headerOf(bytes: Uint8Array): Header | undefined {
  try {
    return readHeader(bytes);
  } catch {
    return undefined;
  }
}

/** What a modality that has this file would send. An odd number of bytes cannot be sent: it gets one more. */
function sendableOf(file: string): Sendable {
  const bytes = readFileSync(file);
  const { elements, endBytes } = fileMetaOf(bytes);
  const firstUid = (...candidates: (string | undefined)[]): string | undefined =>
    candidates.find((text) => text !== undefined && isUid(text));
  const own = headerOf(bytes)?.dataSet;
  const dataSet = bytes.subarray(endBytes);
  return {
    sopClassUid: firstUid(own?.ascii(Tag.SOPClassUID), elements.get(0x0002)) ?? CT_IMAGE_STORAGE,
    ref: { sopInstanceUid: own?.ascii(Tag.SOPInstanceUID)?.slice(0, 64) ?? elements.get(0x0003) ?? freshUid() },
    transferSyntaxUid: firstUid(elements.get(0x0010), headerOf(bytes)?.transferSyntax.uid) ?? EXPLICIT_VR_LITTLE_ENDIAN,
    dataSet: dataSet.length % 2 === 0 ? dataSet : Buffer.concat([dataSet, Buffer.alloc(1)]),
  };
}

describe.skipIf(samples === undefined)('broken objects', () => {
  let folder: string;
  let system: System;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'archipel-broken-'));
    system = await startSystem({ folder });
  });
  afterAll(async () => {
    await system?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('get a definite answer each, and what stands between them is stored', async () => {
    const pid = system.gatewayPid();
    const good: MadeInstance[] = [];
    const table: string[] = [];
    let stored = 0;
    for (const file of files) {
      const one = makeInstance();
      good.push(one);
      const startedAtMs = performance.now();
      const [status, next] = await send(system.dicomPort, [sendableOf(file), one]);
      const ms = Math.round(performance.now() - startedAtMs);
      const text = `${(status ?? 0).toString(16).padStart(4, '0').toUpperCase()}H`;
      table.push(`  ${text} ${String(ms).padStart(5)} ms  ${relative(samples ?? '', file)}`);
      if (status === SUCCESS) stored++;
      expect(status, file).toBeTypeOf('number');
      expect(next, `what follows ${file}`).toBe(SUCCESS);
    }
    console.log(['broken objects', ...table].join('\n'));
    expect(system.gatewayPid()).toBe(pid);
    expect((await system.status()).health).toBe('ok');
    await system.waitUntilArchived(good.length, 60_000);
    const { packs } = await system.status();
    expect(packs.archived.instances).toBeGreaterThanOrEqual(good.length);
    expect(packs.archived.instances).toBeLessThanOrEqual(good.length + stored);
    for (const { ref, digest } of good) expect((await system.dicomweb.dataSetDigest(ref)).digest).toBe(digest);
  });

  it('leave the cloud able to search, and to answer for each of them with a sentence', async () => {
    const found = await system.dicomweb.searchAll('/instances');
    const problems: string[] = [];
    for (const json of found) {
      const [study, series, instance] = ['0020000D', '0020000E', '00080018'].map((key) =>
        encodeURIComponent(String(json[key]?.Value?.[0])),
      );
      const path = `/studies/${study}/series/${series}/instances/${instance}`;
      for (const resource of ['/metadata', '/rendered', '/frames/1']) {
        const response = await fetch(`${system.dicomweb.baseUrl}${path}${resource}`, {
          headers: { Accept: '*/*' },
          signal: AbortSignal.timeout(30_000),
        });
        const body = await response.text();
        const isDefinite = response.ok || (response.status >= 400 && response.status < 500 && body.length > 20);
        if (!isDefinite) problems.push(`${path}${resource}: ${response.status} ${body.slice(0, 200)}`);
      }
    }
    expect(found.length).toBeGreaterThan(files.length / 2);
    expect(problems).toEqual([]);
  });
});
