/**
 * The header of a JPEG (ISO/IEC 10918-1) or JPEG-LS (ISO/IEC 14495-1) codestream: process, size, components, and what
 * it says of its colours. Reads marker segments up to the first scan and decodes nothing. Whether three components are
 * YCbCr is decided here (PS3.5 §8.2.1: what the codestream states explicitly controls the decompression).
 */
import { type CodestreamHeader, cannotRender } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';

export interface JpegComponent {
  readonly id: number;
  readonly horizontal: number;
  readonly vertical: number;
  readonly quantTable: number;
}

export interface JpegHeader extends CodestreamHeader {
  /** The SOF marker's second byte: 0xc0 baseline, 0xc1 extended, 0xc2 progressive, 0xc3 lossless, 0xf7 JPEG-LS. */
  readonly process: number;
  readonly components: readonly JpegComponent[];
  /** Transform flag of an Adobe APP14 segment: 0 none, 1 YCbCr. */
  readonly adobeTransform: number | undefined;
  readonly jfif: boolean;
  /** Of every segment between SOI and the first SOS: offset of its 0xff, and of what follows it. */
  readonly segments: readonly { readonly marker: number; readonly start: number; readonly end: number }[];
  readonly firstScanOffset: number;
}

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;

/** @throws ArchiveError `cannot-render` when the bytes are not a JPEG codestream with a frame header before its first scan */
export function readJpegHeader(bytes: Uint8Array): JpegHeader {
  let at = 0;
  // Some writers put a stray byte or a padding 0xff before SOI.
  while (at < 16 && !(bytes[at] === 0xff && bytes[at + 1] === SOI)) at++;
  if (at === 16) throw cannotRender('The compressed frame does not begin as JPEG');
  at += 2;
  const segments: { marker: number; start: number; end: number }[] = [];
  let frame: Pick<JpegHeader, 'process' | 'precision' | 'rows' | 'columns' | 'components'> | undefined;
  let adobeTransform: number | undefined;
  let jfif = false;
  for (;;) {
    while (at < bytes.length && bytes[at] !== 0xff) at++;
    const start = at;
    while (bytes[at] === 0xff) at++;
    const marker = bytes[at++];
    if (marker === undefined || marker === EOI) throw cannotRender('The JPEG frame ends before its first scan');
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= SOI)) continue;
    const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    const end = at + length;
    if (length < 2 || end > bytes.length) throw cannotRender('A JPEG marker segment reaches beyond the frame');
    if (marker === SOS) {
      if (frame === undefined) throw cannotRender('The JPEG frame has no frame header before its first scan');
      const near = marker === SOS && frame.process === 0xf7 ? (bytes[at + 3 + 2 * (bytes[at + 2] ?? 0)] ?? 0) : 0;
      return {
        ...frame,
        samplesPerPixel: frame.components.length,
        signed: false,
        lossy: frame.process !== 0xc3 && (frame.process !== 0xf7 || near > 0),
        adobeTransform,
        jfif,
        segments,
        firstScanOffset: start,
      };
    }
    if (isFrameHeader(marker)) frame ??= frameHeader(bytes.subarray(at + 2, end), marker);
    else if (marker === 0xe0 && startsWith(bytes, at + 2, 'JFIF')) jfif = true;
    else if (marker === 0xee && length >= 14 && startsWith(bytes, at + 2, 'Adobe')) adobeTransform = bytes[at + 13];
    segments.push({ marker, start, end });
    at = end;
  }
}

/**
 * Whether three components are YCbCr and want converting to RGB. An Adobe segment says so outright; chroma at another
 * resolution than luma is never RGB; JFIF knows YCbCr only, so that "RGB" beside it is a label that a compressor forgot
 * to change; otherwise Photometric Interpretation decides. Lossless processes transform nothing: only the label counts.
 */
export function isYcbcr(header: JpegHeader, attributes: ImageAttributes): boolean {
  const labelled = attributes.photometricInterpretation.startsWith('YBR_');
  if (!header.lossy || header.process === 0xf7) return labelled;
  if (header.adobeTransform === 0) return labelled && header.jfif;
  if (header.adobeTransform === 1) return true;
  const [first] = header.components;
  if (header.components.some((c) => c.horizontal !== first?.horizontal || c.vertical !== first.vertical)) return true;
  if (header.components.map((component) => component.id).join() === '82,71,66') return false;
  return labelled || header.jfif;
}

function isFrameHeader(marker: number): boolean {
  return (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) || marker === 0xf7;
}

function frameHeader(segment: Uint8Array, process: number) {
  const count = segment[5] ?? 0;
  if (segment.length < 6 + 3 * count || count < 1 || count > 4) throw cannotRender('The JPEG frame header is damaged');
  const components = Array.from({ length: count }, (_, i) => ({
    id: segment[6 + 3 * i]!,
    horizontal: segment[7 + 3 * i]! >> 4,
    vertical: segment[7 + 3 * i]! & 15,
    quantTable: segment[8 + 3 * i]!,
  }));
  if (components.some(({ horizontal: h, vertical: v }) => h < 1 || h > 4 || v < 1 || v > 4)) {
    throw cannotRender('The JPEG frame header has sampling factors outside 1 to 4');
  }
  return {
    process,
    precision: segment[0]!,
    rows: (segment[1]! << 8) | segment[2]!,
    columns: (segment[3]! << 8) | segment[4]!,
    components,
  };
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
