/**
 * `npm run demo [folder]`: sends a study to the running gateway by C-STORE, as a modality would, shows how far every
 * instance has come (received, sealed, uploaded, archived), prints the links and saves a rendered picture.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import { connect } from '#edge-gateway/dimse/client.ts';
import { sendFiles } from '#edge-gateway/dimse/send.ts';
import type { StudyProgress } from '#edge-gateway/http/gateway-status.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { createDemoStudy } from './demo-study.ts';
import { readLocalSettings } from './settings.ts';

const SLICES = 200;
const CALLING_AE_TITLE = 'DEMO';
const POLL_MS = 250;
/** Sealing waits for 5 s of quiet; the rest is slack for a slow machine. */
const GIVE_UP_AFTER_QUIET_MS = 120_000;

const settings = readLocalSettings();
const edge = readEdgeSettings();
const cloudUrl = `http://${settings.cloudHost}:${settings.cloudPort}`;
const gatewayUrl = `http://${edge.host}:${edge.httpPort}`;
const peer = { host: edge.host, port: edge.dicomPort, callingAeTitle: CALLING_AE_TITLE, calledAeTitle: edge.aeTitle };

const say = (line = ''): void => void process.stdout.write(`${line}\n`);

/** What a sender tells while it sends. */
interface Sending {
  readonly total: number;
  /** Studies of which at least one instance was answered Success. */
  readonly studies: ReadonlySet<string>;
  readonly received: () => number;
  readonly refused: () => readonly string[];
  readonly done: Promise<void>;
}

function sendPhantom(): Sending {
  const study = createDemoStudy(SLICES, Date.now());
  const studies = new Set<string>([study.studyInstanceUid]);
  const refused: string[] = [];
  let received = 0;
  const first = study.instance(0);
  const run = async (): Promise<void> => {
    const contexts = [{ abstractSyntax: first.sopClassUid, transferSyntaxes: [first.transferSyntaxUid] }];
    const association = await connect({ ...peer, contexts });
    for (let i = 0; i < study.count; i++) {
      const { status, comment } = await association.store(i === 0 ? first : study.instance(i));
      if (status === 0) received++;
      else refused.push(`slice ${i + 1}: ${hex(status)} ${comment ?? ''}`);
    }
    await association.release();
  };
  return { total: study.count, studies, received: () => received, refused: () => refused, done: run() };
}

async function sendFolder(folder: string): Promise<Sending> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const studies = new Set<string>();
  const refused: string[] = [];
  let received = 0;
  const done = sendFiles({
    ...peer,
    files,
    onResult: (result) => {
      if (result.status === 0) {
        received++;
        if (result.studyInstanceUid !== undefined) studies.add(result.studyInstanceUid);
      } else
        refused.push(
          `${result.file}: ${result.status === undefined ? '' : hex(result.status)} ${result.comment ?? ''}`,
        );
    },
  }).then(() => {});
  return { total: files.length, studies, received: () => received, refused: () => refused, done };
}

const hex = (status: number): string => `${status.toString(16).toUpperCase().padStart(4, '0')}H`;

async function progressOf(studies: Iterable<string>): Promise<StudyProgress> {
  const sum = { open: 0, sealed: 0, sent: 0, archived: 0, rejected: 0 };
  for (const study of studies) {
    const one = (await (
      await fetch(`${gatewayUrl}/studies/${encodeURIComponent(study)}/progress.json`)
    ).json()) as StudyProgress;
    for (const state of Object.keys(sum) as (keyof StudyProgress)[]) sum[state] += one[state];
  }
  return sum;
}

