/**
 * The frames that imaging is measured on: a CT of 512 x 512 and a mammogram of 3000 x 4000, made here, in every transfer syntax that frames are
 * encoded in, and the samples' own where there are any.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { canDecode } from '#shared/imaging/codecs.ts';
import { encodePicture } from '#shared/imaging/encode.ts';
import { type ImageAttributes, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { attributesWith } from '#test/shared/imaging/image-fixture.ts';
import { openSample } from '#test/shared/imaging/sample-frames.ts';
import { samplesFolder } from '#test/support/samples.ts';

export const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
export const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
export const HTJ2K_RPCL = '1.2.840.10008.1.2.4.202';

export interface BenchFrame {
  readonly name: string;
  readonly transferSyntaxUid: string;
  readonly frame: Uint8Array;
  readonly attributes: ImageAttributes;
}

/** A native frame and what it is called. */
export interface Subject {
  readonly name: string;
  readonly pixels: Uint8Array;
  readonly attributes: ImageAttributes;
}

const window = (center: number, width: number) => ({ windows: [{ center, width, function: 'LINEAR' as const }] });

/** A body in air, of tissues with the noise of a scan; 12 bits, as CT comes. */
export function madeCt(): Subject {
  const attributes = attributesWith({ rows: 512, columns: 512, bitsStored: 12, ...window(1064, 400) });
  const cells = new Uint16Array(512 * 512);
  for (let i = 0; i < cells.length; i++) {
    const [x, y] = [(i % 512) - 256, Math.floor(i / 512) - 256];
    const grain = (Math.imul(i, 2654435761) >>> 26) - 32;
    const isBody = (x / 220) ** 2 + (y / 160) ** 2 < 1;
    const isBone = (x / 30) ** 2 + ((y - 90) / 30) ** 2 < 1;
    const tissue = 1040 + 60 * Math.sin(x / 23) * Math.cos(y / 31);
    cells[i] = isBody ? (isBone ? 1900 : tissue) + grain : Math.max(0, 24 + (grain >> 1));
  }
  return { name: 'CT 512 x 512', pixels: new Uint8Array(cells.buffer), attributes };
}

/** Smooth as tissue, with the grain of a detector. */
export function madeMammogram(): Subject {
  const attributes = attributesWith({ rows: 4000, columns: 3000, bitsStored: 12, ...window(2048, 4096) });
  const cells = new Uint16Array(attributes.rows * attributes.columns);
  for (let row = 0, i = 0; row < attributes.rows; row++) {
    for (let column = 0; column < attributes.columns; column++, i++) {
      const tissue = 2000 + 900 * Math.sin(row / 400) * Math.cos(column / 300);
      cells[i] = tissue + ((Math.imul(i, 2654435761) >>> 24) & 31);
    }
  }
  return { name: 'mammogram 3000 x 4000', pixels: new Uint8Array(cells.buffer), attributes };
}

/** The upper eight of its bits. */
export function inEightBits({ name, pixels, attributes }: Subject): Subject {
  const { rows, columns, bitsStored } = attributes;
  const words = new Uint16Array(pixels.buffer, pixels.byteOffset, rows * columns);
  const bytes = Uint8Array.from(words, (word) => word >> (bitsStored - 8));
  return { name: `${name}, 8 bits`, pixels: bytes, attributes: attributesWith({ rows, columns, bitsAllocated: 8, ...window(128, 256) }) }; // biome-ignore format: one thought
}

/** @returns undefined where these pixels are not to be had so */
export async function frameIn(subject: Subject, name: string, transferSyntaxUid: string): Promise<BenchFrame> {
  const { pixels, attributes } = subject;
  const whole = { name, transferSyntaxUid, attributes };
  if (transferSyntaxUid === EXPLICIT_LITTLE) return { ...whole, frame: pixels };
  if (transferSyntaxUid === JPEG_BASELINE) {
    const picture = { width: attributes.columns, height: attributes.rows, channels: 1, pixels } as const;
    return { ...whole, frame: await encodePicture(picture, 'image/jpeg') };
  }
  const request = { frame: pixels, fromTransferSyntaxUid: EXPLICIT_LITTLE, toTransferSyntaxUid: transferSyntaxUid };
  return { ...whole, frame: (await transcodeFrame({ ...request, attributes })).bytes };
}

/** Of the samples those with pictures worth measuring; none where there are no samples. */
export async function sampleFrames(): Promise<BenchFrame[]> {
  const root = samplesFolder();
  if (root === undefined) return [];
  const files = [
    'transfer-syntaxes/htj2k/CT1_JPH.dcm',
    'transfer-syntaxes/htj2k/RG3_JPH.dcm',
    'modalities/cr-dx-mg/GH133.dcm',
    'modalities/cr-dx-mg/RG1_J2KI.dcm',
    'modalities/cr-dx-mg/RG3_J2KR.dcm',
  ];
  const frames: BenchFrame[] = [];
  for (const file of files.map((name) => join(root, name)).filter(existsSync)) {
    const { count, transferSyntaxUid, metadata, frame } = await openSample(file);
    if (count === 0 || !canDecode(transferSyntaxUid)) continue;
    const attributes = imageAttributesOf(metadata, 1);
    frames.push({ name: `sample ${basename(file)}`, frame: frame(1).bytes, transferSyntaxUid, attributes });
  }
  return frames;
}
