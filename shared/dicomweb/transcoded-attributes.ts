/**
 * What a data set must say of its pixels once they are in another transfer syntax (PS3.3 §C.7.6.3, §C.7.6.1.1.5), and what of it cannot go
 * along: offset tables of other fragments, compressed icons, overlays within the cells.
 */
import type { DataSet, Element } from '../dicom/data-set.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import type { Change } from '../dicom/re-encoder.ts';
import { Tag, tagKey } from '../dicom/tags.ts';
import type { Codec, TransferSyntax } from '../dicom/transfer-syntax.ts';
import { type ImageAttributes, imageAttributesOf } from '../imaging/image-attributes.ts';
import type { TranscodedFrame } from '../imaging/transcode.ts';

const DERIVATION_DESCRIPTION = 0x00082111;
const LOSSY_IMAGE_COMPRESSION = 0x00282110;
const LOSSY_IMAGE_COMPRESSION_RATIO = 0x00282112;
const LOSSY_IMAGE_COMPRESSION_METHOD = 0x00282114;
const ENCAPSULATED_PIXEL_DATA_VALUE_TOTAL_LENGTH = 0x7fe00003;
const OVERLAY_DATA = 0x3000;
const OVERLAY_BITS_ALLOCATED = 0x0100;
const ITEM_TAG = Buffer.from('feff00e0', 'hex');

/** Lossy Image Compression Method (0028,2114), the terms of PS3.3 §C.7.6.1.1.5.1. */
const lossyMethods: Partial<Record<Codec, string>> = {
  jpeg: 'ISO_10918_1',
  'jpeg-ls': 'ISO_14495_1',
  'jpeg-2000': 'ISO_15444_1',
  htj2k: 'ISO_15444_15',
  'jpeg-xl': 'ISO_18181_1',
};

/** What transcoding a frame asks of a data set. */
export const pixelTags: ReadonlySet<number> = new Set([
  0x00280002, 0x00280004, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
]); // biome-ignore format: a list
const PALETTE_COLOR = 'PALETTE COLOR';
const PHOTOMETRIC_INTERPRETATION = '00280004';

/** Without palettes: indices stay what they are. Errors: `cannot-render` for what describes no pixels. */
export function pixelAttributesOf(metadata: DicomJson): ImageAttributes {
  const keys = [...pixelTags].map(tagKey);
  const { [PHOTOMETRIC_INTERPRETATION]: photometric, ...others } = Object.fromEntries(
    keys.flatMap((key) => (metadata[key] === undefined ? [] : [[key, metadata[key]]])),
  ) as DicomJson;
  if (photometric?.Value?.[0] === PALETTE_COLOR)
    return { ...imageAttributesOf(others, 1), photometricInterpretation: PALETTE_COLOR };
  return imageAttributesOf({ ...others, ...(photometric && { [PHOTOMETRIC_INTERPRETATION]: photometric }) }, 1);
}

/** Of one frame, the first. */
export interface FrameSizes {
  readonly nativeBytes: number;
  readonly storedBytes: number;
}

export function changesOf(
  dataSet: DataSet,
  { samplesPerPixel, bitsStored }: ImageAttributes,
  first: TranscodedFrame,
  sizes: FrameSizes,
  stored: TransferSyntax,
  to: TransferSyntax,
): Map<number, Change> {
  const changes = new Map<number, Change>([
    [Tag.ExtendedOffsetTable, 'removed'],
    [Tag.ExtendedOffsetTableLengths, 'removed'],
    [ENCAPSULATED_PIXEL_DATA_VALUE_TOTAL_LENGTH, 'removed'],
    [Tag.PhotometricInterpretation, text('CS', first.photometricInterpretation)],
    [Tag.HighBit, { vr: 'US', value: unsignedShort(bitsStored - 1) }],
  ]);
  if (samplesPerPixel > 1) changes.set(Tag.PlanarConfiguration, { vr: 'US', value: unsignedShort(0) });
  if (!first.isLossy) return changes;
  // §C.7.6.1.1.5: once lossy, for ever lossy. Each loss has its ratio, which is an approximate one, and its method.
  const wasSaid = dataSet.ascii(LOSSY_IMAGE_COMPRESSION) === '01';
  const isLossHere = to.encapsulated && to.lossy && to.codec === 'jpeg';
  const losses = [
    ...(wasSaid || !stored.lossy ? [] : [{ codec: stored.codec, lengthBytes: sizes.storedBytes }]),
    ...(isLossHere ? [{ codec: to.codec, lengthBytes: first.bytes.length }] : []),
  ];
  if (losses.length === 0) return changes;
  const ratios = losses.map(({ lengthBytes }) => (sizes.nativeBytes / lengthBytes).toFixed(2));
  const methods = losses.flatMap(({ codec }) => lossyMethods[codec] ?? []);
  const before = (tag: number): string[] => (wasSaid ? (dataSet.ascii(tag)?.split('\\') ?? []) : []);
  // Whoever described a derivation before knows more of it than that it was compressed.
  if (isLossHere && !dataSet.ascii(DERIVATION_DESCRIPTION)) {
    changes.set(DERIVATION_DESCRIPTION, text('ST', `Lossy compression: ${to.name}`));
  }
  changes.set(LOSSY_IMAGE_COMPRESSION, text('CS', '01'));
  changes.set(LOSSY_IMAGE_COMPRESSION_RATIO, text('DS', [...before(LOSSY_IMAGE_COMPRESSION_RATIO), ...ratios].join('\\'))); // biome-ignore format: a line each
  changes.set(LOSSY_IMAGE_COMPRESSION_METHOD, text('CS', [...before(LOSSY_IMAGE_COMPRESSION_METHOD), ...methods].join('\\'))); // biome-ignore format: a line each
  return changes;
}

/** Offsets of sequences in whose items there are compressed pixels (PS3.5 §A.4): icons, standard or private, at whatever depth. */
export function* compressedIcons(dataSet: DataSet): Generator<number, void, void> {
  for (const { items = [], offsetBytes } of dataSet.ascending()) {
    if (items.some((item) => isCompressed(item.get(Tag.PixelData)))) yield offsetBytes;
    else for (const item of items) yield* compressedIcons(item);
  }
}

const isCompressed = (pixels: Element | undefined): boolean =>
  pixels !== undefined &&
  (pixels.value === undefined || Buffer.from(pixels.value.subarray(0, ITEM_TAG.length)).equals(ITEM_TAG));

/** Whether a repeating group 60xx has no data of its own but bits of the cells (retired, PS3.5 §8.1.2). */
export function hasOverlayInPixels(dataSet: DataSet): boolean {
  for (let group = 0x6000; group <= 0x601e; group += 2) {
    const bits = dataSet.number(group * 0x10000 + OVERLAY_BITS_ALLOCATED);
    if (bits !== undefined && bits > 1 && dataSet.get(group * 0x10000 + OVERLAY_DATA) === undefined) return true;
  }
  return false;
}

const text = (vr: 'CS' | 'DS' | 'ST', value: string): Change => ({
  vr,
  value: Buffer.from(value.length % 2 === 0 ? value : `${value} `, 'latin1'),
});
const unsignedShort = (number: number): Uint8Array => Uint8Array.of(number & 0xff, number >> 8);