async function follow(sending: Sending): Promise<StudyProgress> {
  const startMs = performance.now();
  const bars = new MultiBar(
    {
      format: '  {stage} {bar} {value}/{total}  {seconds} s',
      hideCursor: true,
      noTTYOutput: true,
      notTTYSchedule: 2_000,
      clearOnComplete: false,
      emptyOnZero: true,
    },
    Presets.shades_classic,
  );
  const stages = ['received', 'sealed  ', 'uploaded', 'archived'] as const;
  const rows = stages.map((stage) => ({ bar: bars.create(sending.total, 0, { stage, seconds: '0.0' }), full: false }));
  const show = (row: { bar: SingleBar; full: boolean } | undefined, value: number, total: number): void => {
    if (row === undefined || row.full) return;
    row.bar.setTotal(Math.max(total, 1));
    row.bar.update(value, { seconds: ((performance.now() - startMs) / 1000).toFixed(1) });
  };
  let isSent = false;
  let failure: unknown;
  sending.done.then(
    () => {
      isSent = true;
    },
    (error: unknown) => {
      failure = error;
    },
  );
  let lastChangeMs = performance.now();
  let last = '';
  for (;;) {
    if (failure !== undefined) {
      bars.stop();
      throw failure;
    }
    const isLast = isSent;
    const progress = await progressOf(sending.studies);
    const { open, sealed, sent, archived, rejected } = progress;
    const known = open + sealed + sent + archived + rejected;
    const total = isLast ? known : Math.max(known, sending.total);
    show(rows[0], sending.received(), isLast ? sending.received() : sending.total);
    show(rows[1], known - open, total);
    show(rows[2], sent + archived + rejected, total);
    show(rows[3], archived, total);
    if (isLast && rows[0]) rows[0].full = true;
    const isOver = isLast && open + sealed + sent === 0 && (known > 0 || sending.received() === 0);
    const now = JSON.stringify([progress, sending.received()]);
    if (now !== last) lastChangeMs = performance.now();
    last = now;
    if (isOver || performance.now() - lastChangeMs > GIVE_UP_AFTER_QUIET_MS) {
      bars.stop();
      return progress;
    }
    await sleep(POLL_MS);
  }
}

interface Instance {
  readonly [tag: string]: { readonly Value?: readonly unknown[] } | undefined;
}

async function savePicture(study: string): Promise<string | undefined> {
  const answer = await fetch(`${cloudUrl}/dicomweb/studies/${study}/instances?limit=1000&includefield=00200013`);
  if (!answer.ok) return undefined;
  const instances = (await answer.json()) as Instance[];
  const number = (instance: Instance): number => Number(instance['00200013']?.Value?.[0] ?? 0);
  const images = instances
    .filter((instance) => instance['00280010'] !== undefined)
    .sort((a, b) => number(a) - number(b));
  const middle = images[Math.floor(images.length * 0.7)];
  if (middle === undefined) return undefined;
  const [series, instance] = ['0020000E', '00080018'].map((tag) => middle[tag]?.Value?.[0]);
  const rendered = await fetch(
    `${cloudUrl}/dicomweb/studies/${study}/series/${series}/instances/${instance}/rendered`,
    { headers: { Accept: 'image/jpeg' } },
  );
  if (!rendered.ok) return undefined;
  const folder = join(settings.dataFolder, 'demo');
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${study}.jpg`);
  await writeFile(file, Buffer.from(await rendered.arrayBuffer()));
  return file;
}

async function demo(folder: string | undefined): Promise<number> {
  const isUp = await fetch(`${gatewayUrl}/health`).then(
    () => true,
    () => false,
  );
  if (!isUp) {
    process.stderr.write(`No gateway answers at ${gatewayUrl}. Start it first: npm start\n`);
    return 1;
  }
  if (folder !== undefined && !existsSync(folder)) {
    process.stderr.write(`There is no folder ${folder}.\n`);
    return 1;
  }
  const sending = folder === undefined ? sendPhantom() : await sendFolder(resolve(folder));
  say(
    `Sending ${folder === undefined ? `a CT of ${sending.total} slices` : `${sending.total} files`} to ${edge.aeTitle} at ${edge.host}:${edge.dicomPort}\n`,
  );
  const progress = await follow(sending);
  const refused = sending.refused();
  say();
  for (const line of refused.slice(0, 10)) say(`  not stored  ${line}`);
  if (refused.length > 10) say(`  … and ${refused.length - 10} more`);
  const waiting = progress.open + progress.sealed + progress.sent;
  if (waiting > 0) say(`  ${waiting} instances are not in the cloud yet; ${gatewayUrl}/status says why.`);
  const studies = [...sending.studies];
  for (const study of studies.slice(0, 5)) {
    say(`  viewer    ${cloudUrl}/viewer?StudyInstanceUIDs=${study}`);
    if (settings.viewer) say(`  on site   ${gatewayUrl}/viewer?StudyInstanceUIDs=${study}`);
    say(`  metadata  ${cloudUrl}/dicomweb/studies/${study}/metadata`);
    say(`  download  ${cloudUrl}/dicomweb/studies/${study}?accept=application/zip`);
    const picture = await savePicture(study);
    if (picture !== undefined) say(`  picture   ${picture}`);
    say();
  }
  if (studies.length > 5) say(`  … and ${studies.length - 5} more studies in the list at ${cloudUrl}/`);
  return waiting === 0 && (sending.received() > 0 || sending.total === 0) ? 0 : 1;
}

try {
  process.exitCode = await demo(process.argv[2]);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
