/** Frames of the sample files as the archive would cut them: header, frame table, metadata, one frame's bytes. */
import { readFileSync } from 'node:fs';
import { inflateDataSet } from '#shared/dicom/deflated-data-set.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type FrameTable, frameRange, joinFragments, locateFrames } from '#shared/dicom/frame-ranges.ts';
import { type ByteRangeLike, type Header, readHeader } from '#shared/dicom/part10.ts';
import { tagKey } from '#shared/dicom/tags.ts';

export interface SampleImage {
  readonly metadata: DicomJson;
  readonly transferSyntaxUid: string;
  readonly count: number;
  frame(frameNumber: number): { readonly bytes: Uint8Array; readonly bitOffset: number };
}

export async function openSample(path: string): Promise<SampleImage> {
  const bytes = new Uint8Array(readFileSync(path));
  const header = readHeader(bytes);
  const read = async ({ offsetBytes, lengthBytes }: ByteRangeLike) =>
    bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
  const { table } = await locateFrames(header, bytes.length, read);
  const source = table.kind === 'deflated' ? await inflateDataSet(bytes.subarray(header.dataSetOffsetBytes)) : bytes;
  return {
    metadata: metadataOf(header),
    transferSyntaxUid: header.transferSyntax.uid,
    count: table.kind === 'none' ? 0 : table.kind === 'encapsulated' ? table.frames.length : table.count,
    frame: (frameNumber) => cut(source, header, table, frameNumber),
  };
}

function metadataOf(header: Header): DicomJson {
  const metadata = toDicomJson(header.dataSet, { inlineLimitBytes: 1024 * 1024 });
  const { pixelData } = header;
  return pixelData === undefined ? metadata : { ...metadata, [tagKey(pixelData.tag)]: { vr: pixelData.vr } };
}

function cut(source: Uint8Array, header: Header, table: FrameTable, frameNumber: number) {
  const { offsetBytes, lengthBytes, fragments, bitOffset } = frameRange(table, frameNumber);
  // An odd frame of big-endian words ends with its padding (PS3.5 §8.1.2).
  const pad = !header.transferSyntax.littleEndian && lengthBytes % 2 === 1 ? 1 : 0;
  const range = source.subarray(offsetBytes, offsetBytes + lengthBytes + pad);
  return { bytes: fragments > 1 ? joinFragments(range) : range, bitOffset };
}
