/**
 * STOW-RS by curl: files as they lie in a folder, in one request, and what was answered to them; and which instances those files are.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import { identityOf } from '#shared/archive/instance-reader.ts';
import type { InstanceRef } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { type DicomwebClient, sha256 } from '#test/support/dicomweb-client.ts';
import { filesBelow, samplesFolder, soundFolders } from '#test/support/samples.ts';
import { run } from './dcmtk.ts';

/** Undefined for what nobody can identify. */
export function versionOf(file: string): { ref: InstanceRef; digest: string } | undefined {
  const bytes = readFileSync(file);
  try {
    const header = readHeader(bytes);
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identityOf(header);
    const digest = sha256(bytes.subarray(header.dataSetOffsetBytes));
    return { ref: { studyInstanceUid, seriesInstanceUid, sopInstanceUid }, digest };
  } catch {
    return undefined;
  }
}

const isBroken = (file: string): boolean =>
  relative(samplesFolder() ?? '', file)
    .split('/')
    .includes('broken');

/** Sends every sound sample, a folder to a request, gets each back, and prints a table. @param work a folder for files of its own */
export async function storeSamples(dicomweb: DicomwebClient, work: string): Promise<void> {
  const samples = samplesFolder();
  if (samples === undefined) throw new Error('there are no samples');
  const table: string[] = [];
  for (const folder of soundFolders) {
    const files = filesBelow(join(samples, folder)).filter((file) => !isBroken(file));
    const config = join(work, 'curl.txt');
    const forms = files.map((file) => `form = "file=@\\"${file}\\";type=application/dicom"`);
    writeFileSync(config, forms.join('\n'));
    const answerFile = join(work, 'answer.json');
    const startedAtMs = performance.now();
    const curl = await run('curl', [
      ...['-sS', '-o', answerFile, '-w', '%{http_code}', '-K', config],
      ...['-H', 'Content-Type: multipart/related; type="application/dicom"', '-H', 'Accept: application/dicom+json'],
      `${dicomweb.baseUrl}/studies`,
    ]);
    const elapsedMs = performance.now() - startedAtMs;
    const json = JSON.parse(readFileSync(answerFile, 'utf8')) as DicomJson;
    const count = (key: string): number => json[key]?.Value?.length ?? 0;
    const versions = files.map((file) => versionOf(file));
    const [stored, failed, unknown] = [count('00081199'), count('00081198'), count('0008119A')];
    const conflicts = ((json['00081199']?.Value ?? []) as DicomJson[]).filter((item) => item['00081196'] !== undefined);
    const size = files.reduce((sum, file) => sum + readFileSync(file).length, 0);
    table.push(
      `  ${folder.padEnd(18)} ${curl.text}  ${String(files.length).padStart(4)} sent, ${String(stored).padStart(4)} stored (${conflicts.length} beside another), ${failed + unknown} refused, ${Math.round(elapsedMs)} ms, ${Math.round(size / 1e3 / elapsedMs)} MB/s`,
    );
    expect(stored).toBe(versions.filter((version) => version !== undefined).length);
    expect(stored + failed + unknown).toBe(files.length);
    expect(curl.text).toBe(stored === files.length && conflicts.length === 0 ? '200' : '202');
    for (const version of versions) {
      if (version === undefined) continue;
      expect((await dicomweb.dataSetDigest(version.ref, version.digest)).digest).toBe(version.digest);
    }
  }
  console.log(['curl, multipart/related', ...table].join('\n'));
}
