/**
 * Headers as plain values that tests can compare: everything a header says, or the code with which reading it failed.
 * Anything thrown that is no ArchiveError goes through: it is a bug.
 */
import type { DataSet } from '#shared/dicom/data-set.ts';
import { type Header, type HeaderOptions, HeaderReader, readHeader } from '#shared/dicom/part10.ts';
import { tagKey } from '#shared/dicom/tags.ts';
import { isArchiveError } from '#shared/errors.ts';

export function plainDataSet(dataSet: DataSet): unknown {
  return {
    littleEndian: dataSet.littleEndian,
    characterSets: dataSet.characterSets,
    elements: [...dataSet.elements.values()].map(({ tag, vr, offsetBytes, lengthBytes, value, items }) => [
      tagKey(tag),
      vr,
      offsetBytes,
      lengthBytes,
      value === undefined ? undefined : Buffer.from(value).toString('latin1'),
      items?.map(plainDataSet),
    ]),
  };
}

export function plainHeader(header: Header): unknown {
  return {
    fileMeta: header.fileMeta && plainDataSet(header.fileMeta),
    transferSyntaxUid: header.transferSyntax.uid,
    dataSetOffsetBytes: header.dataSetOffsetBytes,
    dataSet: plainDataSet(header.dataSet),
    pixelData: header.pixelData,
    tolerated: header.tolerated,
  };
}

/** The header, or `{ error: code }`. */
export function outcomeOf(read: () => Header): unknown {
  try {
    return plainHeader(read());
  } catch (error) {
    if (isArchiveError(error)) return { error: error.code, message: error.message };
    throw error;
  }
}

export const outcomeOfBytes = (bytes: Uint8Array, options: HeaderOptions = {}): unknown =>
  outcomeOf(() => readHeader(bytes, options));

/** The same with the bytes in chunks; `lengths` are repeated until all bytes are through. */
export function outcomeOfChunks(bytes: Uint8Array, lengths: readonly number[], options: HeaderOptions = {}): unknown {
  return outcomeOf(() => {
    const reader = new HeaderReader(options);
    let at = 0;
    for (let i = 0; at < bytes.length; i++) {
      const length = Math.max(1, lengths[i % lengths.length] ?? 1);
      // A copy of its own, as a socket would give it.
      if (reader.push(bytes.slice(at, at + length))) return reader.header;
      at += length;
    }
    reader.end();
    return reader.header;
  });
}
