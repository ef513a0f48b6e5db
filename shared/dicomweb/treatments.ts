/**
 * Which treatment the frames of an image get: the presentation state or the segmentation that parameters name, and of a segmentation
 * itself its segments in colour. The parameters are those of WADO-URI (PS3.18 §9) and, of the same kind, ones of our own.
 */
import type { InstanceRecord } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { type PresentedImage, presentedImages } from '../imaging/presentation-state.ts';
import { isSegmentation } from '../imaging/segmentation.ts';
import type { RenderOptions } from './pictures.ts';
import { loadState, presentationTreatment } from './presented.ts';
import type { RenderParameters } from './render-parameters.ts';
import { loadSegmentation, overlayTreatment, ownTreatment } from './segmented.ts';
import type { StoredInstance } from './stored-instances.ts';
import type { Treatment } from './treatment.ts';

/**
 * Undefined: the image as it is.
 * Errors: `not-found` for a state or segmentation that is not there, `bad-request` for one that is about other images, `cannot-render`
 * for one that cannot be applied.
 */
export async function treatmentOf(
  options: RenderOptions,
  tenant: string,
  instance: StoredInstance,
  { presentation, segmentation }: Pick<RenderParameters, 'presentation' | 'segmentation'>,
): Promise<Treatment | undefined> {
  const study = { studyInstanceUid: instance.studyInstanceUid };
  const { index } = options.archive;
  const treatments: Treatment[] = [];
  if (segmentation !== undefined) {
    const record = await named(index.getInstance(tenant, { ...study, ...segmentation.ref }), 'segmentation');
    const loaded = await loadSegmentation(options, record, segmentation.segmentNumbers);
    treatments.push(overlayTreatment(loaded, instance));
  }
  if (presentation !== undefined) {
    const record = await named(index.getInstance(tenant, { ...study, ...presentation }), 'presentation state');
    const loaded = await loadState(options, record);
    treatments.push(presentationTreatment(loaded, imageOf(presentedImages(loaded.state), instance)));
  }
  const [first, second] = treatments;
  if (first !== undefined) return second === undefined ? first : both(first, second);
  return isSegmentation(instance.sopClassUid) ? ownOf(options, instance) : undefined;
}

async function named(looking: Promise<InstanceRecord | undefined>, what: string): Promise<InstanceRecord> {
  const record = await looking;
  if (record !== undefined) return record;
  throw new ArchiveError('not-found', `The ${what} is not in the study of the image; its series and its UID name it.`);
}

/** One that says nothing of what its pixels mean is a picture like any other. */
async function ownOf(options: RenderOptions, instance: StoredInstance): Promise<Treatment | undefined> {
  try {
    return ownTreatment(options, await loadSegmentation(options, instance));
  } catch (error) {
    if (isArchiveError(error, 'cannot-render')) return undefined;
    throw error;
  }
}

function imageOf(images: readonly PresentedImage[], instance: StoredInstance): PresentedImage {
  const image = images.find(({ sopInstanceUid }) => sopInstanceUid === instance.sopInstanceUid);
  if (image !== undefined) return image;
  throw new ArchiveError(
    'bad-request',
    'The presentation state does not refer to this image; ask for the rendered presentation state itself to see those it is about.',
    { sopInstanceUid: instance.sopInstanceUid },
  );
}

/** Segments lie on the image, and the presentation state is about both. */
function both(segments: Treatment, state: Treatment): Treatment {
  return {
    identityOf: async (frameNumbers) => [
      ...(await segments.identityOf(frameNumbers)),
      ...(await state.identityOf(frameNumbers)),
    ],
    frame: async (image, frameNumber) => {
      const under = await segments.frame(image, frameNumber);
      const over = await state.frame(image, frameNumber);
      return {
        ...over,
        heldBytes: under.heldBytes + over.heldBytes,
        drawn: async () => {
          const { segments: overlay } = await under.drawn();
          return { ...(await over.drawn()), ...(overlay && { segments: overlay }) };
        },
      };
    },
    warnings: async (image, frameNumber) => [
      ...(await segments.warnings(image, frameNumber)),
      ...(await state.warnings(image, frameNumber)),
    ],
  };
}
