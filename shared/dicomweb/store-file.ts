/**
 * One DICOM file out of the body of a STOW-RS request, as it arrives: what precedes the data set (PS3.10 §7.1) is read and let go,
 * the preamble above all, which may hold a program (CVE-2019-11687); the data set goes to the receiver byte for byte. Files come
 * without preamble, prefix or File Meta: they are taken if their data set can be recognised.
 */
import type { InstanceReceiver, InstanceSink, Outcome } from '../archive/outcome.ts';
import { ByteWindow } from '../dicom/byte-window.ts';
import { HeaderReader, type HeaderStart } from '../dicom/part10.ts';
import { Tag } from '../dicom/tags.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';

/** What became of one instance of a request. */
export interface StoreReport {
  /** As the data set says, else File Meta; undefined when neither does, or neither could be read. */
  readonly sopClassUid: string | undefined;
  readonly sopInstanceUid: string | undefined;
  readonly outcome: Outcome;
}

/** Of a part that cannot be said to be an instance. */
export const nobody = { sopClassUid: undefined, sopInstanceUid: undefined };

export interface FileExpectation {
  /** Of the URL that the request stored to. */
  readonly studyInstanceUid: string | undefined;
  /** As the media type says (PS3.18 §8.7.3.5.2); counts only where the file does not say it. */
  readonly transferSyntaxUid: string | undefined;
}

/** Preamble and File Meta together are a few hundred bytes. */
const MAX_FILE_META_BYTES = 1024 * 1024;
/** SOP Class and Instance UID stand in the first hundred bytes of a data set; further on nobody looks for them. */
const IDENTITY_BYTES = 64 * 1024;

/** Exactly one of `commit` and `abort` ends it. */
export class IncomingFile {
  readonly #receiver: InstanceReceiver;
  readonly #expected: FileExpectation;
  readonly #reader = new HeaderReader();
  /** What came before the receiver could begin; nothing of it is read from it before that. */
  #held = new ByteWindow();
  #sink: InstanceSink | undefined;
  #refusal: ArchiveError | undefined;
  #sopClassUid: string | undefined;
  #sopInstanceUid: string | undefined;

  constructor(receiver: InstanceReceiver, expected: FileExpectation) {
    this.#receiver = receiver;
    this.#expected = expected;
  }

  /** Whether nothing that comes matters any more. */
  get isRefused(): boolean {
    return this.#refusal !== undefined;
  }

  /** Takes the next bytes, which nobody may write to afterwards. A promise: wait for it before the next ones. */
  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#refusal !== undefined) return;
    if (this.#sink !== undefined) return this.#sink.write(bytes);
    this.#held.append(bytes);
    return this.#advance(() => this.#reader.push(bytes));
  }

  /** The file is complete. Resolves when its instance is on stable storage, or refused. */
  async commit(): Promise<StoreReport> {
    if (this.#sink === undefined && this.#refusal === undefined) {
      await this.#advance(() => {
        this.#reader.end();
        return true;
      });
    }
    const sink = this.#sink;
    return this.#report(sink === undefined ? refused(this.#refusal ?? noDataSet()) : await sink.commit());
  }

  /** The rest of it will not come. */
  abort(reason: ArchiveError): StoreReport {
    this.#sink?.abort();
    this.#held = new ByteWindow();
    return this.#report(refused(this.#refusal ?? reason));
  }

  #report(outcome: Outcome): StoreReport {
    return { sopClassUid: this.#sopClassUid, sopInstanceUid: this.#sopInstanceUid, outcome };
  }

  #advance(read: () => boolean): void | Promise<void> {
    let isRead: boolean;
    let failure: ArchiveError | undefined;
    try {
      isRead = read();
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      // Where the data set has begun its receiver judges it, which may be more lenient.
      failure = error;
      isRead = true;
    }
    const { start } = this.#reader;
    if (start === undefined) {
      if (isRead) this.#refuse(failure ?? noDataSet());
      else if (this.#held.filled > MAX_FILE_META_BYTES) this.#refuse(endlessFileMeta());
      return;
    }
    const isIdentified = start.dataSet === undefined || start.dataSet.highestTag > Tag.SOPInstanceUID;
    if (isRead || isIdentified || this.#held.filled > start.dataSetOffsetBytes + IDENTITY_BYTES)
      return this.#begin(start);
  }

  async #begin(start: HeaderStart): Promise<void> {
    const { fileMeta, dataSet, dataSetOffsetBytes } = start;
    this.#sopClassUid = dataSet?.ascii(Tag.SOPClassUID) ?? fileMeta?.ascii(Tag.MediaStorageSOPClassUID);
    this.#sopInstanceUid = dataSet?.ascii(Tag.SOPInstanceUID) ?? fileMeta?.ascii(Tag.MediaStorageSOPInstanceUID);
    const transferSyntaxUid = this.#transferSyntaxUid(start);
    if (!isUid(transferSyntaxUid)) {
      this.#refuse(
        new ArchiveError('unsupported-transfer-syntax', 'The Transfer Syntax UID (0002,0010) of a file is no UID.'),
      );
      return;
    }
    const { studyInstanceUid } = this.#expected;
    // File Meta may name another instance than the data set, which is what counts; a deflated one says nothing yet.
    const isKnown = dataSet !== undefined;
    const sink = this.#receiver.begin({
      sopClassUid: isKnown ? this.#sopClassUid : undefined,
      sopInstanceUid: isKnown ? this.#sopInstanceUid : undefined,
      transferSyntaxUid,
      sourceAeTitle: undefined,
      ...(studyInstanceUid === undefined ? {} : { studyInstanceUid }),
    });
    this.#sink = sink;
    const { bytes, filled } = this.#held;
    this.#held = new ByteWindow();
    if (filled > dataSetOffsetBytes) await sink.write(bytes.subarray(dataSetOffsetBytes, filled));
  }

  /** A bare data set shows how its elements are encoded, but not how its pixels are compressed. */
  #transferSyntaxUid({ fileMeta, transferSyntax }: HeaderStart): string {
    const said = fileMeta?.ascii(Tag.TransferSyntaxUID);
    if (said !== undefined) return said;
    const named = this.#expected.transferSyntaxUid;
    const fits =
      named !== undefined && transferSyntax.uid === EXPLICIT_VR_LITTLE_ENDIAN && transferSyntaxOf(named).encapsulated;
    return fits ? named : transferSyntax.uid;
  }

  #refuse(error: ArchiveError): void {
    this.#refusal = error;
    this.#held = new ByteWindow();
  }
}

export function refused(error: ArchiveError): Outcome {
  const { offendingElements } = error.details;
  const tags = Array.isArray(offendingElements) ? { offendingElements: offendingElements as readonly number[] } : {};
  return { kind: 'refused', code: error.code, reason: error.message, ...tags };
}

function noDataSet(): ArchiveError {
  return new ArchiveError('bad-dicom', 'A part holds no data set.');
}

function endlessFileMeta(): ArchiveError {
  return new ArchiveError(
    'limit-exceeded',
    `The File Meta Information of a file is longer than ${MAX_FILE_META_BYTES} bytes.`,
  );
}
