/**
 * A presentation state out of the archive, and what it makes of the frames that it is about: its data in line, its images by reference. Which
 * resources and parameters ask for it is treatments.ts and rendered-presentation.ts; what it means for pixels is imaging's.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { InstanceRecord } from '../archive/records.ts';
import type { DicomJson, JsonElement, JsonValue } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { presentedSize } from '../imaging/presentation-geometry.ts';
import {
  assertCanBePresented,
  type PresentationKind,
  type PresentedFrame,
  type PresentedImage,
  presentationKindOf,
  presentationOf,
  presentationWarnings,
  presentedAttributes,
  presentedShutter,
} from '../imaging/presentation-state.ts';
import { bulkPathOf, readBulk } from './bulkdata.ts';
import type { RenderOptions } from './pictures.ts';
import type { OpenImage, Treatment } from './treatment.ts';

export interface LoadedState {
  readonly record: Pick<InstanceRecord, 'studyInstanceUid' | 'sopInstanceUid' | 'digest'>;
  readonly kind: PresentationKind;
  /** Nothing of it is in bulk any more. */
  readonly state: DicomJson;
}

/** LUTs, palettes and overlays of one state. */
const maximumBulkBytes = 32 * 1024 * 1024;

/** Errors: `cannot-render` for what is no presentation state, or one of a kind that is not applied here. */
export async function loadState(
  { archive, manifests, parseMetadata }: RenderOptions,
  record: InstanceRecord | (EntryRecord & Pick<InstanceRecord, 'sopClassUid' | 'digest'>),
): Promise<LoadedState> {
  const kind = presentationKindOf(record.sopClassUid);
  if (kind === undefined) {
    throw new ArchiveError(
      'cannot-render',
      'Only grayscale, color and pseudo-color softcopy presentation states are applied here; ask for the images without it.',
      { sopClassUid: record.sopClassUid },
    );
  }
  const entry = await manifests.entryOf(record);
  const metadata = parseMetadata(entry);
  const isInLine = !entry.metadata.includes('"BulkDataURI"');
  return { record, kind, state: isInLine ? metadata : await inLine(archive.packs, record, entry, metadata) };
}

/** Copied as far as it changes: parsed metadata are shared. */
async function inLine(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  metadata: DicomJson,
): Promise<DicomJson> {
  let room = maximumBulkBytes;
  const elementInLine = async (element: JsonElement): Promise<JsonElement> => {
    if (element.BulkDataURI !== undefined) {
      const path = bulkPathOf(element.BulkDataURI);
      room -= entry.bulk[path]?.lengthBytes ?? 0;
      if (room < 0) {
        throw new ArchiveError('limit-exceeded', 'The presentation state holds more bulk data than is drawn here.');
      }
      const bytes = await readBulk(packs, record, entry, path);
      return { vr: element.vr, InlineBinary: Buffer.from(bytes).toString('base64') };
    }
    if (element.vr !== 'SQ' || element.Value === undefined) return element;
    const Value: JsonValue[] = [];
    for (const item of element.Value) Value.push(isItem(item) ? await itemInLine(item) : item);
    return { vr: 'SQ', Value };
  };
  const itemInLine = async (item: DicomJson): Promise<DicomJson> => {
    const copy: DicomJson = {};
    for (const [tag, element] of Object.entries(item)) copy[tag] = await elementInLine(element);
    return copy;
  };
  return itemInLine(metadata);
}

const isItem = (value: JsonValue): value is DicomJson => typeof value === 'object' && value !== null;

/** What the state makes of the frames of one image. */
export function presentationTreatment(
  loaded: LoadedState,
  { sopInstanceUid, frameNumbers }: PresentedImage,
): Treatment {
  const framesOf = (image: OpenImage, frameNumber: number): PresentedFrame => {
    if (frameNumbers?.includes(frameNumber) === false) {
      throw new ArchiveError(
        'bad-request',
        `The presentation state does not refer to frame ${frameNumber} of this image.`,
      );
    }
    assertCanBePresented(loaded.state, loaded.kind, image.metadata);
    return { state: loaded.state, kind: loaded.kind, image: image.metadata, sopInstanceUid, frameNumber };
  };
  return {
    identityOf: async () => [loaded.record.digest],
    frame: async (image, frameNumber) => {
      const frame = framesOf(image, frameNumber);
      const attributes = presentedAttributes(frame, image.bulk);
      const presentation = presentationOf(frame, attributes, image.bulk);
      const { shutter } = presentedShutter(frame, attributes);
      const { width, height } = presentedSize(presentation.placement);
      return {
        attributes,
        size: { rows: height, columns: width },
        // Those of the displayed area are square.
        pixelAspect: 1,
        heldBytes: 0,
        drawn: async () => ({ presentation, ...(shutter && { shutter }) }),
      };
    },
    warnings: async (image, frameNumber) => {
      const frame = framesOf(image, frameNumber);
      const { warnings } = presentedShutter(frame, presentedAttributes(frame, image.bulk));
      return [...presentationWarnings(frame, image.bulk), ...warnings];
    },
  };
}
