/**
 * DCMTK as an independent peer: its storescu and storescp as processes, made to propose and take whatever a set of files
 * holds, and what they said read back. DCMTK leaves Nagle's algorithm on unless TCP_NODELAY is set.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { isUid } from '#shared/dicom/uid.ts';
import { until } from '#test/support/system.ts';

const environment = { ...process.env, TCP_NODELAY: '1' };
const MAX_CONTEXTS = 128;
const OUTPUT_BYTES = 256 * 1024 * 1024;

/** Whether these programs are here; warns loudly when one is not. */
export function hasPrograms(...names: readonly string[]): boolean {
  const missing = names.filter((name) => spawnSync(name, ['--version']).error !== undefined);
  if (missing.length > 0) console.warn(`SKIPPED: not on this machine: ${missing.join(', ')} (Debian: dcmtk, unzip)`);
  return missing.length === 0;
}

export interface Run {
  readonly code: number;
  /** Standard output and standard error, as they came. */
  readonly text: string;
}

/** Runs a program to its end. */
export function run(name: string, parameters: readonly string[]): Promise<Run> {
  return new Promise((done) => {
    const options = { env: environment, maxBuffer: OUTPUT_BYTES, encoding: 'latin1' as const };
    execFile(name, [...parameters], options, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr }),
    );
  });
}

/** Pairs of SOP class and transfer syntax, as an association proposes them. */
export type Pairs = ReadonlyMap<string, ReadonlySet<string>>;

/** The pairs that files hold, by transfer syntax; files that nobody can read have none. */
export function pairsOf(files: readonly string[]): Pairs {
  const pairs = new Map<string, Set<string>>();
  for (const file of files) {
    try {
      const { fileMeta, dataSet, transferSyntax } = readHeader(readFileSync(file));
      const sopClassUid = fileMeta?.ascii(Tag.MediaStorageSOPClassUID) ?? dataSet.ascii(Tag.SOPClassUID);
      if (sopClassUid === undefined || !isUid(sopClassUid) || !isUid(transferSyntax.uid)) continue;
      const classes = pairs.get(transferSyntax.uid) ?? new Set();
      pairs.set(transferSyntax.uid, classes.add(sopClassUid));
    } catch {
      // Not DICOM: DCMTK will not send it either.
    }
  }
  return pairs;
}

/** A negotiation profile for storescu: one presentation context for each pair. */
export function writeRequestorProfile(path: string, pairs: Pairs): void {
  const contexts = [...pairs].flatMap(([, classes], i) => [...classes].map((sopClass) => `${sopClass}\\TS${i}`));
  if (contexts.length > MAX_CONTEXTS) throw new Error(`${contexts.length} presentation contexts are too many for one`);
  const syntaxes = [...pairs.keys()].map((uid, i) => `[TS${i}]\nTransferSyntax1 = ${uid}\n`);
  writeProfile(path, syntaxes.join(''), contexts);
}

/** A profile for storescp: each SOP class in each of the transfer syntaxes. */
export function writeAcceptorProfile(path: string, pairs: Pairs): void {
  const classes = new Set([...pairs.values()].flatMap((found) => [...found]));
  const syntaxes = [...pairs.keys()].map((uid, i) => `TransferSyntax${i + 1} = ${uid}\n`);
  writeProfile(
    path,
    `[ANY]\n${syntaxes.join('')}`,
    [...classes].map((sopClass) => `${sopClass}\\ANY`),
  );
}

function writeProfile(path: string, transferSyntaxes: string, contexts: readonly string[]): void {
  const lines = contexts.map((context, i) => `PresentationContext${i + 1} = ${context}\n`);
  writeFileSync(
    path,
    `[[TransferSyntaxes]]\n${transferSyntaxes}[[PresentationContexts]]\n[ALL]\n${lines.join('')}[[Profiles]]\n[ALL]\nPresentationContexts = ALL\n`,
  );
}

export interface Sent {
  readonly file: string;
  /** As storescu words it: `Success`, `Refused: …`; undefined when it could not be sent or no answer came. */
  readonly answer: string | undefined;
}

/** `storescu -v` and what it says of each file, in the order of sending. It goes on after an answer that is not Success. */
export async function storescu(port: number, parameters: readonly string[]): Promise<{ sent: Sent[]; text: string }> {
  const { text } = await run('storescu', ['-v', '-nh', '-aec', 'ARCHIPEL', '127.0.0.1', String(port), ...parameters]);
  const sent = text.split('I: Sending file: ').slice(1);
  return {
    text,
    sent: sent.map((block) => ({
      file: block.slice(0, block.indexOf('\n')),
      answer: /I: Received Store Response \((.*)\)/.exec(block)?.[1],
    })),
  };
}

/** `storescp +B`, which writes down what arrives bit by bit: what DCMTK's storescu really sends, without us. */
export class Storescp {
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
  }

  static async start(port: number, profile: string, folder: string): Promise<Storescp> {
    const child = spawn('storescp', ['+B', '+uf', '-od', folder, '-xf', profile, 'ALL', String(port)], {
      env: environment,
      stdio: 'ignore',
    });
    await until('storescp to listen', 10_000, () => canConnect(port));
    return new Storescp(child, folder);
  }

  /** Ends it and answers the files that it wrote, in the order of their arrival. */
  async stop(): Promise<string[]> {
    const ended = new Promise((done) => this.#child.once('exit', done));
    this.#child.kill('SIGTERM');
    await ended;
    return readdirSync(this.#folder)
      .map((name) => join(this.#folder, name))
      .map((path) => ({ path, at: statSync(path, { bigint: true }).mtimeNs }))
      .sort((a, b) => (a.at < b.at ? -1 : 1))
      .map(({ path }) => path);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    const end = (isOpen: boolean) => () => {
      socket.destroy();
      done(isOpen);
    };
    socket.once('connect', end(true));
    socket.once('error', end(false));
  });
}
