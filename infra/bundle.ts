/**
 * The gateway's code as a folder that needs nothing but Node, by esbuild. Native and WebAssembly packages stay packages, copied
 * beside the bundle: they load files of their own (libraries, .wasm) from where they lie.
 */
import { cp, mkdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { type Platform, packageFolder, packagesFor } from './packages.ts';

const root = resolve(import.meta.dirname, '..');

/** Worker threads are entries: they are loaded by their names, from the folder in which all modules of the bundle lie. */
const entries: Readonly<Record<string, string>> = {
  main: 'edge-gateway/main.ts',
  'sqlite-worker': 'edge-gateway/cache/sqlite-worker.ts',
  'file-hash-worker': 'edge-gateway/cache/file-hash-worker.ts',
  'manifest-worker': 'edge-gateway/cache/manifest-worker.ts',
  'render-worker': 'shared/imaging/render-worker.ts',
  'volume-worker': 'shared/imaging/volume-worker.ts',
};

const packages = ['sharp', '@julusian/jpeg-turbo', '@cornerstonejs/*'];
/** jpeg-turbo comes with its native modules made, and finds them without these. */
const unneeded = ['cmake-js', 'node-addon-api', 'yargs'];

export interface BundleOptions {
  /** Made anew. */
  readonly folder: string;
  readonly platform: Platform;
  /** For packages of another platform. */
  readonly cacheFolder: string;
  readonly sourceMaps: boolean;
}

/** Sizes in bytes of what was made, by name. */
export async function bundleGateway({
  folder,
  platform,
  cacheFolder,
  sourceMaps,
}: BundleOptions): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  await rm(folder, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: { ...entries },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    external: packages,
    sourcemap: sourceMaps,
    logLevel: 'warning',
    loader: { '.json': 'json' },
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  for (const name of Object.keys(entries)) sizes.set(`${name}.mjs`, (await stat(join(folder, `${name}.mjs`))).size);
  for (const name of packagesFor(packages, platform, unneeded))
    sizes.set(name, await copyWhole(await packageFolder(name, cacheFolder), join(folder, 'node_modules', name)));
  return sizes;
}

async function copyWhole(from: string, to: string): Promise<number> {
  let bytes = 0;
  await mkdir(to, { recursive: true });
  await cp(from, to, {
    recursive: true,
    dereference: true,
    filter: async (path) => {
      bytes += (await stat(path)).size;
      return true;
    },
  });
  return bytes;
}
