/**
 * Native code to measure ours against: the programs in native/, compiled here against Debian's libraries when the benchmark runs, each for the
 * same frame in the same run. What cannot be compiled is said, with the package that is missing, and left out.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchFrame } from './imaging-frames.ts';
import { isInstalled } from './servers.ts';

/** Milliseconds. */
export interface Measured {
  readonly least: number;
  readonly median: number;
}

export type NativeName = 'openjph' | 'openjpeg' | 'charls' | 'turbojpeg' | 'lut';

/** By `decode` and `encode`; nothing of a program that is not here. */
export type NativeFigures = Readonly<Record<string, Measured | undefined>>;

export type NativePeers = (name: NativeName, frame: BenchFrame, pixels: Uint8Array, runs: number) => NativeFigures;

const libraries: Readonly<Record<NativeName, { readonly flags: readonly string[]; readonly debianPackage: string }>> = {
  openjph: { flags: ['-lopenjph'], debianPackage: 'libopenjph-dev' },
  openjpeg: { flags: ['-I/usr/include/openjpeg-2.5', '-lopenjp2'], debianPackage: 'libopenjp2-7-dev' },
  charls: { flags: ['-lcharls'], debianPackage: 'libcharls-dev' },
  turbojpeg: { flags: ['-lturbojpeg'], debianPackage: 'libturbojpeg0-dev' },
  lut: { flags: [], debianPackage: 'g++' },
};

/** @param folder where programs and frames are put; whoever made it removes it */
export function compileNativePeers(folder: string): NativePeers {
  mkdirSync(folder, { recursive: true });
  const programs = new Map<NativeName, string>();
  const hasCompiler = isInstalled('g++');
  if (!hasCompiler) console.log('SKIPPED: all native code: there is no compiler here (package g++)');
  for (const name of hasCompiler ? (Object.keys(libraries) as NativeName[]) : []) {
    const { flags, debianPackage } = libraries[name];
    const program = join(folder, name);
    const source = join(import.meta.dirname, 'native', `${name}.cpp`);
    try {
      execFileSync('g++', ['-O3', '-std=c++17', '-o', program, source, ...flags], { stdio: 'pipe' });
      programs.set(name, program);
    } catch {
      console.log(`SKIPPED: native ${name} does not compile here (package ${debianPackage})`);
    }
  }
  return (name, { frame, attributes }, pixels, runs) => {
    const program = programs.get(name);
    if (program === undefined) return {};
    const [codestream, cells] = [join(folder, 'codestream'), join(folder, 'cells')];
    writeFileSync(codestream, frame);
    writeFileSync(cells, pixels);
    const sizes = [attributes.columns, attributes.rows, attributes.bitsStored, runs].map(String);
    const lines = execFileSync(program, [codestream, cells, ...sizes], { encoding: 'utf8' })
      .trim()
      .split('\n');
    return Object.fromEntries(
      lines.map((line) => {
        const [what = '', least, median] = line.split(' ');
        return [what, { least: Number(least), median: Number(median) }];
      }),
    );
  };
}
