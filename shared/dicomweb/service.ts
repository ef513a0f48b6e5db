/**
 * The DICOMweb Service (PS3.18) over an Archive: from a Request to the handler of its resource, and the rules that hold
 * for every answer: methods, limits, CORS, caching, errors. Mounted by a Lambda, by the edge on the LAN and by the one-machine
 * run alike. CONFORMANCE.md says what it does and does not do.
 */
import type { BatchReceiver, InstanceReceiver } from '../archive/outcome.ts';
import type { Archive } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { problemResponse } from '../problem.ts';
import { retrieveAllBulkData } from './all-bulkdata.ts';
import { baseUrlOf } from './base-url.ts';
import { retrieveBulkData } from './bulkdata.ts';
import { createByteBudget } from './byte-budget.ts';
import { describeOpenApi, describeRoute, describeService } from './capabilities.ts';
import type { Context } from './context.ts';
import { allowCrossOrigin } from './cross-origin.ts';
import { type Eraser, erase, goneIfDeleted } from './erase.ts';
import { createFrameTranscoder, type FrameTranscoderOptions } from './frame-transcoder.ts';
import { retrieveFrames } from './frames.ts';
import { createManifests, type InspectEntry } from './manifests.ts';
import { retrieveMetadata } from './metadata.ts';
import { createMetadataParser } from './parsed-metadata.ts';
import type { Render } from './pictures.ts';
import { retrievePixelData } from './pixeldata.ts';
import { logFieldsOf } from './references.ts';
import { retrieveRendered } from './rendered.ts';
import { retrieveRenderedVolume } from './rendered-volume.ts';
import { retrieveInstances } from './retrieve.ts';
import { findRoute, methodsOf, partOfKind, type Resource, type ServicePart } from './routes.ts';
import { createSearch } from './search.ts';
import { createStore } from './store.ts';
import { retrieveThumbnail } from './thumbnails.ts';
import { createVolumes, type VolumesOptions } from './volumes.ts';
import { retrieveByUri } from './wado-uri.ts';

/** A web service that holds no socket. It never rejects. */
export type Service = (request: Request) => Promise<Response>;

export interface DicomwebOptions {
  readonly archive: Archive;
  /** Whose archive a request is about, from its credentials; throws `unauthorized` or `forbidden`. */
  readonly tenantOf: (request: Request) => string;
  readonly render: Render;
  /** Frames in another transfer syntax than they are stored in; RenderPool's `transcode`. */
  readonly transcode: FrameTranscoderOptions['transcode'];
  readonly log: Logger;
  /** What loads volumes and cuts planes out of them; a VolumePool. Without it there are none. */
  readonly volumes?: VolumesOptions['pool'];
  /** For volumes that are in use or kept for the next cut. Default 512 MiB: three of 512 x 512 x 300. */
  readonly volumeCacheBytes?: number;
  /** Where instances are stored to: one by one, or those of a request together. Without it nothing can be. */
  readonly receiver?: InstanceReceiver | BatchReceiver;
  /**
   * Resolves when what was stored before the call can be found; the answer to a request to store waits for it, so that its URLs work at
   * once. It ends in any case: what is stored is stored.
   */
  readonly findable?: () => Promise<void>;
  /** Of one request to store. Default 10,000. */
  readonly maximumStoreParts?: number;
  /** What deletes; without it nothing can be. */
  readonly eraser?: Eraser;
  /** Default: all, `store` only with a receiver, `erase` with an eraser. */
  readonly parts?: readonly ServicePart[];
  /**
   * What the whole deployment answers, wherever it is mounted: Allow and the capabilities name it. Default: what this service reads, and
   * what it writes where it has where to.
   */
  readonly offered?: readonly ServicePart[];
  /**
   * Origins whose pages may read answers (CORS); '*' for any, which is right only where every request carries a token. Default:
   * none, so that a page of somewhere else cannot read an archive that is open to its network.
   */
  readonly allowedOrigins?: readonly string[];
  /** For decoded manifests, which metadata and frames are served from. Default 64 MiB. */
  readonly manifestCacheBytes?: number;
  /**
   * Where packs are read before they have a manifest, as at a gateway: makes single entries of one. Default: the index names no pack
   * without a manifest, and one that is missing is damage.
   */
  readonly inspectEntry?: InspectEntry;
}

/** Below this a URL fits every proxy, and a list of 200 UIDs still fits it. */
export const maximumUrlLength = 16 * 1024;
const allowRead = 'GET, HEAD, OPTIONS';
/** As many instances as the longest examinations have; a client sends the rest in another request. */
export const defaultMaximumStoreParts = 10_000;
const MIB = 1024 * 1024;

/** Frames of common sizes are bounded by the render pool's own queue; this bounds the large ones. */
const renderedAtOnceBytes = 128 * MIB;
const maximumWaitingPictures = 256;
/** Two for each thread of a pool: what a study is rendered for never waits, and a single picture waits for these at most. */
const picturesOfManyAtOnce = 4;
/** Each answer has two at most; more answers than a host has connections for. */
const maximumWaitingTurns = 4_096;

type Handler = (context: Context, resource: Resource) => Promise<Response>;

