/**
 * The borders of DESIGN: who may import whom, which library may appear where, how long a file may be, and what a
 * module may not do. A failing line here names the file and the import.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesBelow } from './support/samples.ts';

const root = resolve(import.meta.dirname, '..');
const tops = ['shared', 'functions', 'edge-gateway', 'infra', 'test'] as const;

interface Source {
  path: string;
  text: string;
  imports: string[];
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;

const sources: Source[] = tops
  .flatMap((top) => filesBelow(join(root, top)))
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(path, 'utf8');
    const imports = [...text.matchAll(importPattern)].map((m) => m[1] ?? m[2] ?? m[3] ?? '');
    return { path: relative(root, path), text, imports };
  });

/** The project path that an import names, or undefined for a package. */
function target(source: Source, specifier: string): string | undefined {
  if (specifier.startsWith('#')) return specifier.slice(1);
  if (specifier.startsWith('.')) return relative(root, resolve(root, dirname(source.path), specifier));
  return undefined;
}

const below = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);
const topOf = (path: string): string => path.split('/')[0] ?? '';

function violations(allowed: (source: Source, specifier: string, path: string | undefined) => boolean): string[] {
  return sources.flatMap((source) =>
    source.imports
      .filter((specifier) => !allowed(source, specifier, target(source, specifier)))
      .map((specifier) => `${source.path} imports ${specifier}`),
  );
}

describe('who may import whom', () => {
  it('has something to check', () => {
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.flatMap((s) => s.imports).length).toBeGreaterThan(20);
  });

  const mayUse: Record<string, readonly string[]> = {
    shared: ['shared'],
    functions: ['shared', 'functions'],
    'edge-gateway': ['shared', 'edge-gateway'],
    infra: tops.filter((top) => top !== 'test'),
    test: tops,
  };

  it('lets top folders use only what they may', () => {
    expect(
      violations((s, _, path) => path === undefined || (mayUse[topOf(s.path)] ?? []).includes(topOf(path))),
    ).toEqual([]);
  });

  it('orders the folders of shared: errors, log, config, problem < dicom < imaging, archive < dicomweb', () => {
    const layers: Record<string, readonly string[]> = {
      'shared/dicom': ['shared/dicom'],
      'shared/imaging': ['shared/dicom', 'shared/imaging'],
      'shared/archive': ['shared/dicom', 'shared/archive'],
      'shared/dicomweb': ['shared/dicom', 'shared/imaging', 'shared/archive', 'shared/dicomweb'],
    };
    const base = /^shared\/(errors|log|config|problem)\.ts$/;
    expect(
      violations((s, _, path) => {
        const layer = Object.keys(layers).find((folder) => below(s.path, folder));
        if (layer === undefined || path === undefined)
          return !base.test(s.path) || path === undefined || base.test(path);
        return base.test(path) || (layers[layer] ?? []).some((folder) => below(path, folder));
      }),
    ).toEqual([]);
  });

  it('keeps the way of the bytes free of the cloud: nothing in dimse/ or cache/ imports upload/ or recall/', () => {
    expect(
      violations(
        (s, _, path) =>
          !(below(s.path, 'edge-gateway/dimse') || below(s.path, 'edge-gateway/cache')) ||
          path === undefined ||
          !(below(path, 'edge-gateway/upload') || below(path, 'edge-gateway/recall')),
      ),
    ).toEqual([]);
  });

  it('crosses top folders only by #name', () => {
    expect(
      violations(
        (s, specifier, path) => path === undefined || specifier.startsWith('#') || topOf(s.path) === topOf(path),
      ),
    ).toEqual([]);
  });
});

describe('which library may appear where', () => {
  const homes: readonly [RegExp, readonly string[]][] = [
    [/^@(aws-sdk|smithy)\//, ['functions/aws']],
    [/^@middy\//, ['functions/lambda.ts']],
    [/^(aws-cdk-lib|constructs)(\/|$)/, ['infra/cloud']],
    [/^esbuild$/, ['infra/bundle.ts']],
    [/^sharp$/, ['shared/imaging']],
    [/^@cornerstonejs\//, ['shared/imaging']],
    [/^dcmjs-codecs$/, ['shared/imaging']],
    [/^dcmjs-dimse$/, ['edge-gateway/dimse']],
    [/^double-metaphone$/, ['shared/dicom/fuzzy-name.ts']],
    [/^(vitest|fast-check|playwright-core|dicom-parser|dynalite|fauxqs)(\/|$)/, []],
  ];

  it('holds for every import outside test', () => {
    expect(
      violations((s, specifier) => {
        const home = homes.find(([pattern]) => pattern.test(specifier));
        return home === undefined || topOf(s.path) === 'test' || home[1].some((place) => below(s.path, place));
      }),
    ).toEqual([]);
  });

  it('keeps shared pure: no network, no disk, no environment, no clock', () => {
    const impure =
      /^(node:)?(fs|fs\/promises|net|http|http2|https|tls|dgram|dns|child_process|cluster|os|sqlite|timers|timers\/promises)$/;
    // A package that cannot read its own .wasm in Node: its file is code, as an import is.
    const readsCode = (path: string, specifier: string) =>
      path === 'shared/imaging/jpeg-xl-package.ts' && specifier === 'node:fs/promises';
    expect(
      violations(
        (s, specifier) => topOf(s.path) !== 'shared' || !impure.test(specifier) || readsCode(s.path, specifier),
      ),
    ).toEqual([]);
    const acts = sources.filter(
      (s) => topOf(s.path) === 'shared' && /\bprocess\.env\b|\bDate\.now\(|\bnew Date\(\)/.test(s.text),
    );
    expect(acts.map((s) => s.path)).toEqual([]);
  });

  it('reads process.env only in the settings and in infra', () => {
    const allowed = ['functions/settings.ts', 'edge-gateway/settings.ts', 'infra', 'test'];
    const readers = sources.filter(
      (s) => /\bprocess\.env\b/.test(s.text) && !allowed.some((place) => below(s.path, place)),
    );
    expect(readers.map((s) => s.path)).toEqual([]);
  });
});

describe('files', () => {
  it('have at most 400 lines', () => {
    const long = sources
      .map((s) => `${s.path} ${s.text.split('\n').length}`)
      .filter((line) => Number(line.split(' ')[1]) > 401);
    expect(long).toEqual([]);
  });

  it('are named in kebab case', () => {
    const odd = sources
      .map((s) => s.path.split('/').at(-1) ?? '')
      .filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(name));
    expect(odd).toEqual([]);
  });

  it('open with a doc comment', () => {
    const bare = sources.filter((s) => !s.text.replace(/^#!.*\n/, '').startsWith('/**'));
    expect(bare.map((s) => s.path)).toEqual([]);
  });

  it('have no default exports and no enums', () => {
    const odd = sources.filter((s) => /^export default\b|^(export )?(const )?enum \w/m.test(s.text));
    expect(odd.map((s) => s.path)).toEqual([]);
  });
});
