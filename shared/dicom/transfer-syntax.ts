/**
 * The transfer syntaxes (PS3.5 Annex A, PS3.6 Table A-1) as data: how each encodes the data set and the pixels, and
 * the media type of one of its frames (PS3.18 §8.7.3). Encoding and decoding is elsewhere.
 */

export type Codec =
  | 'native'
  | 'rle'
  | 'jpeg'
  | 'jpeg-lossless'
  | 'jpeg-ls'
  | 'jpeg-2000'
  | 'htj2k'
  | 'jpeg-xl'
  | 'mpeg2'
  | 'mpeg4'
  | 'hevc'
  | 'deflate-frame'
  | 'unknown';

export interface TransferSyntax {
  readonly uid: string;
  readonly name: string;
  readonly littleEndian: boolean;
  readonly explicitVr: boolean;
  /** The data set is one deflated stream (PS3.5 §A.5). */
  readonly deflated: boolean;
  /** Pixel Data is a sequence of fragments (PS3.5 §A.4). */
  readonly encapsulated: boolean;
  /** Whether pixels may differ from the original (for those that allow both: true). */
  readonly lossy: boolean;
  readonly codec: Codec;
  /** Of one frame (video: of the whole stream); `application/octet-stream` for native pixels. */
  readonly mediaType: string;
}

const native: Omit<TransferSyntax, 'uid' | 'name'> = {
  littleEndian: true,
  explicitVr: true,
  deflated: false,
  encapsulated: false,
  lossy: false,
  codec: 'native',
  mediaType: 'application/octet-stream',
};

function encapsulated(
  uid: string,
  name: string,
  codec: Codec,
  mediaType: string,
  quality: 'lossless' | 'lossy',
): TransferSyntax {
  return { ...native, uid, name, encapsulated: true, codec, mediaType, lossy: quality === 'lossy' };
}

export const IMPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2';
export const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
export const DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1.99';
export const EXPLICIT_VR_BIG_ENDIAN = '1.2.840.10008.1.2.2';

const jpip = 'JPIP Referenced';
const jpeg = 'image/jpeg';
const mp4 = 'video/mp4';
const mpeg4 = 'MPEG-4 AVC/H.264';

