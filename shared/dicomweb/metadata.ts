/**
 * Retrieve Transaction for metadata (WADO-RS), PS3.18 §10.4.1.1.2: the DICOM JSON of every instance of a study, a series or of
 * one, out of the packs' manifests. No pixel is touched and no JSON parsed: texts are joined, and their relative BulkDataURIs
 * made absolute by their prefix alone. A series of thousands costs one read for each of its packs.
 */
import { BULK_DATA_PREFIX } from '../archive/manifest.ts';
import type { Archive } from '../archive/ports.ts';
import { acceptOf, negotiate } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { codedTag, entityTag, isUnchanged, notModified } from './conditional.ts';
import { chooseCoding, encodeBody } from './content-coding.ts';
import type { Context } from './context.ts';
import { entryIn, type Manifests } from './manifests.ts';
import { type Entries, ManifestsAhead } from './manifests-ahead.ts';
import { type AnyRef, refPath } from './references.ts';
import { inPackOrder, inViewingOrder, listStored, type StoredInstance } from './stored-instances.ts';

/** Up to here the manifests of a series are held together so that its instances come in viewing order; beyond it pack by pack. */
const maximumOrderedInstances = 5000;
const chunkBytes = 256 * 1024;

/** Errors: `not-found`, `not-acceptable`. */
export async function retrieveMetadata(
  options: { readonly archive: Archive; readonly manifests: Manifests },
  context: Context,
  ref: AnyRef,
): Promise<Response> {
  const { value: contentType } = negotiate(acceptOf(context.request, context.query), [
    { type: 'application/dicom+json', form: 'single', value: 'application/dicom+json' },
    { type: 'application/json', form: 'single', value: 'application/json' },
  ]);
  const instances = await listStored(options.archive.index, context.tenant, ref);
  const coding = chooseCoding(context.request.headers.get('accept-encoding'));
  const identity = instances.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]);
  const tag = codedTag(entityTag(contentType, context.baseUrl, ...identity), coding);
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const text = encodeText(jsonArray(options.manifests, instances, context.baseUrl));
  return new Response(encodeBody(await begunStreamOf(text, context), coding), {
    headers: {
      'content-type': contentType,
      etag: tag,
      ...(coding === undefined ? {} : { 'content-encoding': coding }),
    },
  });
}

/** The texts of a JSON array, one piece after the other. */
async function* jsonArray(
  manifests: Manifests,
  instances: readonly StoredInstance[],
  baseUrl: string,
): AsyncGenerator<string, void, undefined> {
  const ahead = new ManifestsAhead(manifests, instances);
  let separator = '[';
  for (const series of bySeries(instances)) {
    const texts = series.length <= maximumOrderedInstances ? viewingOrder(ahead, series) : packOrder(ahead, series);
    for await (const { instance, metadata } of texts) {
      yield separator;
      yield absolute(metadata, `${baseUrl}/${refPath(instance)}/bulkdata/`);
      separator = ',\n';
    }
  }
  yield separator === '[' ? '[]' : ']';
}

interface Text {
  readonly instance: StoredInstance;
  readonly metadata: string;
}

async function* viewingOrder(
  ahead: ManifestsAhead,
  series: readonly StoredInstance[],
): AsyncGenerator<Text, void, undefined> {
  const loaded = new Map<string, Entries>();
  for (const { packId } of inPackOrder(series)) if (!loaded.has(packId)) loaded.set(packId, await ahead.take(packId));
  for (const instance of inViewingOrder(series)) {
    yield { instance, metadata: entryIn(loaded.get(instance.packId)!, instance).metadata };
  }
}

async function* packOrder(
  ahead: ManifestsAhead,
  series: readonly StoredInstance[],
): AsyncGenerator<Text, void, undefined> {
  let current: { packId: string; loaded: Entries } | undefined;
  for (const instance of inPackOrder(series)) {
    const { packId } = instance;
    if (current?.packId !== packId) current = { packId, loaded: await ahead.take(packId) };
    yield { instance, metadata: entryIn(current.loaded, instance).metadata };
  }
}

function bySeries(instances: readonly StoredInstance[]): StoredInstance[][] {
  const groups = new Map<string, StoredInstance[]>();
  for (const instance of instances) {
    const group = groups.get(instance.seriesInstanceUid);
    if (group === undefined) groups.set(instance.seriesInstanceUid, [instance]);
    else group.push(instance);
  }
  return [...groups.values()];
}

/** Within JSON text a quote inside a string is always escaped, so this can only be a BulkDataURI of ours. */
const relativeBulk = `"BulkDataURI":"${BULK_DATA_PREFIX}`;

function absolute(metadata: string, bulkDataUrl: string): string {
  return metadata.replaceAll(relativeBulk, () => `"BulkDataURI":"${bulkDataUrl}`);
}

/** UTF-8 in chunks of one size: a text is written where it belongs, without being joined to others first. */
async function* encodeText(texts: AsyncIterable<string>): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  let chunk = new Uint8Array(chunkBytes);
  let used = 0;
  for await (let text of texts) {
    while (text.length > 0) {
      const { read, written } = encoder.encodeInto(text, chunk.subarray(used));
      used += written;
      if (read === text.length) break;
      text = text.slice(read);
      yield chunk.subarray(0, used);
      chunk = new Uint8Array(chunkBytes);
      used = 0;
    }
  }
  yield chunk.subarray(0, used);
}
