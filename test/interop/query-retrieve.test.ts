/**
 * DCMTK asks the gateway: findscu for names in every script and for counts, getscu and movescu for the bytes. What findscu gets is
 * compared as bytes with what the files hold, so that our own decoding does not judge itself.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendFiles } from '#edge-gateway/dimse/send.ts';
import { identityOf } from '#shared/archive/instance-reader.ts';
import { latin1 } from '#shared/dicom/data-set.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type Header, readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { dataSetOffsetOf, sha256 } from '#test/support/dicomweb-client.ts';
import { filesBelow, samplesFolder, sampleTable } from '#test/support/samples.ts';
import { freePorts, type System, startSystem, until } from '#test/support/system.ts';
import { hasPrograms, pairsOf, run, Storescp, writeAcceptorProfile } from './dcmtk.ts';

const folders = [
  'charsets',
  'generated/charsets',
  'series-ct/phantom-tilt',
  'transfer-syntaxes/rle',
  'transfer-syntaxes/uncompressed',
];
const samples = samplesFolder();
const isPossible = samples !== undefined && hasPrograms('storescp', 'findscu', 'getscu', 'movescu');

interface Stored {
  readonly file: string;
  readonly header: Header;
  readonly ref: ReturnType<typeof identityOf>;
  readonly digest: string;
}

describe.skipIf(!isPossible)('DCMTK asks the gateway', () => {
  let work: string;
  let system: System;
  let scpPort: number;
  let runs = 0;
  /** The first of each SOP Instance UID that was answered Success: what is current. */
  let stored: Stored[];

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-query-'));
    const roots = folders.map((folder) => join(samples ?? '', folder));
    const files = roots.flatMap((root) => filesBelow(root));
    writeAcceptorProfile(join(work, 'scp.cfg'), pairsOf(files));
    [scpPort] = (await freePorts(1)) as [number];
    const environment = { ARCHIPEL_EDGE_REMOTE_AES: `STORESCP=127.0.0.1:${scpPort}` };
    system = await startSystem({ folder: join(work, 'data'), environment });
    // Not by storescu, which re-encodes some of them as it reads.
    const sent: string[] = [];
    await sendFiles({
      host: '127.0.0.1',
      port: system.dicomPort,
      callingAeTitle: 'SENDER',
      calledAeTitle: 'ARCHIPEL',
      files,
      onResult: ({ file, status }) => {
        if (status === 0) sent.push(file);
      },
    });
    const found = new Map<string, Stored>();
    for (const file of sent) {
      const bytes = readFileSync(file);
      const header = readHeader(bytes);
      const ref = identityOf(header);
      const key = Object.values(ref).join(' ');
      if (!found.has(key))
        found.set(key, { file, header, ref, digest: sha256(bytes.subarray(dataSetOffsetOf(bytes))) });
    }
    stored = [...found.values()];
    expect(stored.length).toBeGreaterThan(60);
    // The index follows the acknowledgement.
    await until('the index to know all that was stored', 10_000, async () => {
      const studies = await findscu('STUDY', ['-k', 'NumberOfStudyRelatedInstances']);
      return sum(studies.map(({ json }) => numberOf(json, '00201208'))) === stored.length;
    });
  }, 120_000);
  afterAll(async () => {
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  const sum = (numbers: readonly number[]): number => numbers.reduce((all, number) => all + number, 0);
  const numberOf = (json: DicomJson, tag: string): number => Number(json[tag]?.Value?.[0] ?? 0);
  const newFolder = (): string => {
    const folder = join(work, `run${runs++}`);
    mkdirSync(folder);
    return folder;
  };

  interface Answer {
    readonly header: Header;
    readonly json: DicomJson;
  }

  async function findscu(level: string, keys: readonly string[], model = '-S'): Promise<Answer[]> {
    const folder = newFolder();
    const asked = ['-aec', 'ARCHIPEL', model, '-X', '-od', folder, '-k', `QueryRetrieveLevel=${level}`, ...keys];
    const { code, text } = await run('findscu', [...asked, '127.0.0.1', String(system.dicomPort)]);
    expect(code, text).toBe(0);
    return readdirSync(folder)
      .sort()
      .map((name) => {
        const header = readHeader(readFileSync(join(folder, name)));
        return { header, json: toDicomJson(header.dataSet) };
      });
  }

  /** One row to a study, with the name that it must show. */
  function names(): { study: string; terms: string; name: string; own: Uint8Array | undefined }[] {
    const byFile = new Map(stored.map((one) => [one.file, one]));
    return sampleTable('CHARSETS.csv').flatMap((row) => {
      const found = byFile.get(join(samples ?? '', row.file ?? ''));
      const name = row.patient_name ?? '';
      if (found === undefined || name === '') return [];
      const own = found.header.dataSet.get(Tag.PatientName)?.value;
      return [{ study: found.ref.studyInstanceUid, terms: row.specific_character_set ?? '', name, own }];
    });
  }

  /** Padding, a return to ASCII and empty component groups at the very end say nothing (PS3.5 §6.2.1). */
  function trimmed(value: Uint8Array | undefined): string {
    const text = value === undefined ? '' : latin1(value, 0, value.length);
    const idle = [' ', '\0', '=', '\u001b(B'].find((end) => text.endsWith(end));
    return idle === undefined ? text : trimmed(value?.subarray(0, text.length - idle.length));
  }

  it('findscu gets each name in UTF-8, byte by byte, when it names no character set', async () => {
    const answers = await findscu('STUDY', ['-k', 'StudyInstanceUID', '-k', 'PatientName']);
    const byStudy = new Map(answers.map(({ header }) => [header.dataSet.ascii(Tag.StudyInstanceUID), header]));
    const expected = names();
    expect(expected.length).toBeGreaterThan(18);
    for (const { study, name } of expected) {
      const header = byStudy.get(study);
      const value = header?.dataSet.get(Tag.PatientName)?.value;
      expect(
        Buffer.from(value ?? [])
          .toString('utf8')
          .trimEnd(),
      ).toBe(name);
      expect(header?.dataSet.ascii(Tag.SpecificCharacterSet)).toBe('ISO_IR 192');
    }
  });

  it('findscu gets each name in the character set of its object, as the object has it, when it asks for that', async () => {
    for (const { study, terms, own } of names()) {
      const keys = ['-k', `SpecificCharacterSet=${terms}`, '-k', `StudyInstanceUID=${study}`, '-k', 'PatientName'];
      const [answer, ...more] = await findscu('STUDY', keys);
      expect(more).toEqual([]);
      expect(answer?.header.dataSet.ascii(Tag.SpecificCharacterSet), study).toBe(terms);
      expect(trimmed(answer?.header.dataSet.get(Tag.PatientName)?.value), terms).toBe(trimmed(own));
    }
  });

  it('findscu finds each by its name, whole or by its beginning', async () => {
    for (const { study, name } of names()) {
      for (const key of [name, `${[...name].slice(0, 2).join('')}*`]) {
        const keys = ['-k', 'SpecificCharacterSet=ISO_IR 192', '-k', `PatientName=${key}`, '-k', 'StudyInstanceUID'];
        const found = await findscu('STUDY', keys);
        expect(
          found.map(({ header }) => header.dataSet.ascii(Tag.StudyInstanceUID)),
          key,
        ).toContain(study);
      }
    }
  });

  it('findscu counts what there is at every level, in both models', async () => {
    const unique = (key: (one: Stored) => string) => new Set(stored.map(key)).size;
    const studies = unique(({ ref }) => ref.studyInstanceUid);
    const series = unique(({ ref }) => `${ref.studyInstanceUid} ${ref.seriesInstanceUid}`);
    for (const model of ['-S', '-P']) {
      const found = await findscu(
        'STUDY',
        ['-k', 'NumberOfStudyRelatedSeries', '-k', 'NumberOfStudyRelatedInstances'],
        model,
      );
      expect(found).toHaveLength(studies);
      expect(sum(found.map(({ json }) => numberOf(json, '00201206')))).toBe(series);
      expect(sum(found.map(({ json }) => numberOf(json, '00201208')))).toBe(stored.length);
    }
    const [first] = stored as [Stored];
    const ofStudy = stored.filter(({ ref }) => ref.studyInstanceUid === first.ref.studyInstanceUid);
    const study = ['-k', `StudyInstanceUID=${first.ref.studyInstanceUid}`];
    const inStudy = await findscu('SERIES', [
      ...study,
      '-k',
      'SeriesInstanceUID',
      '-k',
      'NumberOfSeriesRelatedInstances',
    ]);
    expect(sum(inStudy.map(({ json }) => numberOf(json, '00201209')))).toBe(ofStudy.length);
    const ct = stored.find(({ file }) => file.includes('phantom-tilt')) as Stored;
    const inIt = stored.filter(({ ref }) => ref.seriesInstanceUid === ct.ref.seriesInstanceUid);
    const inSeries = [
      '-k',
      `StudyInstanceUID=${ct.ref.studyInstanceUid}`,
      '-k',
      `SeriesInstanceUID=${ct.ref.seriesInstanceUid}`,
    ];
    expect(await findscu('IMAGE', [...inSeries, '-k', 'SOPInstanceUID'])).toHaveLength(inIt.length);
    const patients = await findscu(
      'PATIENT',
      ['-k', 'PatientID', '-k', 'PatientName', '-k', 'NumberOfPatientRelatedInstances'],
      '-P',
    );
    expect(sum(patients.map(({ json }) => numberOf(json, '00201204')))).toBe(stored.length);
  });

  it('findscu may stop in the middle', async () => {
    const { code, text } = await run('findscu', [
      '-v',
      '-aec',
      'ARCHIPEL',
      '-S',
      '--cancel',
      '2',
      '-k',
      'QueryRetrieveLevel=IMAGE',
      '-k',
      'SOPInstanceUID',
      '127.0.0.1',
      String(system.dicomPort),
    ]);
    expect(code, text).toBe(0);
    expect(text).toMatch(/Cancel|Success/);
  });

  async function getscu(parameters: readonly string[]): Promise<Map<string, { header: Header; digest: string }>> {
    const folder = newFolder();
    const { code, text } = await run('getscu', [
      '-S',
      '+B',
      '-aec',
      'ARCHIPEL',
      '-od',
      folder,
      ...parameters,
      '127.0.0.1',
      String(system.dicomPort),
    ]);
    expect(code, text).toBe(0);
    return received(readdirSync(folder).map((name) => join(folder, name)));
  }

  function received(files: readonly string[]): Map<string, { header: Header; digest: string }> {
    return new Map(
      files.map((file) => {
        const bytes = readFileSync(file);
        const header = readHeader(bytes);
        const digest = sha256(bytes.subarray(dataSetOffsetOf(bytes)));
        return [header.dataSet.ascii(Tag.SOPInstanceUID) ?? '', { header, digest }];
      }),
    );
  }

  it('getscu gets a series, each data set byte by byte', async () => {
    const [first] = stored.filter(({ file }) => file.includes('phantom-tilt')) as [Stored];
    const series = stored.filter(({ ref }) => ref.seriesInstanceUid === first.ref.seriesInstanceUid);
    const syntaxes = new Set(series.map(({ header }) => header.transferSyntax.uid));
    expect([...syntaxes]).toEqual(['1.2.840.10008.1.2.1']);
    const keys = ['-k', 'QueryRetrieveLevel=SERIES', '-k', `StudyInstanceUID=${first.ref.studyInstanceUid}`];
    const got = await getscu([...keys, '-k', `SeriesInstanceUID=${first.ref.seriesInstanceUid}`]);
    expect(got.size).toBe(series.length);
    for (const { ref, digest } of series) expect(got.get(ref.sopInstanceUid)?.digest).toBe(digest);
  });

  it('getscu gets what is compressed where it prefers that', async () => {
    const rle = stored.filter(({ header }) => header.transferSyntax.codec === 'rle');
    expect(rle.length).toBeGreaterThan(0);
    const uids = rle.map(({ ref }) => ref.sopInstanceUid).join('\\');
    const got = await getscu(['+xr', '-k', 'QueryRetrieveLevel=IMAGE', '-k', `SOPInstanceUID=${uids}`]);
    expect(new Map([...got].map(([uid, { digest }]) => [uid, digest]))).toEqual(
      new Map(rle.map(({ ref, digest }) => [ref.sopInstanceUid, digest])),
    );
  });

  /** Without private ones, whose VR is lost in Implicit VR. */
  const standard = (header: Header | undefined): DicomJson =>
    Object.fromEntries(
      Object.entries(header === undefined ? {} : toDicomJson(header.dataSet)).filter(
        ([key]) => Number.parseInt(key[3] ?? '0', 16) % 2 === 0,
      ),
    );
  const slices = (): Stored[] => stored.filter(({ file }) => file.includes('phantom-tilt')).slice(0, 10);

  it('getscu gets native ones in the other byte order, with the same attributes', async () => {
    const uids = slices().map(({ ref }) => ref.sopInstanceUid);
    const keys = ['-k', 'QueryRetrieveLevel=IMAGE', '-k', `SOPInstanceUID=${uids.join('\\')}`];
    const got = await getscu(['+xb', ...keys]);
    expect(got.size).toBe(uids.length);
    for (const { ref, header, file } of slices()) {
      const other = got.get(ref.sopInstanceUid)?.header;
      expect(other?.transferSyntax.uid).toBe('1.2.840.10008.1.2.2');
      expect(standard(other), file).toEqual(standard(header));
    }
  });

  const movescu = (to: string, keys: readonly string[]) =>
    run('movescu', ['-v', '-S', '-aec', 'ARCHIPEL', '-aem', to, ...keys, '127.0.0.1', String(system.dicomPort)]);

  it('movescu has everything sent to storescp, each data set byte by byte', async () => {
    const folder = newFolder();
    const scp = await Storescp.start(scpPort, join(work, 'scp.cfg'), folder);
    const studies = [...new Set(stored.map(({ ref }) => ref.studyInstanceUid))];
    const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', `StudyInstanceUID=${studies.join('\\')}`];
    const { code, text } = await movescu('STORESCP', keys);
    const files = await scp.stop();
    expect(code, text).toBe(0);
    expect(text).toMatch(/Received Final Move Response \(Success\)/);
    const digests = (all: Iterable<{ digest: string }>) => [...all].map(({ digest }) => digest).sort();
    expect(digests(received(files).values())).toEqual(digests(stored));
  });

  it('movescu has native ones sent in Implicit VR to a storescp that takes nothing else', async () => {
    const folder = newFolder();
    const classes = new Set(slices().map(({ header }) => header.dataSet.ascii(Tag.SOPClassUID) ?? ''));
    writeAcceptorProfile(join(work, 'implicit.cfg'), new Map([['1.2.840.10008.1.2', classes]]));
    const scp = await Storescp.start(scpPort, join(work, 'implicit.cfg'), folder);
    const uids = slices().map(({ ref }) => ref.sopInstanceUid);
    const keys = ['-k', 'QueryRetrieveLevel=IMAGE', '-k', `SOPInstanceUID=${uids.join('\\')}`];
    const { text } = await movescu('STORESCP', keys);
    const got = received(await scp.stop());
    expect(text).toMatch(/Received Final Move Response \(Success\)/);
    expect(got.size).toBe(uids.length);
    for (const { ref, header, file } of slices()) {
      const other = got.get(ref.sopInstanceUid)?.header;
      expect(other?.transferSyntax.uid).toBe('1.2.840.10008.1.2');
      expect(standard(other), file).toEqual(standard(header));
    }
  });

  it('movescu hears of a destination that is not in the table', async () => {
    const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', 'StudyInstanceUID=1.2.3'];
    const { text } = await movescu('NOBODY', keys);
    expect(text).toMatch(/MoveDestinationUnknown/);
  });
});
