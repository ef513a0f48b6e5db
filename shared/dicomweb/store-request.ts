/**
 * What a request to store consists of (PS3.18 §10.5.1, §8.6): its media type, and the parts of its body. What is in them is the
 * business of store.ts and store-json.ts.
 */
import { ArchiveError } from '../errors.ts';
import { parseMediaType } from './media-type.ts';
import { type IncomingPart, readParts } from './multipart-reader.ts';

export interface StoreRequest {
  /** `dicom`: each part is an instance. `metadata`: the first part is metadata, the others are bulk data, or metadata in XML too. */
  readonly kind: 'dicom' | 'metadata';
  /** Each has a `content-type`: what it says, or what the request says for it. */
  readonly parts: AsyncIterable<IncomingPart>;
}

const kinds: ReadonlyMap<string | undefined, StoreRequest['kind']> = new Map([
  ['application/dicom', 'dicom'],
  ['application/dicom+json', 'metadata'],
  ['application/dicom+xml', 'metadata'],
]);

/**
 * A bare application/dicom, application/dicom+json or application/dicom+xml is one part. Error `unsupported-media-type` for
 * everything else: above all for what a page of another origin may send without being asked for it (the CORS-safelisted types, and
 * none at all).
 */
export function readStoreRequest(request: Request, maximumParts: number): StoreRequest {
  const coding = request.headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (coding !== '' && coding !== 'identity') {
    throw new ArchiveError('unsupported-media-type', 'Send the body without a Content-Encoding.');
  }
  const said = request.headers.get('content-type') ?? '';
  const media = parseMediaType(said);
  const body = readBody(request);
  const bare = kinds.get(media?.type);
  if (bare !== undefined) return { kind: bare, parts: alone({ headers: new Map([['content-type', said]]), body }) };
  // Without a type the parts say what they are.
  const inner = parseMediaType(media?.parameters.get('type') || 'application/dicom');
  const kind = kinds.get(inner?.type);
  if (media?.type !== 'multipart/related' || inner === undefined || kind === undefined) {
    throw new ArchiveError(
      'unsupported-media-type',
      'Send instances as multipart/related; type="application/dicom", or as application/dicom.',
    );
  }
  const transferSyntax = media.parameters.get('transfer-syntax') ?? inner.parameters.get('transfer-syntax');
  const unsaid = transferSyntax === undefined ? inner.type : `${inner.type}; transfer-syntax=${transferSyntax}`;
  const parts = readParts(body, media.parameters.get('boundary') ?? '', maximumParts);
  return { kind, parts: withType(unsaid, parts) };
}

async function* alone(part: IncomingPart): AsyncGenerator<IncomingPart, void, undefined> {
  yield part;
}

async function* withType(
  type: string,
  parts: AsyncIterable<IncomingPart>,
): AsyncGenerator<IncomingPart, void, undefined> {
  for await (const { headers, body } of parts) yield { headers: new Map([['content-type', type], ...headers]), body };
}

/** Why a part cannot be read though its type is right; undefined: it can. */
export function codingProblem(headers: ReadonlyMap<string, string>): ArchiveError | undefined {
  const transfer = headers.get('content-transfer-encoding')?.toLowerCase() ?? '';
  const coding = headers.get('content-encoding')?.toLowerCase() ?? '';
  if (['', 'binary', '8bit', '7bit'].includes(transfer) && ['', 'identity'].includes(coding)) return undefined;
  return new ArchiveError('unsupported-media-type', 'A part is encoded; send its bytes as they are.');
}

/** A reader of its own: leaving a loop over the body itself would cancel it, and with it the connection. */
async function* readBody(request: Request): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = request.body?.getReader();
  if (reader === undefined) return;
  for (;;) {
    let read: Awaited<ReturnType<typeof reader.read>>;
    try {
      read = await reader.read();
    } catch (error) {
      throw new ArchiveError('bad-request', 'The body broke off before its end.', {}, error);
    }
    if (read.done) return;
    yield read.value;
  }
}
