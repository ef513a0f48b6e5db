/**
 * Bundles what runs outside this checkout: the gateway for a machine that has Node. Prints each module's size.
 * `node infra/build.ts [folder]`: default dist; the gateway is in `edge-gateway` below it.
 */
import { join, resolve } from 'node:path';
import { bundleGateway } from './bundle.ts';
import { thisPlatform } from './packages.ts';

const out = resolve(process.argv[2] ?? join(import.meta.dirname, '../dist'));
const sizes = await bundleGateway({
  folder: join(out, 'edge-gateway'),
  platform: thisPlatform,
  cacheFolder: join(out, 'packages'),
  sourceMaps: true,
});
for (const [name, bytes] of sizes) process.stdout.write(`${name} ${(bytes / 1024).toFixed(0)} KiB\n`);
