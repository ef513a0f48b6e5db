/**
 * Retrieve Transaction for all bulk data of a study, a series or an instance (WADO-RS, PS3.18 §10.4.1.1.5): one multipart answer, a part
 * for each value that the metadata name by BulkDataURI, under that URI. Compressed Pixel Data, which are no one value, come
 * frame by frame. Packs are read from front to back, neighbours in one ranged stream.
 */
import type { BulkLocation, ManifestEntry } from '../archive/manifest.ts';
import type { Archive, PackStore } from '../archive/ports.ts';
import { frameCount } from '../dicom/frame-ranges.ts';
import { acceptOf, negotiate } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { needsWhole, pixelData, readWhole } from './bulkdata.ts';
import { entityTag, isUnchanged, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { openFrames } from './frame-source.ts';
import { entryIn, type Manifests } from './manifests.ts';
import { ManifestsAhead } from './manifests-ahead.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { PackBytes } from './pack-bytes.ts';
import { partialStatus, reachOf } from './reach.ts';
import { type AnyRef, refPath } from './references.ts';
import { inPackOrder, keyOf, listStored, type StoredInstance } from './stored-instances.ts';

const octetStream = 'application/octet-stream';

/** The rest of a header lies between two instances' pixels; a longer gap costs more to read over than to open anew. */
const maximumGapBytes = 64 * 1024;

/** Errors: `not-found`, `not-acceptable`. A set without bulk data is a multipart without a part. */
export async function retrieveAllBulkData(
  options: { readonly archive: Archive; readonly manifests: Manifests },
  context: Context,
  ref: AnyRef,
): Promise<Response> {
  const { archive, manifests } = options;
  negotiate(acceptOf(context.request, context.query), [
    // Each value is given as it is stored, whatever transfer syntax that is.
    { type: octetStream, form: 'multipart', transferSyntax: { uids: ['*'], whenUnsaid: true }, value: undefined },
  ]);
  const instances = await listStored(archive.index, context.tenant, ref);
  const identity = instances.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]);
  const tag = entityTag('all-bulkdata', context.baseUrl, ...identity);
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const reach = await reachOf(archive.packs, instances, context);
  const parts = partsOf(archive.packs, manifests, context.baseUrl, reach.reachable);
  const { contentType, body } = multipartRelated(octetStream, parts);
  const headers = new Headers({ 'content-type': contentType, etag: tag });
  const status = partialStatus(headers, reach, instances.length, context);
  return new Response(await begunStreamOf(body, context), { status, headers });
}

interface Value {
  readonly instance: StoredInstance;
  readonly entry: ManifestEntry;
  readonly path: string;
  /** Undefined for compressed Pixel Data. */
  readonly located: BulkLocation | undefined;
}

async function* partsOf(
  packs: PackStore,
  manifests: Manifests,
  baseUrl: string,
  instances: readonly StoredInstance[],
): AsyncGenerator<Part, void, undefined> {
  const ahead = new ManifestsAhead(manifests, instances);
  for (const [packId, group] of Map.groupBy(inPackOrder(instances), (instance) => instance.packId)) {
    const entries = await ahead.take(packId);
    const values = group.flatMap((instance) => [...valuesOf(instance, entryIn(entries, instance))]);
    for (const run of runsOf(values)) yield* partsOfRun(packs, baseUrl, run);
  }
}

/** In the order in which they lie in the instance. */
function* valuesOf(instance: StoredInstance, entry: ManifestEntry): Generator<Value> {
  const located = Object.entries(entry.bulk).toSorted(([, a], [, b]) => a.offsetBytes - b.offsetBytes);
  for (const [path, location] of located) yield { instance, entry, path, located: location };
  if (entry.frames.kind === 'encapsulated') yield { instance, entry, path: pixelData, located: undefined };
}

/** Neighbours that can be given as they lie in the pack; every other value alone. */
function* runsOf(values: readonly Value[]): Generator<readonly Value[]> {
  let run: Value[] = [];
  for (const value of values) {
    const gapBytes = run.length === 0 ? 0 : (startOf(value) ?? Number.NaN) - (endOf(run.at(-1)!) ?? Number.NaN);
    // NaN compares with nothing: what is not plain begins a run and ends it.
    if (run.length > 0 && !(gapBytes >= 0 && gapBytes <= maximumGapBytes)) {
      yield run;
      run = [];
    }
    run.push(value);
  }
  if (run.length > 0) yield run;
}

/** In the pack; undefined where no range of it is the value. */
function startOf({ instance, located }: Value): number | undefined {
  if (located === undefined || located.lengthBytes === 0 || needsWhole(instance, located)) return undefined;
  return instance.offsetBytes + located.offsetBytes;
}

function endOf(value: Value): number | undefined {
  const start = startOf(value);
  return start === undefined ? undefined : start + value.located!.lengthBytes;
}

async function* partsOfRun(
  packs: PackStore,
  baseUrl: string,
  run: readonly Value[],
): AsyncGenerator<Part, void, undefined> {
  const [first] = run as [Value, ...Value[]];
  const { instance, entry, located } = first;
  const offsetBytes = startOf(first);
  if (located === undefined) {
    yield* framesOf(packs, baseUrl, instance, entry);
    return;
  }
  if (offsetBytes === undefined) {
    yield { headers: headersOf(baseUrl, first), body: await readWhole(packs, instance, entry, located) };
    return;
  }
  const source = await PackBytes.open(packs, keyOf(instance), {
    offsetBytes,
    lengthBytes: endOf(run.at(-1)!)! - offsetBytes,
  });
  try {
    for (const value of run) {
      await source.skipTo(startOf(value)!);
      yield { headers: headersOf(baseUrl, value), body: source.take(value.located!.lengthBytes) };
    }
  } finally {
    await source.return();
  }
}

function headersOf(baseUrl: string, { instance, path, located }: Value): Record<string, string> {
  return {
    'Content-Type': octetStream,
    'Content-Length': String(located?.lengthBytes),
    'Content-Location': `${baseUrl}/${refPath(instance)}/bulkdata/${path}`,
  };
}

async function* framesOf(
  packs: PackStore,
  baseUrl: string,
  instance: StoredInstance,
  entry: ManifestEntry,
): AsyncGenerator<Part, void, undefined> {
  const frames = openFrames(packs, instance, entry);
  const type = `${frames.stored.mediaType}; transfer-syntax=${frames.givenTransferSyntaxUid}`;
  const frameNumbers = Array.from({ length: frameCount(entry.frames) }, (_, i) => i + 1);
  let frameNumber = 0;
  for await (const body of frames.read(frameNumbers)) {
    frameNumber++;
    const location = `${baseUrl}/${refPath(instance)}/frames/${frameNumber}`;
    yield { headers: { 'Content-Type': type, 'Content-Location': location }, body };
  }
}
