/**
 * The gateway as a process: settings from the environment, JSON log lines to standard output, an orderly end on SIGTERM,
 * SIGINT, or when the parent that started it goes away. Exit code 78: the settings are wrong.
 */
import { createLogger } from '#shared/log.ts';
import { startGateway } from './gateway.ts';
import { type EdgeSettings, readEdgeSettings } from './settings.ts';

/** sysexits.h: configuration error. */
const EX_CONFIG = 78;

let settings: EdgeSettings;
try {
  settings = readEdgeSettings();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(EX_CONFIG);
}

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
  process.exit(1);
}

function sentenceOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE')
    return 'A port of the gateway is taken; set ARCHIPEL_EDGE_DICOM_PORT or ARCHIPEL_EDGE_HTTP_PORT to a free one.';
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
