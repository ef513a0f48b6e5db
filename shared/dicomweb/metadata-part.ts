/**
 * A part of a request to store that holds metadata (PS3.18 §8.6.3, §10.5.1), from its bytes to data sets: an array of them in DICOM
 * JSON, or one in XML, the Native DICOM Model, which is read as it comes. What they are stored with is store-json.ts.
 */
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { DicomXmlReader } from '../dicom/dicom-xml-reader.ts';
import { ArchiveError } from '../errors.ts';

/** A body that came as one piece is parsed in several, so that limits are seen early. */
const pieceBytes = 64 * 1024;

/** Error `bad-request` for what is no array of objects. Whether they are of the model is found when they are encoded. */
export function parseJsonMetadata(bytes: Uint8Array): DicomJson[] {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new ArchiveError('bad-request', 'The metadata are not JSON in UTF-8.');
  }
  const objects: unknown[] = Array.isArray(json) ? json : [json];
  if (!objects.every((object) => typeof object === 'object' && object !== null && !Array.isArray(object))) {
    throw new ArchiveError('bad-request', 'The metadata are not an array of objects, one for each instance.');
  }
  return objects as DicomJson[];
}

/**
 * Errors: those of DicomXmlReader, and of `taken`.
 * @param taken told the length of all bytes, and the number of XML elements since it was told last, before they are held
 */
export async function readXmlMetadata(
  body: AsyncIterable<Uint8Array>,
  taken: (lengthBytes: number, elements: number) => void,
): Promise<DicomJson> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const reader = new DicomXmlReader();
  const write = (bytes?: Uint8Array): void => {
    const elements = reader.elements;
    let text: string;
    try {
      text = bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      throw new ArchiveError('bad-request', 'The metadata are not XML in UTF-8.');
    }
    reader.write(text);
    taken(bytes?.length ?? 0, reader.elements - elements);
  };
  for await (const bytes of body) {
    for (let at = 0; at < bytes.length; at += pieceBytes) write(bytes.subarray(at, at + pieceBytes));
  }
  write();
  return reader.end();
}
