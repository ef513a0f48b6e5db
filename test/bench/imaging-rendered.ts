/**
 * Rendered requests, whole and over HTTP, on the gateway and on Orthanc with its DICOMweb plugin, with one client and with eight: instances
 * of their own for each request of a round, so that nobody answers from a picture that was made before.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { type BenchFrame, EXPLICIT_LITTLE, frameIn, HTJ2K_RPCL, madeCt, madeMammogram, type Subject } from './imaging-frames.ts'; // biome-ignore format: one list
import { archipel, during, installed, orthanc, type RunningServer } from './servers.ts';
import { median, printRows } from './table.ts';
import { countOf, get, store, timesOf } from './web.ts';

const CLIENTS = [1, 8];
/** Files in one request to store. */
const BATCH = 10;

interface Series {
  readonly name: string;
  readonly files: readonly string[];
  readonly paths: readonly string[];
  readonly query: string;
}

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  try {
    const [ct, mammogram] = [madeCt(), madeMammogram()];
    await compare(folder, seriesOf(folder, 'CT 512 x 512, JPEG', await frameIn(ct, '', EXPLICIT_LITTLE), ct, 80));
    await compare(folder, seriesOf(folder, 'mammogram 3000 x 4000, JPEG', await frameIn(mammogram, '', EXPLICIT_LITTLE), mammogram, 8)); // biome-ignore format: one call
    const fit = 'viewport=750,1000';
    await compare(folder, seriesOf(folder, 'mammogram to fit 750 x 1000, JPEG', await frameIn(mammogram, '', EXPLICIT_LITTLE), mammogram, 8, fit)); // biome-ignore format: one call
    // Orthanc's plugin of Debian decodes no HTJ2K.
    const htj2k = await frameIn(mammogram, '', HTJ2K_RPCL);
    await compare(folder, seriesOf(folder, 'HTJ2K mammogram to fit 750 x 1000', htj2k, mammogram, 8, fit), [archipel]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function seriesOf(
  folder: string,
  name: string,
  { frame, transferSyntaxUid }: BenchFrame,
  { attributes }: Subject,
  count: number,
  query = '',
): Series {
  const { rows, columns, bitsStored, windows } = attributes;
  const [window] = windows;
  const studyInstanceUid = `2.25.91.${name.length}${count}`;
  const seriesInstanceUid = `${studyInstanceUid}.1`;
  const files: string[] = [];
  const paths: string[] = [];
  for (let i = 0; i < count; i++) {
    const sopInstanceUid = `${seriesInstanceUid}.${i + 1}`;
    const { file } = makeInstance({
      studyInstanceUid,
      seriesInstanceUid,
      sopInstanceUid,
      transferSyntaxUid,
      rows,
      columns,
      bitsStored,
      pixels: transferSyntaxUid === EXPLICIT_LITTLE ? frame : [frame],
      extra: [
        { tag: 0x00281050, vr: 'DS', value: String(window?.center) },
        { tag: 0x00281051, vr: 'DS', value: String(window?.width) },
      ],
    });
    const path = join(folder, `${sopInstanceUid}.dcm`);
    writeFileSync(path, file);
    files.push(path);
    paths.push(`/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}`);
  }
  return { name, files, paths, query };
}

async function compare(folder: string, series: Series, kinds = [archipel, orthanc]): Promise<void> {
  const figures: { readonly name: string; readonly times: readonly number[][] }[] = [];
  for (const kind of installed(kinds)) {
    const own = join(folder, kind.name);
    const times = await during(kind, { folder: own }, (server) => ask(server, series));
    rmSync(own, { recursive: true, force: true });
    if (times === undefined) console.log(`SKIPPED: ${kind.name} has no DICOMweb (package orthanc-dicomweb)`);
    else figures.push({ name: kind.name, times });
  }
  for (const [i, clients] of CLIENTS.entries()) {
    const rows = figures.map(({ name, times }) => ({ name, value: median(times[i] ?? []) }));
    printRows(`rendered, ${series.name}, ${clients} at once, median (aim: 5 x Orthanc at 8)`, 'ms', rows);
  }
}

async function ask(server: RunningServer, { files, paths, query }: Series): Promise<number[][] | undefined> {
  const { dicomweb } = server;
  if (dicomweb === undefined) return undefined;
  for (let i = 0; i < files.length; i += BATCH) await store(`${dicomweb}/studies`, files.slice(i, i + BATCH));
  const study = paths[0]!.slice(0, paths[0]!.indexOf('/series'));
  while ((await countOf(`${dicomweb}${study}/instances`)) < files.length)
    await new Promise((done) => setTimeout(done, 200));
  await server.atRest();
  const picture = (i: number): Promise<void> =>
    get(`${dicomweb}${paths[i % paths.length]}/frames/1/rendered${query === '' ? '' : `?${query}`}`, 'image/jpeg');
  // Threads start and code is compiled with the first.
  await timesOf(Math.min(8, paths.length), 2, picture);
  const all: number[][] = [];
  for (const clients of CLIENTS) all.push(await timesOf(paths.length, clients, picture));
  return all;
}