export const knownTransferSyntaxes: readonly TransferSyntax[] = [
  { ...native, uid: IMPLICIT_VR_LITTLE_ENDIAN, name: 'Implicit VR Little Endian', explicitVr: false },
  { ...native, uid: EXPLICIT_VR_LITTLE_ENDIAN, name: 'Explicit VR Little Endian' },
  encapsulated(
    '1.2.840.10008.1.2.1.98',
    'Encapsulated Uncompressed Explicit VR Little Endian',
    'native',
    'application/octet-stream',
    'lossless',
  ),
  {
    ...native,
    uid: DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    name: 'Deflated Explicit VR Little Endian',
    deflated: true,
  },
  { ...native, uid: EXPLICIT_VR_BIG_ENDIAN, name: 'Explicit VR Big Endian', littleEndian: false },
  encapsulated('1.2.840.10008.1.2.4.50', 'JPEG Baseline (Process 1)', 'jpeg', jpeg, 'lossy'),
  encapsulated('1.2.840.10008.1.2.4.51', 'JPEG Extended (Process 2 and 4)', 'jpeg', jpeg, 'lossy'),
  encapsulated('1.2.840.10008.1.2.4.52', 'JPEG Extended (Process 3 and 5)', 'jpeg', jpeg, 'lossy'),
  encapsulated(
    '1.2.840.10008.1.2.4.53',
    'JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)',
    'jpeg',
    jpeg,
    'lossy',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.54',
    'JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)',
    'jpeg',
    jpeg,
    'lossy',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.55',
    'JPEG Full Progression, Non-Hierarchical (Process 10 and 12)',
    'jpeg',
    jpeg,
    'lossy',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.56',
    'JPEG Full Progression, Non-Hierarchical (Process 11 and 13)',
    'jpeg',
    jpeg,
    'lossy',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.57',
    'JPEG Lossless, Non-Hierarchical (Process 14)',
    'jpeg-lossless',
    jpeg,
    'lossless',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.58',
    'JPEG Lossless, Non-Hierarchical (Process 15)',
    'jpeg-lossless',
    jpeg,
    'lossless',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.70',
    'JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])',
    'jpeg-lossless',
    jpeg,
    'lossless',
  ),
  encapsulated('1.2.840.10008.1.2.4.80', 'JPEG-LS Lossless Image Compression', 'jpeg-ls', 'image/jls', 'lossless'),
  encapsulated(
    '1.2.840.10008.1.2.4.81',
    'JPEG-LS Lossy (Near-Lossless) Image Compression',
    'jpeg-ls',
    'image/jls',
    'lossy',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.90',
    'JPEG 2000 Image Compression (Lossless Only)',
    'jpeg-2000',
    'image/jp2',
    'lossless',
  ),
  encapsulated('1.2.840.10008.1.2.4.91', 'JPEG 2000 Image Compression', 'jpeg-2000', 'image/jp2', 'lossy'),
  encapsulated(
    '1.2.840.10008.1.2.4.92',
    'JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)',
    'jpeg-2000',
    'image/jpx',
    'lossless',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.93',
    'JPEG 2000 Part 2 Multi-component Image Compression',
    'jpeg-2000',
    'image/jpx',
    'lossy',
  ),
  // JPIP data sets hold no Pixel Data but the URL of a provider (0028,7FE0), PS3.5 §A.6 and §A.7.
  { ...native, uid: '1.2.840.10008.1.2.4.94', name: jpip, codec: 'unknown' },
  { ...native, uid: '1.2.840.10008.1.2.4.95', name: `${jpip} Deflate`, codec: 'unknown', deflated: true },
  encapsulated('1.2.840.10008.1.2.4.100', 'MPEG2 Main Profile / Main Level', 'mpeg2', 'video/mpeg', 'lossy'),
  encapsulated(
    '1.2.840.10008.1.2.4.100.1',
    'Fragmentable MPEG2 Main Profile / Main Level',
    'mpeg2',
    'video/mpeg',
    'lossy',
  ),
  encapsulated('1.2.840.10008.1.2.4.101', 'MPEG2 Main Profile / High Level', 'mpeg2', 'video/mpeg', 'lossy'),
  encapsulated(
    '1.2.840.10008.1.2.4.101.1',
    'Fragmentable MPEG2 Main Profile / High Level',
    'mpeg2',
    'video/mpeg',
    'lossy',
  ),
  ...(
    [
      ['102', 'High Profile / Level 4.1'],
      ['103', 'BD-compatible High Profile / Level 4.1'],
      ['104', 'High Profile / Level 4.2 For 2D Video'],
      ['105', 'High Profile / Level 4.2 For 3D Video'],
      ['106', 'Stereo High Profile / Level 4.2'],
    ] as const
  ).flatMap(([last, profile]) => [
    encapsulated(`1.2.840.10008.1.2.4.${last}`, `${mpeg4} ${profile}`, 'mpeg4', mp4, 'lossy'),
    encapsulated(`1.2.840.10008.1.2.4.${last}.1`, `Fragmentable ${mpeg4} ${profile}`, 'mpeg4', mp4, 'lossy'),
  ]),
  encapsulated('1.2.840.10008.1.2.4.107', 'HEVC/H.265 Main Profile / Level 5.1', 'hevc', mp4, 'lossy'),
  encapsulated('1.2.840.10008.1.2.4.108', 'HEVC/H.265 Main 10 Profile / Level 5.1', 'hevc', mp4, 'lossy'),
  encapsulated('1.2.840.10008.1.2.4.110', 'JPEG XL Lossless', 'jpeg-xl', 'image/jxl', 'lossless'),
  encapsulated('1.2.840.10008.1.2.4.111', 'JPEG XL JPEG Recompression', 'jpeg-xl', 'image/jxl', 'lossy'),
  encapsulated('1.2.840.10008.1.2.4.112', 'JPEG XL', 'jpeg-xl', 'image/jxl', 'lossy'),
  encapsulated(
    '1.2.840.10008.1.2.4.201',
    'High-Throughput JPEG 2000 Image Compression (Lossless Only)',
    'htj2k',
    'image/jphc',
    'lossless',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.202',
    'High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)',
    'htj2k',
    'image/jphc',
    'lossless',
  ),
  encapsulated(
    '1.2.840.10008.1.2.4.203',
    'High-Throughput JPEG 2000 Image Compression',
    'htj2k',
    'image/jphc',
    'lossy',
  ),
  { ...native, uid: '1.2.840.10008.1.2.4.204', name: `JPIP HTJ2K Referenced`, codec: 'unknown' },
  {
    ...native,
    uid: '1.2.840.10008.1.2.4.205',
    name: 'JPIP HTJ2K Referenced Deflate',
    codec: 'unknown',
    deflated: true,
  },
  encapsulated('1.2.840.10008.1.2.5', 'RLE Lossless', 'rle', 'image/dicom-rle', 'lossless'),
  encapsulated(
    '1.2.840.10008.1.2.8.1',
    'Deflated Image Frame Compression',
    'deflate-frame',
    'application/x-deflate',
    'lossless',
  ),
  { ...native, uid: '1.2.840.10008.1.20', name: 'Papyrus 3 Implicit VR Little Endian', explicitVr: false },
  // Little endian data set, big endian pixels: nothing that reads pixels may take them for native ones.
  {
    ...native,
    uid: '1.2.840.113619.5.2',
    name: 'GE Private Implicit VR Little Endian with Big Endian Pixel Data',
    explicitVr: false,
    codec: 'unknown',
  },
];

const byUid = new Map(knownTransferSyntaxes.map((syntax) => [syntax.uid, syntax]));

/**
 * What is known of a transfer syntax. One that is not known is taken for explicit VR little endian with encapsulated
 * pixels, codec `unknown`: what PS3.5 §A.4 makes of every encapsulated one, so that it can be stored and given back.
 */
export function transferSyntaxOf(uid: string): TransferSyntax {
  return byUid.get(uid) ?? encapsulated(uid, 'Unknown Transfer Syntax', 'unknown', 'application/octet-stream', 'lossy');
}
