/**
 * DCMTK sends every sample that it can send, and Archipel keeps each as it came. The same storescu first sends them to
 * DCMTK's own `storescp +B`: what arrives there is what has to come back from the cloud, and what it took is what we must take.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identityOf } from '#shared/archive/instance-reader.ts';
import type { InstanceRef } from '#shared/archive/records.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { dataSetOffsetOf, pathOf, sha256 } from '#test/support/dicomweb-client.ts';
import { filesBelow, samplesFolder, soundFolders } from '#test/support/samples.ts';
import { freePorts, type System, startSystem } from '#test/support/system.ts';
import { packsBelow } from '../faults/verdict.ts';
import {
  hasPrograms,
  pairsOf,
  run,
  type Sent,
  Storescp,
  storescu,
  writeAcceptorProfile,
  writeRequestorProfile,
} from './dcmtk.ts';

const MAX_DELAY_MS = 10_000;
const samples = samplesFolder();
const isPossible = samples !== undefined && hasPrograms('storescu', 'storescp', 'dcmdump', 'unzip');

/** One version of an instance, as storescp wrote it down. */
interface Version {
  readonly ref: InstanceRef;
  readonly digest: string;
}

const keyOf = (ref: InstanceRef): string => pathOf(ref);
/** Wrong on purpose: a definite answer is all that is asked. */
const isBroken = (file: string): boolean =>
  relative(samples ?? '', file)
    .split('/')
    .includes('broken');

