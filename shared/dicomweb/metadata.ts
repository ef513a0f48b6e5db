/**
 * Retrieve Transaction for metadata (WADO-RS), PS3.18 §10.4.1.1.2: the DICOM JSON of every instance of a study, a series or of
 * one, out of the packs' manifests, or the same in XML. No pixel is touched, and for JSON none is parsed: texts are joined, and their
 * relative BulkDataURIs made absolute by their prefix alone. A series of thousands costs one read for each of its packs.
 */
import { BULK_DATA_PREFIX } from '../archive/manifest.ts';
import type { Archive } from '../archive/ports.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { dicomXml } from '../dicom/dicom-xml.ts';
import { acceptOf, negotiate } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { codedTag, entityTag, isUnchanged, notModified } from './conditional.ts';
import { chooseCoding, encodeBody } from './content-coding.ts';
import type { Context } from './context.ts';
import { entryIn, type Manifests } from './manifests.ts';
import { type Entries, ManifestsAhead } from './manifests-ahead.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { type AnyRef, refPath } from './references.ts';
import { inPackOrder, inViewingOrder, listStored, type StoredInstance } from './stored-instances.ts';

/** Up to here the manifests of a series are held together so that its instances come in viewing order; beyond it pack by pack. */
const maximumOrderedInstances = 5000;
const chunkBytes = 256 * 1024;

const XML = 'application/dicom+xml';

/** XML has one data set in a document, so that several are a part each. Errors: `not-found`, `not-acceptable`. */
export async function retrieveMetadata(
  options: { readonly archive: Archive; readonly manifests: Manifests },
  context: Context,
  ref: AnyRef,
): Promise<Response> {
  const { type, form } = negotiate(acceptOf(context.request, context.query), [
    { type: 'application/dicom+json', form: 'single', value: undefined },
    { type: 'application/json', form: 'single', value: undefined },
    { type: XML, form: 'multipart', value: undefined },
    ...('sopInstanceUid' in ref ? [{ type: XML, form: 'single', value: undefined } as const] : []),
  ]);
  const instances = await listStored(options.archive.index, context.tenant, ref);
  const coding = chooseCoding(context.request.headers.get('accept-encoding'));
  const identity = instances.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]);
  const tag = codedTag(entityTag(type, form, context.baseUrl, ...identity), coding);
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const texts = metadataOf(options.manifests, instances, context.baseUrl);
  const { contentType, body } =
    form === 'multipart'
      ? multipartRelated(XML, xmlParts(texts))
      : { contentType: type, body: encodeText(type === XML ? xmlDocuments(texts) : jsonArray(texts)) };
  return new Response(encodeBody(await begunStreamOf(body, context), coding), {
    headers: {
      'content-type': contentType,
      etag: tag,
      ...(coding === undefined ? {} : { 'content-encoding': coding }),
    },
  });
}

/** The DICOM JSON of one instance after the other. */
async function* metadataOf(
  manifests: Manifests,
  instances: readonly StoredInstance[],
  baseUrl: string,
): AsyncGenerator<string, void, undefined> {
  const ahead = new ManifestsAhead(manifests, instances);
  for (const series of bySeries(instances)) {
    const texts = series.length <= maximumOrderedInstances ? viewingOrder(ahead, series) : packOrder(ahead, series);
    for await (const { instance, metadata } of texts) {
      yield absolute(metadata, `${baseUrl}/${refPath(instance)}/bulkdata/`);
    }
  }
}

/** The texts of a JSON array, one piece after the other. */
async function* jsonArray(texts: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  let separator = '[';
  for await (const text of texts) {
    yield separator;
    yield text;
    separator = ',\n';
  }
  yield separator === '[' ? '[]' : ']';
}

async function* xmlDocuments(texts: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  for await (const text of texts) yield dicomXml(JSON.parse(text) as DicomJson);
}

async function* xmlParts(texts: AsyncIterable<string>): AsyncGenerator<Part, void, undefined> {
  const encoder = new TextEncoder();
  for await (const xml of xmlDocuments(texts)) {
    yield { headers: { 'Content-Type': XML }, body: encoder.encode(xml) };
  }
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
