/**
 * The gateway as a process: settings from a file and the environment, JSON log lines to standard output, an orderly end on
 * SIGTERM, SIGINT, or when the parent that started it goes away; and a few questions on the command line. Exit codes: 0 ended
 * in order, 1 failed; those by which it refuses to start are in start-refusal.ts.
 */
import { createLogger } from '#shared/log.ts';
import { askHealth } from './ask-health.ts';
import { startGateway, VERSION } from './gateway.ts';
import { FILE_VARIABLE } from './settings/variables.ts';
import { type EdgeSettings, readEdgeSettings } from './settings.ts';
import { exitCodes, StartRefusal } from './start-refusal.ts';

const USAGE = `Archipel edge gateway ${VERSION}

  (nothing)               run; settings from the file that ${FILE_VARIABLE} names and from the environment
  --check-settings FILE   say whether the settings are right, and what is wrong with them
  --data-folder           say the data folder of the settings
  --health                ask the gateway that runs here: 0 it is well, 2 it runs and accepts nothing, 1 it does not answer
  --version               say the version
`;

const [option, ...operands] = process.argv.slice(2);
if (option === '--version') leave(0, `${VERSION}\n`);
if (option === '--check-settings' && operands.length <= 1) {
  settingsFrom(operands[0]);
  leave(0, 'OK\n');
}
if (option === '--data-folder') leave(0, `${settingsFrom().dataFolder}\n`);
if (option === '--health') {
  const { code, text } = await askHealth(settingsFrom());
  leave(code, `${text}\n`);
}
if (option !== undefined) leave(option === '--help' ? 0 : exitCodes.settings, USAGE);

const settings = settingsFrom();
const log = createLogger(settings.logLevel, (line) => process.stdout.write(line), { service: 'edge-gateway' });
try {
  const gateway = await startGateway(settings, log, process.send === undefined ? undefined : crashPointFromParent());
  process.send?.({ kind: 'ready', dicomPort: gateway.dicomPort, httpPort: gateway.httpPort });
  let ending = false;
  const end = async (why: string): Promise<void> => {
    if (ending) return;
    ending = true;
    log.info({ why }, 'gateway is closing');
    await gateway.close();
    process.exit(0);
  };
  process.on('SIGTERM', () => void end('SIGTERM'));
  process.on('SIGINT', () => void end('SIGINT'));
  process.on('disconnect', () => void end('the parent process is gone'));
} catch (error) {
  log.error({ err: error }, 'the gateway could not start');
  process.stderr.write(`${sentenceOf(error)}\n`);
  process.exit(error instanceof StartRefusal ? error.exitCode : 1);
}

function settingsFrom(file?: string): EdgeSettings {
  try {
    return readEdgeSettings(undefined, file);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(exitCodes.settings);
  }
}

function leave(code: number, text: string): never {
  (code === 0 ? process.stdout : process.stderr).write(text);
  process.exit(code);
}

function sentenceOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE')
    return 'A port of the gateway is taken; set dicomPort, httpPort or dicomTls.port to a free one.';
  return error instanceof Error ? error.message : String(error);
}

/** A fault test, as the parent process, may name one point of the way of the bytes at which this process kills itself. */
function crashPointFromParent(): ((name: string) => void) | undefined {
  let wanted: { name: string; after: number } | undefined;
  process.on('message', (message: { kind?: string; name?: string; after?: number }) => {
    if (message.kind === 'crash-at') wanted = { name: message.name ?? '', after: message.after ?? 1 };
  });
  return (name) => {
    if (wanted === undefined || name !== wanted.name) return;
    if (--wanted.after <= 0) process.kill(process.pid, 'SIGKILL');
  };
}