describe.skipIf(!isPossible)('DCMTK storescu', () => {
  let work: string;
  let system: System;
  let arguments_: string[];
  /** What DCMTK could send to itself, in order. */
  let possible: Sent[];
  let versions: (Version | undefined)[];
  let answered: Sent[];
  let elapsedMs: number;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-dcmtk-'));
    const roots = soundFolders.map((folder) => join(samples ?? '', folder));
    const pairs = pairsOf(roots.flatMap((root) => filesBelow(root)));
    writeRequestorProfile(join(work, 'scu.cfg'), pairs);
    writeAcceptorProfile(join(work, 'scp.cfg'), pairs);
    arguments_ = ['-xf', join(work, 'scu.cfg'), 'ALL', '+sd', '+r', ...roots];
    mkdirSync(join(work, 'theirs'));
    const [port] = (await freePorts(1)) as [number];
    const scp = await Storescp.start(port, join(work, 'scp.cfg'), join(work, 'theirs'));
    const reference = await storescu(port, arguments_);
    const written = await scp.stop();
    possible = reference.sent.filter(({ answer }) => answer === 'Success');
    expect(written.length).toBe(possible.length);
    versions = written.map(versionOf);
    system = await startSystem({ folder: join(work, 'data') });
  });
  afterAll(async () => {
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  /** Undefined for what cannot be identified. */
  function versionOf(path: string): Version | undefined {
    const bytes = readFileSync(path);
    try {
      const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identityOf(readHeader(bytes));
      const ref = { studyInstanceUid, seriesInstanceUid, sopInstanceUid };
      return { ref, digest: sha256(bytes.subarray(dataSetOffsetOf(bytes))) };
    } catch {
      return undefined;
    }
  }

  /** The versions of each instance that were answered Success, each digest once, in the order of their arrival. */
  function expected(): Map<string, Version[]> {
    const found = new Map<string, Version[]>();
    const answers = new Map(answered.map(({ file, answer }) => [file, answer]));
    for (const [i, version] of versions.entries()) {
      const { file } = possible[i]!;
      if (answers.get(file) !== 'Success') continue;
      if (version === undefined) throw new Error(`${file} was answered Success and cannot be identified`);
      const others = found.get(keyOf(version.ref)) ?? [];
      if (!others.some(({ digest }) => digest === version.digest)) others.push(version);
      found.set(keyOf(version.ref), others);
    }
    return found;
  }

  it('is answered Success for every instance that it can send', async () => {
    const startedAtMs = performance.now();
    answered = (await storescu(system.dicomPort, arguments_)).sent;
    elapsedMs = performance.now() - startedAtMs;
    const answers = new Map(answered.map(({ file, answer }) => [file, answer]));
    const table = soundFolders.map((folder) => {
      const files = possible.filter(({ file }) => relative(samples ?? '', file).startsWith(`${folder}/`));
      const accepted = files.filter(({ file }) => answers.get(file) === 'Success');
      return `  ${folder.padEnd(18)} ${String(files.length).padStart(4)} sent, ${String(accepted.length).padStart(4)} Success`;
    });
    console.log([`DCMTK storescu +sd +r (${Math.round(elapsedMs)} ms)`, ...table].join('\n'));
    const refused = possible.filter(({ file }) => answers.get(file) !== 'Success');
    for (const { file } of refused) console.log(`  ${file}: ${answers.get(file)}`);
    expect(refused.filter(({ file }) => !isBroken(file))).toEqual([]);
    expect(refused.filter(({ file }) => answers.get(file) === undefined)).toEqual([]);
  });

  it('finds all of it in the cloud within 10 s, with right counts at all levels', async () => {
    const instances = [...expected().values()].map(([first]) => first!.ref);
    const count = [...expected().values()].reduce((sum, found) => sum + found.length, 0);
    const startedAtMs = performance.now();
    await system.waitUntilArchived(count, 60_000);
    const delayMs = performance.now() - startedAtMs;
    console.log(
      `archived ${Math.round(delayMs)} ms after the last one: ${count} versions of ${instances.length} instances`,
    );
    expect(delayMs).toBeLessThan(MAX_DELAY_MS);

    const studies = await system.dicomweb.searchAll('/studies');
    const byStudy = Map.groupBy(instances, (ref) => ref.studyInstanceUid);
    expect(studies.length).toBe(byStudy.size);
    for (const study of studies) {
      const uid = study['0020000D']?.Value?.[0] as string;
      const own = byStudy.get(uid) ?? [];
      const bySeries = Map.groupBy(own, (ref) => ref.seriesInstanceUid);
      expect([study['00201206']?.Value?.[0], study['00201208']?.Value?.[0]], uid).toEqual([bySeries.size, own.length]);
      const series = await system.dicomweb.searchAll(`${pathOf({ studyInstanceUid: uid })}/series`);
      const counts = series.map((json) => [json['0020000E']?.Value?.[0], json['00201209']?.Value?.[0]]);
      expect(new Map(counts as [string, number][])).toEqual(
        new Map([...bySeries].map(([seriesUid, refs]) => [seriesUid, refs.length])),
      );
    }
    const found = await system.dicomweb.searchAll('/instances');
    expect(found.map((json) => json['00080018']?.Value?.[0]).sort()).toEqual(
      instances.map((ref) => ref.sopInstanceUid).sort(),
    );
  });

  it('gets each back with its data set bytes as they were sent, conflicts by their digest', async () => {
    const wrong: string[] = [];
    let conflicts = 0;
    const waiting = [...expected().values()];
    const worker = async (): Promise<void> => {
      for (let found = waiting.pop(); found !== undefined; found = waiting.pop()) {
        const [first, ...others] = found as [Version, ...Version[]];
        const current = await system.dicomweb.dataSetDigest(first.ref).catch((error: Error) => error.message);
        if (typeof current === 'string' || current.digest !== first.digest)
          wrong.push(`${keyOf(first.ref)} ${current}`);
        for (const { ref, digest } of others) {
          conflicts++;
          const other = await system.dicomweb.dataSetDigest(ref, digest).catch((error: Error) => error.message);
          if (typeof other === 'string' || other.digest !== digest) wrong.push(`${keyOf(ref)} ${digest}: ${other}`);
        }
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    console.log(`${expected().size} instances and ${conflicts} conflicting versions came back; wrong: ${wrong.length}`);
    expect(wrong).toEqual([]);
    expect(conflicts).toBeGreaterThan(0);
  });

  it('sends it all again, and nothing changes', async () => {
    const before = await system.status();
    const again = (await storescu(system.dicomPort, arguments_)).sent;
    expect(again).toEqual(answered);
    const after = await system.waitUntilArchived(before.packs.archived.instances, 30_000);
    expect(after.packs).toEqual(before.packs);
  });

  it('needs no profile: storescu +sd +r as the start page prints it', async () => {
    const { sent } = await storescu(system.dicomPort, ['+sd', '+r', join(samples ?? '', 'series-ct')]);
    expect(sent.length).toBeGreaterThan(100);
    expect(sent.filter(({ answer }) => answer !== 'Success')).toEqual([]);
  });

  it('leaves packs that unzip tests and takes apart, and dcmdump opens what was in them', async () => {
    const packs = packsBelow(join(work, 'data', 'cloud', 'packs'));
    expect(packs.length).toBeGreaterThan(10);
    const taken = join(work, 'unzipped');
    mkdirSync(taken);
    for (const [i, pack] of packs.entries()) {
      const test = await run('unzip', ['-t', '-q', pack]);
      expect(test.code, `${basename(pack)}: ${test.text}`).toBe(0);
      const out = await run('unzip', ['-q', '-o', pack, '-d', join(taken, String(i))]);
      expect(out.code, `${basename(pack)}: ${out.text}`).toBe(0);
    }
    const files = filesBelow(taken);
    expect(files.length).toBe([...expected().values()].reduce((sum, found) => sum + found.length, 0));
    const dump = await run('dcmdump', ['+sd', '+r', '+P', 'SOPInstanceUID', taken]);
    expect(dump.text.split('\n').filter((line) => /^[EF]:/.test(line))).toEqual([]);
    expect(dump.code).toBe(0);
    console.log(`${packs.length} packs pass unzip -t, ${files.length} files open in dcmdump`);
  });
});
