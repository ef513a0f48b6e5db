/**
 * Bundles what runs outside this checkout, with esbuild: the gateway for a hospital's VM. Native and WebAssembly
 * packages stay packages. Prints each bundle's size.
 */
import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');
const out = join(root, 'dist');

/** Entry points by the bundle's name below dist/. Worker threads are entries: they are loaded by their file name. */
const entries: Readonly<Record<string, string>> = {
  'edge-gateway/main': 'edge-gateway/main.ts',
  'edge-gateway/sqlite-worker': 'edge-gateway/cache/sqlite-worker.ts',
};

await rm(out, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir: out,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: true,
  logLevel: 'warning',
  loader: { '.json': 'json' },
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
});
for (const name of Object.keys(entries)) {
  const { size } = await stat(join(out, `${name}.mjs`));
  process.stdout.write(`${name}.mjs ${(size / 1024).toFixed(0)} KiB\n`);
}
