/**
 * Storing (STOW-RS, PS3.18 §10.5): the instances of a request stream into a receiver one by one as they arrive, of any size and
 * number of bytes; each answers for itself. What is complete is stored, also where the body breaks off behind it: of a request of
 * which something is stored 400 may not be said (§10.5.3.1), and to store it again does no harm.
 */
import type { InstanceReceiver } from '../archive/outcome.ts';
import type { StudyRef } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { Context } from './context.ts';
import { parseMediaType } from './media-type.ts';
import { type IncomingPart, readParts } from './multipart-reader.ts';
import { IncomingFile, nobody, refused, type StoreReport } from './store-file.ts';
import { storeResponse } from './store-response.ts';

export interface StoreOptions {
  readonly receiver: InstanceReceiver;
  /** See DicomwebOptions. */
  readonly findable: (() => Promise<void>) | undefined;
  /** Instances of one request. */
  readonly maximumParts: number;
}

/** Of one request: a sync to disk covers many, and the next is read while they wait for it. */
const commitsAtOnce = 16;
/** More senders than a hospital has; each holds a buffer or two. */
const requestsAtOnce = 64;

const contentTypes = 'multipart/related; type="application/dicom" or application/dicom';

/** POST to `/studies` and `/studies/{study}`. */
export function createStore(
  options: StoreOptions,
): (context: Context, within: StudyRef | undefined) => Promise<Response> {
  let running = 0;
  return async (context, within) => {
    if (running >= requestsAtOnce) {
      throw new ArchiveError('unavailable', 'Too many requests are storing instances; send again in a minute.');
    }
    running++;
    try {
      return await store(options, context, within);
    } finally {
      running--;
    }
  };
}

async function store(options: StoreOptions, context: Context, within: StudyRef | undefined): Promise<Response> {
  const { request, log } = context;
  const parts = partsOf(request, options.maximumParts);
  const studyInstanceUid = within?.studyInstanceUid;
  const reports: Promise<StoreReport>[] = [];
  let trouble: ArchiveError | undefined;
  try {
    for await (const part of parts) {
      await reports.at(-commitsAtOnce);
      const { report, isBroken } = await receivePart(options.receiver, studyInstanceUid, part);
      reports.push(report);
      if (isBroken) break;
    }
  } catch (error) {
    if (!isArchiveError(error)) throw error;
    trouble = error;
  }
  const settled = await Promise.all(reports);
  if (settled.length === 0) trouble ??= new ArchiveError('bad-request', 'The body holds no instance to store.');
  const count = (kind: string): number => settled.filter(({ outcome }) => outcome.kind === kind).length;
  if (count('refused') < settled.length) await options.findable?.();
  const response = storeResponse(context, settled, trouble);
  log.info(
    {
      status: response.status,
      stored: count('stored'),
      duplicates: count('duplicate'),
      conflicts: count('conflict'),
      refused: count('refused'),
      ...(trouble === undefined ? {} : { trouble: trouble.message }),
    },
    'a store request has ended',
  );
  return response;
}

/**
 * The parts of a request's body; a bare application/dicom is one. Error `unsupported-media-type` for everything else: above all for
 * what a page of another origin may send without being asked for it (the CORS-safelisted types, and none at all).
 */
function partsOf(request: Request, maximumParts: number): AsyncIterable<IncomingPart> {
  const coding = request.headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (coding !== '' && coding !== 'identity') {
    throw new ArchiveError('unsupported-media-type', 'Send the body without a Content-Encoding.');
  }
  const said = request.headers.get('content-type');
  const media = said === null ? undefined : parseMediaType(said);
  const body = readBody(request);
  if (media?.type === 'application/dicom') {
    const whole: IncomingPart = { headers: new Map([['content-type', said ?? '']]), body };
    return (async function* () {
      yield whole;
    })();
  }
  // Without a type the parts say what they are.
  const inner = parseMediaType(media?.parameters.get('type') || 'application/dicom');
  if (media?.type !== 'multipart/related' || inner?.type !== 'application/dicom') {
    throw new ArchiveError('unsupported-media-type', `Send instances with a Content-Type of ${contentTypes}.`);
  }
  const transferSyntax = media.parameters.get('transfer-syntax') ?? inner.parameters.get('transfer-syntax');
  const unsaid = `application/dicom${transferSyntax === undefined ? '' : `; transfer-syntax=${transferSyntax}`}`;
  return (async function* () {
    for await (const { headers, body: bytes } of readParts(
      body,
      media.parameters.get('boundary') ?? '',
      maximumParts,
    )) {
      yield { headers: new Map([['content-type', unsaid], ...headers]), body: bytes };
    }
  })();
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

interface ReceivedPart {
  readonly report: Promise<StoreReport>;
  /** The body ended within it: there is nothing behind it to read. */
  readonly isBroken: boolean;
}

/** Reads one part; what becomes of it is known later than that. */
async function receivePart(
  receiver: InstanceReceiver,
  studyInstanceUid: string | undefined,
  { headers, body }: IncomingPart,
): Promise<ReceivedPart> {
  const media = parseMediaType(headers.get('content-type') ?? '');
  const unfit = unfitness(headers, media?.type);
  if (unfit !== undefined) return received(Promise.resolve({ ...nobody, outcome: refused(unfit) }));
  const transferSyntaxUid = media?.parameters.get('transfer-syntax');
  const file = new IncomingFile(receiver, { studyInstanceUid, transferSyntaxUid });
  try {
    for await (const bytes of body) {
      const wait = file.write(bytes);
      if (wait !== undefined) await wait;
      if (file.isRefused) break;
    }
  } catch (error) {
    if (!isArchiveError(error)) {
      file.abort(new ArchiveError('damaged', 'The archive failed while it read a part.'));
      throw error;
    }
    return received(Promise.resolve(file.abort(error)), true);
  }
  return received(file.commit());
}

function received(report: Promise<StoreReport>, isBroken = false): ReceivedPart {
  // Whoever awaits it comes later; until then a failure is nobody's yet.
  report.catch(() => {});
  return { report, isBroken };
}

function unfitness(headers: ReadonlyMap<string, string>, type: string | undefined): ArchiveError | undefined {
  if (type !== 'application/dicom') {
    return new ArchiveError(
      'unsupported-media-type',
      'A part is of another type than application/dicom; it was not stored.',
    );
  }
  const transfer = headers.get('content-transfer-encoding')?.toLowerCase() ?? 'binary';
  const coding = headers.get('content-encoding')?.toLowerCase() ?? 'identity';
  if (['binary', '8bit', '7bit', ''].includes(transfer) && ['identity', ''].includes(coding)) return undefined;
  return new ArchiveError('unsupported-media-type', 'A part is encoded; send its bytes as they are.');
}
