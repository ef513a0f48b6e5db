/**
 * Runs the gateway as the process of its own that it is in a hospital, and starts it again when it dies, as systemd
 * would. Its log goes to a file; what it says on standard error is kept for the person who started it.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

export interface EdgeProcessOptions {
  readonly environment: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Hears of a sentence when the process ended and is started again. */
  readonly onRestart: (sentence: string) => void;
}

export interface EdgeProcess {
  readonly dicomPort: number;
  readonly httpPort: number;
  readonly pid: () => number | undefined;
  close(): Promise<void>;
}

const RESTART_DELAY_MS = 1_000;
const END_TIMEOUT_MS = 15_000;
const main = resolve(import.meta.dirname, '../../edge-gateway/main.ts');

/** Resolves when the gateway listens; rejects with its own words when it can't start. */
export async function startEdgeProcess({ environment, logFile, onRestart }: EdgeProcessOptions): Promise<EdgeProcess> {
  mkdirSync(dirname(logFile), { recursive: true });
  const log = createWriteStream(logFile, { flags: 'a' });
  let closing = false;
  let child: ChildProcess;

  const launch = (ports: Record<string, string>): Promise<{ dicomPort: number; httpPort: number }> =>
    new Promise((done, fail) => {
      // Threads for the disk: a sync per open pack may wait at once, and reads must not wait behind them.
      const env = { ...process.env, UV_THREADPOOL_SIZE: '16', ...environment, ...ports };
      child = fork(main, {
        env,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        // What comes from sockets lives for milliseconds: a small young generation lets go of it early and cheaply. With
        // V8's own size it makes the whole heap be marked after every few instances.
        execArgv: ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=2'],
      });
      let complaint = '';
      child.stdout?.pipe(log, { end: false });
      child.stderr?.on('data', (chunk: Buffer) => {
        complaint = (complaint + chunk.toString()).slice(-2_000);
        log.write(chunk);
      });
      child.on('message', (message: { kind?: string; dicomPort?: number; httpPort?: number }) => {
        if (message.kind === 'ready') done({ dicomPort: message.dicomPort ?? 0, httpPort: message.httpPort ?? 0 });
      });
      child.on('error', fail);
      child.on('exit', (code, signal) =>
        fail(
          new Error(complaint.trim() || `The gateway ended (${signal ?? `exit code ${code}`}); its log is ${logFile}.`),
        ),
      );
    });

  const first = await launch({});
  const ports = { ARCHIPEL_EDGE_DICOM_PORT: String(first.dicomPort), ARCHIPEL_EDGE_HTTP_PORT: String(first.httpPort) };
  const watch = (): void => {
    child.once('exit', (code, signal) => {
      if (closing) return;
      onRestart(`the gateway ended (${signal ?? `exit code ${code}`}); starting it again`);
      const again = (): void => {
        if (closing) return;
        launch(ports).then(watch, (error: Error) => {
          onRestart(`the gateway does not start: ${error.message}`);
          setTimeout(again, RESTART_DELAY_MS);
        });
      };
      setTimeout(again, RESTART_DELAY_MS);
    });
  };
  watch();
  return {
    ...first,
    pid: () => child.pid,
    async close() {
      closing = true;
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise((done) => child.once('exit', done));
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
        await ended;
        clearTimeout(timer);
      }
      await new Promise<void>((done) => log.end(() => done()));
    },
  };
}
