/**
 * DCMTK's dcm2pnm and its fellows for JPEG and JPEG-LS as an independent renderer: one frame of a file as the samples of a PGM or PPM.
 */
import { readFile } from 'node:fs/promises';
import type { Picture } from '#shared/imaging/resample.ts';
import { run } from './dcmtk.ts';

/** By transfer syntax; undefined for those that Debian's DCMTK has no codec for (JPEG 2000, HTJ2K, JPEG XL, deflated frames). */
export function pnmProgramFor(transferSyntaxUid: string): string | undefined {
  if (/^1\.2\.840\.10008\.1\.2\.4\.(50|51|57|70)$/.test(transferSyntaxUid)) return 'dcmj2pnm';
  if (/^1\.2\.840\.10008\.1\.2\.4\.(80|81)$/.test(transferSyntaxUid)) return 'dcml2pnm';
  return /^1\.2\.840\.10008\.1\.2(\.1|\.2|\.5|\.1\.99)?$/.test(transferSyntaxUid) ? 'dcm2pnm' : undefined;
}

/**
 * @param options of the program, such as a window
 * @param output a file that may be written over
 * @returns undefined when the program cannot read the file
 */
export async function renderWithDcmtk(
  program: string,
  file: string,
  frameNumber: number,
  options: readonly string[],
  output: string,
): Promise<Picture | undefined> {
  const { code } = await run(program, ['+op', '+F', String(frameNumber), ...options, file, output]);
  return code === 0 ? parsePnm(await readFile(output)) : undefined;
}

function parsePnm(bytes: Buffer): Picture {
  const header = /^P([56])\s+(?:#.*\s+)*(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 200));
  if (header === null) throw new Error('No PNM of 8 bits');
  const [whole, kind, width, height] = header;
  const channels = kind === '5' ? 1 : 3;
  return {
    width: Number(width),
    height: Number(height),
    channels,
    pixels: new Uint8Array(bytes.subarray(whole.length)),
  };
}
