/**
 * `npm start`: a cloud and one gateway on this machine, on embedded parts. Says where everything is, keeps its data in
 * one folder, and ends in order on Ctrl-C.
 */
import { createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { lockFolder } from '#edge-gateway/cache/folder-lock.ts';
import type { ViewerState } from '#edge-gateway/http/viewer-pages.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { createLogger } from '#shared/log.ts';
import { startLocalCloud } from './cloud.ts';
import { startEdgeProcess } from './edge-process.ts';
import { readLocalSettings } from './settings.ts';
import { ensureViewer, viewerFolderIn } from './viewer-package.ts';

const say = (line = ''): void => void process.stdout.write(`${line}\n`);

async function start(): Promise<() => Promise<void>> {
  const settings = readLocalSettings();
  const edge = readEdgeSettings({ ...process.env, ARCHIPEL_EDGE_DATA: join(settings.dataFolder, 'edge') });
  const cloudFolder = join(settings.dataFolder, 'cloud');
  const logFolder = join(settings.dataFolder, 'log');
  mkdirSync(logFolder, { recursive: true });
  const lock = lockFolder(settings.dataFolder);
  const logStream = createWriteStream(join(logFolder, 'cloud.log'), { flags: 'a' });
  const log = createLogger(settings.logLevel, (line) => logStream.write(line), { service: 'cloud' });

  let viewer: ViewerState = settings.viewer
    ? { kind: 'fetching', step: 'starting' }
    : { kind: 'missing', reason: 'it is switched off by ARCHIPEL_VIEWER=off.' };
  const cloud = await startLocalCloud({
    folder: cloudFolder,
    host: settings.cloudHost,
    port: settings.cloudPort,
    tenant: edge.tenant,
    purgeAfterDays: settings.purgeAfterDays,
    viewer: () => viewer,
    log,
  });
  const viewerCache = join(settings.dataFolder, 'viewer');
  const gateway = await startEdgeProcess({
    environment: {
      ARCHIPEL_EDGE_DATA: edge.dataFolder,
      ARCHIPEL_EDGE_CLOUD_URL: cloud.url,
      // Not there before it has been fetched: the gateway serves it from then on.
      ...(settings.viewer ? { ARCHIPEL_EDGE_VIEWER_FOLDER: viewerFolderIn(viewerCache) } : {}),
    },
    logFile: join(logFolder, 'edge.log'),
    onRestart: say,
  }).catch(async (error: Error) => {
    await cloud.close();
    throw error;
  });

  const host = edge.host;
  say();
  say('Archipel is up: a cloud archive and one gateway, on this machine.');
  say();
  say(`  viewer (OHIF)         ${cloud.url}/`);
  say(`  DICOMweb              ${cloud.url}/dicomweb`);
  say(`  gateway status page   http://${host}:${gateway.httpPort}/status`);
  say(
    `  gateway's DICOMweb    http://${host}:${gateway.httpPort}/dicomweb  (what is on the gateway, also without the cloud)`,
  );
  if (settings.viewer) say(`  gateway's viewer      http://${host}:${gateway.httpPort}/`);
  say(`  modalities send to    AE title ${edge.aeTitle}, host ${host}, port ${gateway.dicomPort}`);
  say(`  data and logs         ${settings.dataFolder}`);
  say();
  say('  npm run demo          sends a study and shows its way');
  say(`  or with DCMTK         storescu -aec ${edge.aeTitle} +sd +r ${host} ${gateway.dicomPort} <folder>`);
  say();
  if (settings.viewer) {
    ensureViewer(viewerCache, (step) => {
      viewer = { kind: 'fetching', step };
      say(`  ${step}`);
    }).then(
      (folder) => {
        viewer = { kind: 'ready', folder };
      },
      (error: Error) => {
        viewer = { kind: 'missing', reason: error.message };
        say(`  the viewer could not be had: ${error.message} Everything else works; the next start tries again.`);
      },
    );
  }
  return async () => {
    await gateway.close();
    await cloud.close();
    lock.release();
    await new Promise<void>((done) => logStream.end(() => done()));
  };
}

try {
  const close = await start();
  let ending = false;
  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    say('\nclosing');
    await close();
    process.exit(0);
  };
  process.on('SIGINT', () => void end());
  process.on('SIGTERM', () => void end());
} catch (error) {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const sentence =
    code === 'EADDRINUSE'
      ? 'The port of the cloud is taken; set ARCHIPEL_CLOUD_PORT to a free one.'
      : (error as Error).message;
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}
