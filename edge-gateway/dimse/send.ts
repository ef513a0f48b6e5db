/**
 * Sends DICOM files by C-STORE: reads of each only what it needs to know, proposes the pairs of SOP class and transfer
 * syntax that occur, streams the data sets from where they lie in the files, and opens as many associations as 128
 * contexts each make necessary. A failure concerns one file; a lost association is opened anew for the files left.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { type Header, HeaderReader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { ArchiveError } from '#shared/errors.ts';
import { MAX_PRESENTATION_CONTEXTS } from './associate-pdu.ts';
import { type ConnectOptions, connect, type ProposedContext, type RequestorAssociation } from './client.ts';
import { isWarning, Status } from './status.ts';

const HEADER_CHUNK_BYTES = 64 * 1024;
const READ_BYTES = 512 * 1024;
/** Headers read at once. */
const INSPECTIONS = 4;
/** After so many associations lost in a row the peer is taken to be away. */
const MAX_LOST_ASSOCIATIONS = 3;

export interface SendFilesOptions extends Omit<ConnectOptions, 'contexts'> {
  readonly files: readonly string[];
  /** Called for each file as soon as its fate is known; not in the order of `files`. */
  readonly onResult?: (result: SendResult) => void;
}

export interface SendResult {
  readonly file: string;
  /** What the file says it is; undefined when that could not be read. */
  readonly studyInstanceUid: string | undefined;
  readonly sopInstanceUid: string | undefined;
  /** The peer's answer; undefined when the file was never put to it. */
  readonly status: number | undefined;
  /** The peer's comment, or why it was not put to it. */
  readonly comment: string | undefined;
  readonly error: ArchiveError | undefined;
  /** Of the data set. */
  readonly lengthBytes: number;
  readonly durationMs: number;
}

export interface SendTotals {
  /** Answered Success or with a warning. */
  readonly sent: number;
  readonly failed: number;
  /** Of the data sets sent. */
  readonly lengthBytes: number;
}

interface FileToSend {
  readonly file: string;
  readonly studyInstanceUid: string | undefined;
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  readonly isDeflated: boolean;
  readonly dataSetOffsetBytes: number;
  readonly lengthBytes: number;
}

/** Resolves when every file has its result; never rejects for the sake of a file or the peer. */
export async function sendFiles(options: SendFilesOptions): Promise<SendTotals> {
  const totals = { sent: 0, failed: 0, lengthBytes: 0 };
  const report = (result: SendResult) => {
    if (result.status !== undefined && (result.status === Status.Success || isWarning(result.status))) {
      totals.sent++;
      totals.lengthBytes += result.lengthBytes;
    } else totals.failed++;
    options.onResult?.(result);
  };
  const found = await inspectAll(options.files, report);
  for (const batch of batches(found)) await sendBatch(batch, options, report);
  return totals;
}

async function inspectAll(files: readonly string[], report: (result: SendResult) => void): Promise<FileToSend[]> {
  const found: (FileToSend | undefined)[] = new Array(files.length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < files.length; i = next++) {
      const file = files[i] as string;
      try {
        found[i] = await inspect(file);
      } catch (error) {
        report(failure({ file }, asArchiveError(error)));
      }
    }
  };
  await Promise.all(Array.from({ length: INSPECTIONS }, worker));
  return found.filter((file) => file !== undefined);
}

async function inspect(file: string): Promise<FileToSend> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const header = await readHeaderOf(handle, size);
    const uid = (tag: number) => header.dataSet.ascii(tag);
    const sopClassUid = uid(Tag.SOPClassUID) ?? header.fileMeta?.ascii(Tag.MediaStorageSOPClassUID);
    const sopInstanceUid = uid(Tag.SOPInstanceUID) ?? header.fileMeta?.ascii(Tag.MediaStorageSOPInstanceUID);
    if (sopClassUid === undefined || sopInstanceUid === undefined)
      throw new ArchiveError('bad-dicom', 'the file has no SOP Class UID or no SOP Instance UID and cannot be stored');
    const lengthBytes = size - header.dataSetOffsetBytes;
    // Found out here rather than at its end, which would cost the association.
    if (lengthBytes % 2 !== 0 && !header.transferSyntax.deflated)
      throw new ArchiveError('bad-dicom', 'the data set has an odd length and cannot be sent; repair it first');
    return {
      file,
      studyInstanceUid: uid(Tag.StudyInstanceUID),
      sopClassUid,
      sopInstanceUid,
      transferSyntaxUid: header.transferSyntax.uid,
      isDeflated: header.transferSyntax.deflated,
      dataSetOffsetBytes: header.dataSetOffsetBytes,
      lengthBytes,
    };
  } finally {
    await handle.close();
  }
}

