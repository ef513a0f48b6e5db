/**
 * Bundles what runs outside this checkout, with esbuild: the gateway for a hospital's VM, a folder that needs nothing but
 * Node. Native and WebAssembly packages stay packages, copied beside the bundle. Prints each module's size.
 * `node infra/build.ts [folder]`: default dist; the gateway is in `edge-gateway` below it.
 */
import { cp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');
const out = join(resolve(process.argv[2] ?? join(root, 'dist')), 'edge-gateway');

/** Worker threads are entries: they are loaded by their names, from the folder in which all modules of the bundle lie. */
const entries: Readonly<Record<string, string>> = {
  main: 'edge-gateway/main.ts',
  'sqlite-worker': 'edge-gateway/cache/sqlite-worker.ts',
  'file-hash-worker': 'edge-gateway/cache/file-hash-worker.ts',
  'manifest-worker': 'edge-gateway/cache/manifest-worker.ts',
  'render-worker': 'shared/imaging/render-worker.ts',
};

/** They load files of their own (libraries, .wasm) from where they lie. */
const packages = ['sharp', '@cornerstonejs/*'];

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
  external: packages,
  sourcemap: true,
  logLevel: 'warning',
  loader: { '.json': 'json' },
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
});
for (const name of Object.keys(entries)) print(`${name}.mjs`, (await stat(join(out, `${name}.mjs`))).size);
for (const name of await withDependencies(await installed(packages))) print(name, await copyPackage(name));

function print(name: string, bytes: number): void {
  process.stdout.write(`${name} ${(bytes / 1024).toFixed(0)} KiB\n`);
}

/** Names of the packages that a pattern `@scope/*` or a name stands for. */
async function installed(patterns: readonly string[]): Promise<string[]> {
  const lists = patterns.map(async (pattern) => {
    if (!pattern.endsWith('/*')) return [pattern];
    const scope = pattern.slice(0, -2);
    return (await readdir(join(root, 'node_modules', scope))).map((name) => `${scope}/${name}`);
  });
  return (await Promise.all(lists)).flat();
}

/** With what they need and what of their optional packages is installed, which is this platform's. */
async function withDependencies(names: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  const waiting = [...names];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (found.has(name)) continue;
    const text = await readFile(join(root, 'node_modules', name, 'package.json'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    found.add(name);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(text) as {
      dependencies?: Record<string, string>;
      optionalDependencies?: Record<string, string>;
    };
    waiting.push(...Object.keys(dependencies), ...Object.keys(optionalDependencies));
  }
  return [...found].sort();
}

async function copyPackage(name: string): Promise<number> {
  const from = join(root, 'node_modules', name);
  let bytes = 0;
  await cp(from, join(out, 'node_modules', name), {
    recursive: true,
    dereference: true,
    filter: async (path) => {
      const { size } = await stat(path);
      bytes += size;
      return true;
    },
  });
  return bytes;
}