export function createDicomwebService(options: DicomwebOptions): Service {
  const { tenantOf, log, allowedOrigins = [] } = options;
  const parts: ReadonlySet<ServicePart> = new Set(
    options.parts ?? ['search', 'retrieve', 'render', 'volume', 'store', 'erase'],
  );
  const canStore = options.receiver !== undefined && parts.has('store');
  const canErase = options.eraser !== undefined && parts.has('erase');
  const hasVolumes = options.volumes !== undefined && parts.has('volume');
  const reads: readonly ServicePart[] = ['search', 'retrieve', 'render', ...(hasVolumes ? ['volume' as const] : [])];
  const offered: ReadonlySet<ServicePart> = new Set(
    options.offered ?? [...reads, ...(canStore ? ['store' as const] : []), ...(canErase ? ['erase' as const] : [])],
  );

  const handle = createHandler(options, offered);

  const answer = async (request: Request): Promise<Response> => {
    let requestLog = log;
    try {
      if (request.url.length > maximumUrlLength) {
        throw new ArchiveError(
          'limit-exceeded',
          `The URL is longer than ${maximumUrlLength} characters; ask in several requests.`,
        );
      }
      const url = new URL(request.url);
      const found = findRoute(url.pathname);
      if (found === undefined) throw noResource();
      const methods = methodsOf(found.route, offered);
      const allow = methods.join(', ');
      if (request.method === 'OPTIONS') {
        const asked = { request, query: url.searchParams, baseUrl: baseUrlOf(request) };
        return describeRoute(asked, found.route, offered);
      }
      const resource = methods.includes(request.method) ? found.resource(request.method) : undefined;
      if (resource === undefined) {
        const where = request.method === 'DELETE' ? ' Where deleting is possible, it is in the cloud archive.' : '';
        throw new ArchiveError('method-not-allowed', `This resource answers ${allow}.${where}`, { allow });
      }
      const ref = 'ref' in resource ? resource.ref : 'within' in resource ? resource.within : undefined;
      // The query string may name a patient: it never reaches the log.
      requestLog = log.child({ resource: resource.kind, ...(ref && logFieldsOf(ref)) });
      // Behind the methods: they are the same whichever part a deployment sends them to.
      if (!parts.has(partOfKind(resource.kind))) throw noResource();
      const tenant = tenantOf(request);
      const context = { request, query: url.searchParams, tenant, baseUrl: baseUrlOf(request), log: requestLog };
      try {
        return await handle(context, resource);
      } catch (error) {
        throw ref === undefined ? error : await goneIfDeleted(options.archive.index, tenant, ref, error);
      }
    } catch (error) {
      return problemResponse(error, requestLog);
    }
  };

  return async (request) => {
    const response = await withoutBodyForHead(request, await answer(request));
    const { headers } = response;
    headers.set('x-content-type-options', 'nosniff');
    if (!headers.has('cache-control')) headers.set('cache-control', 'private, no-cache');
    headers.append('vary', 'Accept, Accept-Encoding, Authorization, Origin');
    allowCrossOrigin(request, headers, allowedOrigins, headers.get('allow') ?? allowRead);
    return response;
  };
}

const noResource = (): ArchiveError =>
  new ArchiveError('not-found', 'No DICOMweb resource has this path; OPTIONS on /dicomweb lists those there are.');

function createHandler(settings: DicomwebOptions, offered: ReadonlySet<ServicePart>): Handler {
  const { archive, render, transcode, manifestCacheBytes = 64 * MIB, inspectEntry } = settings;
  const manifests = createManifests(archive.packs, manifestCacheBytes, inspectEntry);
  const frameBudget = createByteBudget(renderedAtOnceBytes, maximumWaitingPictures);
  const bulkBudget = createByteBudget(renderedAtOnceBytes, maximumWaitingPictures);
  const pictureTurns = createByteBudget(picturesOfManyAtOnce, maximumWaitingTurns);
  const transcoder = createFrameTranscoder({ transcode });
  const parseMetadata = createMetadataParser();
  const options = { archive, manifests, render, frameBudget, bulkBudget, pictureTurns, transcoder, parseMetadata };
  const { volumes: pool, volumeCacheBytes: cacheBytes = 512 * MIB } = settings;
  const volumes = pool && createVolumes({ packs: archive.packs, manifests, parseMetadata, pool, cacheBytes });
  const search = createSearch(archive);
  const { eraser, allowedOrigins = [] } = settings;
  const { receiver, findable, maximumStoreParts: maximumParts = defaultMaximumStoreParts } = settings;
  const store = receiver && createStore({ receiver, findable, maximumParts });
  return async (context, resource) => {
    switch (resource.kind) {
      case 'capabilities':
        return describeService(context, offered);
      case 'openapi':
        return describeOpenApi(context, offered);
      case 'search':
        return search(context, resource);
      case 'store':
        if (store === undefined) throw noResource();
        return store(context, resource.within);
      case 'erase':
        if (eraser === undefined) throw noResource();
        return erase(eraser, context, resource.ref, allowedOrigins);
      case 'instances':
        return retrieveInstances(options, context, resource.ref);
      case 'metadata':
        return retrieveMetadata(options, context, resource.ref);
      case 'bulkdata':
        return retrieveBulkData(options, context, resource.ref, resource.path);
      case 'all-bulkdata':
        return retrieveAllBulkData(options, context, resource.ref);
      case 'pixeldata':
        return retrievePixelData(options, context, resource.ref);
      case 'frames':
        return retrieveFrames(options, context, resource.ref, resource.frameNumbers);
      case 'rendered':
        return retrieveRendered(options, context, resource);
      case 'thumbnail':
        return retrieveThumbnail(options, context, resource);
      case 'renderedmpr':
      case 'rendered3d':
        if (volumes === undefined) throw noResource();
        return retrieveRenderedVolume({ archive, volumes, pictureTurns }, context, resource);
      case 'wado-uri':
        return retrieveByUri(options, context, (asked, ref) => retrieveInstances(options, asked, ref));
    }
  };
}

/** HEAD is answered as GET, and the body, of which nothing has been read yet, is let go. */
async function withoutBodyForHead(request: Request, response: Response): Promise<Response> {
  if (request.method !== 'HEAD') return response;
  await response.body?.cancel();
  return new Response(null, response);
}