async function readHeaderOf(handle: FileHandle, totalLengthBytes: number): Promise<Header> {
  const reader = new HeaderReader({ totalLengthBytes });
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await handle.read(
      Buffer.allocUnsafe(HEADER_CHUNK_BYTES),
      0,
      HEADER_CHUNK_BYTES,
      position,
    );
    if (bytesRead === 0) {
      reader.end();
      return reader.header;
    }
    if (reader.push(buffer.subarray(0, bytesRead))) return reader.header;
    position += bytesRead;
  }
}

interface Batch {
  readonly contexts: readonly ProposedContext[];
  readonly files: readonly FileToSend[];
}

/** Files by the association that carries them: in their order, at most 128 pairs each. */
function batches(files: readonly FileToSend[]): Batch[] {
  const open: { contexts: Map<string, ProposedContext>; files: FileToSend[] }[] = [];
  const placeOf = new Map<string, (typeof open)[number]>();
  for (const file of files) {
    const pair = `${file.sopClassUid} ${file.transferSyntaxUid}`;
    let place = placeOf.get(pair);
    if (place === undefined) {
      place = open.at(-1);
      if (place === undefined || place.contexts.size === MAX_PRESENTATION_CONTEXTS) {
        place = { contexts: new Map(), files: [] };
        open.push(place);
      }
      place.contexts.set(pair, { abstractSyntax: file.sopClassUid, transferSyntaxes: [file.transferSyntaxUid] });
      placeOf.set(pair, place);
    }
    place.files.push(file);
  }
  return open.map(({ contexts, files: own }) => ({ contexts: [...contexts.values()], files: own }));
}

async function sendBatch(batch: Batch, options: SendFilesOptions, report: (result: SendResult) => void): Promise<void> {
  const left = [...batch.files];
  let lost = 0;
  while (left.length > 0) {
    let association: RequestorAssociation;
    try {
      association = await connect({ ...options, contexts: batch.contexts });
    } catch (error) {
      for (const file of left.splice(0)) report(failure(file, asArchiveError(error)));
      return;
    }
    let answered = 0;
    const worker = async () => {
      while (association.isOpen) {
        const file = left.shift();
        if (file === undefined) return;
        const result = await sendOne(association, file);
        if (result.status !== undefined) answered++;
        report(result);
      }
    };
    await Promise.all(Array.from({ length: association.operations }, worker));
    if (association.isOpen) {
      await association.release();
      continue;
    }
    lost = answered > 0 ? 1 : lost + 1;
    if (lost < MAX_LOST_ASSOCIATIONS) continue;
    const away = new ArchiveError('unavailable', 'the peer ended every association; these files were not tried');
    for (const file of left.splice(0)) report(failure(file, away));
  }
}

async function sendOne(association: RequestorAssociation, file: FileToSend): Promise<SendResult> {
  const startedAtMs = performance.now();
  try {
    const { sopClassUid, sopInstanceUid, transferSyntaxUid } = file;
    const dataSet = dataSetOf(file);
    const answer = await association.store({ sopClassUid, sopInstanceUid, transferSyntaxUid, dataSet });
    return {
      file: file.file,
      studyInstanceUid: file.studyInstanceUid,
      sopInstanceUid,
      status: answer.status,
      comment: answer.comment,
      error: undefined,
      lengthBytes: file.lengthBytes,
      durationMs: performance.now() - startedAtMs,
    };
  } catch (error) {
    return { ...failure(file, asArchiveError(error)), durationMs: performance.now() - startedAtMs };
  }
}

/** A deflated data set of odd length is padded with a NUL, as PS3.5 §A.5 has it; others go as they are. */
async function* dataSetOf(file: FileToSend): AsyncGenerator<Uint8Array> {
  const handle = await open(file.file);
  try {
    let position = file.dataSetOffsetBytes;
    const end = position + file.lengthBytes;
    while (position < end) {
      const wanted = Math.min(READ_BYTES, end - position);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(wanted), 0, wanted, position);
      if (bytesRead === 0) throw new ArchiveError('bad-dicom', 'the file became shorter while it was sent');
      yield buffer.subarray(0, bytesRead);
      position += bytesRead;
    }
    if (file.isDeflated && file.lengthBytes % 2 !== 0) yield new Uint8Array(1);
  } finally {
    await handle.close();
  }
}

function failure(of: { file: string } & Partial<FileToSend>, error: ArchiveError): SendResult {
  return {
    file: of.file,
    studyInstanceUid: of.studyInstanceUid,
    sopInstanceUid: of.sopInstanceUid,
    status: undefined,
    comment: error.message,
    error,
    lengthBytes: of.lengthBytes ?? 0,
    durationMs: 0,
  };
}

function asArchiveError(error: unknown): ArchiveError {
  if (error instanceof ArchiveError) return error;
  return new ArchiveError('bad-request', 'the file cannot be read; check that it exists and may be read', {}, error);
}
