/**
 * Storing (STOW-RS, PS3.18 §10.5): the instances of a request stream into a receiver one by one as they arrive, of any size and
 * number of bytes; each answers for itself. What is complete is stored, also where the body breaks off behind it: of a request of
 * which something is stored 400 may not be said (§10.5.3), and to store it again does no harm.
 */
import type { BatchReceiver, InstanceReceiver } from '../archive/outcome.ts';
import type { StudyRef } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { Context } from './context.ts';
import { parseMediaType } from './media-type.ts';
import type { IncomingPart } from './multipart-reader.ts';
import { IncomingFile, nobody, refused, type StoreReport } from './store-file.ts';
import { HeldBodies, receiveMetadata } from './store-json.ts';
import { codingProblem, readStoreRequest } from './store-request.ts';
import { storeResponse } from './store-response.ts';

export interface StoreOptions {
  readonly receiver: InstanceReceiver | BatchReceiver;
  /** See DicomwebOptions. */
  readonly findable: (() => Promise<void>) | undefined;
  /** Instances of one request. */
  readonly maximumParts: number;
}

type Storing = StoreOptions & { readonly held: HeldBodies };

/** Of one request: a sync to disk covers many, and the next is read while they wait for it. */
const commitsAtOnce = 16;
/** More senders than a hospital has; each holds a buffer or two. */
export const requestsAtOnce = 64;

/** POST to `/studies` and `/studies/{study}`. */
export function createStore(
  options: StoreOptions,
): (context: Context, within: StudyRef | undefined) => Promise<Response> {
  const held = new HeldBodies();
  let running = 0;
  return async (context, within) => {
    if (running >= requestsAtOnce) {
      throw new ArchiveError('unavailable', 'Too many requests are storing instances; send again in a minute.');
    }
    running++;
    try {
      return await store({ ...options, held }, context, within);
    } finally {
      running--;
    }
  };
}

async function store(options: Storing, context: Context, within: StudyRef | undefined): Promise<Response> {
  const reports: Promise<StoreReport>[] = [];
  let trouble: ArchiveError | undefined;
  const batch = 'batch' in options.receiver ? options.receiver.batch(context.tenant) : undefined;
  const receiver = batch ?? (options.receiver as InstanceReceiver);
  try {
    for await (const { report } of reportsOf(receiver, options, context, within)) {
      // Whoever awaits it comes later; until then a failure is nobody's yet.
      report.catch(() => {});
      reports.push(report);
      // Of a batch many are known only at its end.
      if (batch === undefined) await reports.at(-commitsAtOnce);
    }
  } catch (error) {
    if (!isArchiveError(error)) throw error;
    trouble = error;
  } finally {
    batch?.end();
  }
  const settled = await Promise.all(reports);
  if (settled.length === 0) trouble ??= new ArchiveError('bad-request', 'The body holds no instance to store.');
  const count = (kind: string): number => settled.filter(({ outcome }) => outcome.kind === kind).length;
  if (count('refused') < settled.length) await options.findable?.();
  const response = storeResponse(context, settled, trouble);
  context.log.info(
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

/** Instances as they are received, one after the other; what becomes of each is known later than that. */
type Received = AsyncIterable<{ readonly report: Promise<StoreReport> }>;

function reportsOf(
  receiver: InstanceReceiver,
  options: Storing,
  context: Context,
  within: StudyRef | undefined,
): Received {
  const { request } = context;
  const { kind, parts } = readStoreRequest(request, options.maximumParts);
  const studyInstanceUid = within?.studyInstanceUid;
  if (kind === 'dicom') return receiveFiles(receiver, studyInstanceUid, parts);
  return receiveMetadata(receiver, studyInstanceUid, parts, {
    baseUrl: request.url,
    held: options.held,
    maximumInstances: options.maximumParts,
  });
}

async function* receiveFiles(
  receiver: InstanceReceiver,
  studyInstanceUid: string | undefined,
  parts: AsyncIterable<IncomingPart>,
): AsyncGenerator<{ report: Promise<StoreReport> }, void, undefined> {
  for await (const { headers, body } of parts) {
    const media = parseMediaType(headers.get('content-type') ?? '');
    const unfit = media?.type === 'application/dicom' ? codingProblem(headers) : wrongType();
    if (unfit !== undefined) {
      yield { report: Promise.resolve({ ...nobody, outcome: refused(unfit) }) };
      continue;
    }
    const transferSyntaxUid = media?.parameters.get('transfer-syntax');
    const file = new IncomingFile(receiver, { studyInstanceUid, transferSyntaxUid });
    try {
      for await (const bytes of body) {
        const wait = file.write(bytes);
        if (wait !== undefined) await wait;
        if (file.isRefused) break;
      }
    } catch (error) {
      const reason = isArchiveError(error) ? error : new ArchiveError('damaged', 'The archive failed to read a part.');
      const report = file.abort(reason);
      if (reason !== error) throw error;
      // The body ended within it: there is nothing behind it to read.
      yield { report: Promise.resolve(report) };
      return;
    }
    yield { report: file.commit() };
  }
}

function wrongType(): ArchiveError {
  return new ArchiveError(
    'unsupported-media-type',
    'A part is of another type than application/dicom; it was not stored.',
  );
}
