/**
 * One instance on its way in where there is no gateway (an InstanceSink): hashed and read as it arrives, on scratch storage from
 * the moment that it is known which instance it is; complete, it is its batch's to place. Nothing of it is in memory but its header.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { type Identity, InstanceReader, identityOf, toleratedOf, trimUid } from '#shared/archive/instance-reader.ts';
import {
  type IncomingInstance,
  type InstanceSink,
  type Outcome,
  refusalOf,
  withTolerated,
} from '#shared/archive/outcome.ts';
import type { InstanceRecord, InstanceRef } from '#shared/archive/records.ts';
import { encodeFileMeta } from '#shared/dicom/part10.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { ScratchFiles, ScratchRange } from './scratch.ts';

/** An instance that is complete on scratch storage, as a Part 10 file. */
export interface Spooled {
  readonly ref: InstanceRef;
  /** SHA-256 of its data set. */
  readonly digest: string;
  readonly crc32: number;
  readonly range: ScratchRange;
}

/** What a sink needs of the batch that it belongs to. */
export interface SpoolGround {
  readonly files: ScratchFiles;
  readonly headers: HeaderBudget;
  readonly log: Logger;
  /** What the index knows of the instance. */
  versions(ref: InstanceRef): Promise<readonly InstanceRecord[]>;
  /** Runs the work when that of the instances before has ended. */
  inOrder<T>(work: () => Promise<T>): Promise<T>;
  /** Takes over the range, and releases it. Rejects where `known` does. */
  place(instance: Spooled, known: Promise<readonly InstanceRecord[]>): Promise<{ readonly outcome: Promise<Outcome> }>;
  ended(sink: SpooledInstance): void;
}

const WRITE_BYTES = 256 * 1024;
/** Pieces shorter than this are copied together: each on its own costs more memory than it has. */
const SHORT_BYTES = 8 * 1024;
const BLOCK_BYTES = 64 * 1024;
/** Until it is known which instance it is. */
const MAX_UNIDENTIFIED_BYTES = 16 * 1024 * 1024;

/** Headers are read in memory; of all instances on their way in together they have so much. Short ones are always read. */
export class HeaderBudget {
  readonly #limitBytes: number;
  readonly #shortBytes = 1024 * 1024;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Error `out-of-resources`; what it holds counts all the same until it is changed to 0. */
  change(fromBytes: number, toBytes: number): void {
    this.#usedBytes += toBytes - fromBytes;
    if (toBytes > Math.max(fromBytes, this.#shortBytes) && this.#usedBytes > this.#limitBytes) {
      throw new ArchiveError(
        'out-of-resources',
        'The archive has too many long headers to read; send again in a minute.',
      );
    }
  }
}

type State = 'arriving' | 'failed' | 'committed' | 'ended';

export class SpooledInstance implements InstanceSink {
  readonly #ground: SpoolGround;
  readonly #incoming: IncomingInstance;
  readonly #hash = createHash('sha256');
  #reader: InstanceReader;
  #headerBytes = 0;
  #state: State = 'arriving';
  #failure: unknown;
  #block = Buffer.alloc(0);
  #filledBytes = 0;
  /** Preamble and File Meta; known as soon as the SOP Class and Instance UIDs are. */
  #prefix: Uint8Array | undefined;
  #crc32 = 0;
  #dataSetBytes = 0;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #range: ScratchRange | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** What was written before it began. */
  #before: Promise<void> | undefined;
  #identity: Identity | undefined;
  #known: Promise<readonly InstanceRecord[]> | undefined;
  #tolerated: readonly string[] = [];

  constructor(ground: SpoolGround, incoming: IncomingInstance) {
    this.#ground = ground;
    this.#incoming = incoming;
    this.#before = ground.files.written;
    this.#reader = new InstanceReader({ transferSyntaxUid: incoming.transferSyntaxUid });
    this.#try(() => this.#findPrefix(incoming.sopClassUid, incoming.sopInstanceUid));
  }

  get isArriving(): boolean {
    return this.#state === 'arriving';
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#state !== 'arriving') return;
    this.#try(() => {
      if (bytes.length >= SHORT_BYTES) {
        this.#endBlock();
        this.#absorb(bytes);
      } else this.#collect(bytes);
    });
    const before = this.#before;
    this.#before = undefined;
    const flushed = this.#prefix !== undefined && this.#heldBytes >= WRITE_BYTES ? this.#flush() : undefined;
    return before === undefined || flushed === undefined ? (before ?? flushed) : before.then(() => flushed);
  }

  async commit(): Promise<Outcome> {
    try {
      const instance = this.#complete();
      const placed = await this.#ground.inOrder(async () => {
        await this.#writing;
        return this.#ground.place(instance, this.#known ?? Promise.resolve([]));
      });
      return withTolerated(await placed.outcome, this.#tolerated);
    } catch (error) {
      this.#range?.release();
      return refusalOf(error, this.#incoming, this.#ground.log);
    } finally {
      this.#end();
    }
  }

  abort(): void {
    if (this.#state === 'committed') return;
    this.#range?.release();
    this.#end();
  }

  /** Keeps nothing of it from now on; `commit` will answer with this refusal. */
  refuse(error: unknown): void {
    if (this.#state !== 'arriving') return;
    this.#state = 'failed';
    this.#failure = error;
    this.#range?.release();
    this.#letGo();
  }

  #collect(bytes: Uint8Array): void {
    if (this.#filledBytes + bytes.length > this.#block.length) {
      this.#endBlock();
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    }
    this.#block.set(bytes, this.#filledBytes);
    this.#filledBytes += bytes.length;
  }

  /** What is left of the block goes on to be filled. */
  #endBlock(): void {
    const filled = this.#block.subarray(0, this.#filledBytes);
    this.#block = this.#block.subarray(this.#filledBytes);
    this.#filledBytes = 0;
    if (filled.length > 0) this.#absorb(filled);
  }

  #absorb(bytes: Uint8Array): void {
    this.#dataSetBytes += bytes.length;
    this.#hash.update(bytes);
    if (this.#identity === undefined && this.#reader.push(bytes)) this.#identify();
    const { heldBytes } = this.#reader;
    const before = this.#headerBytes;
    this.#headerBytes = heldBytes;
    if (heldBytes !== before) this.#ground.headers.change(before, heldBytes);
    if (this.#prefix !== undefined) this.#crc32 = crc32(bytes, this.#crc32);
    else if (this.#dataSetBytes > MAX_UNIDENTIFIED_BYTES) throw unidentified();
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
  }

  /** The header is there: whoever this is, the index is asked about it while the rest arrives. */
  #identify(): void {
    const { header, failure } = this.#reader;
    if (header === undefined) throw failure ?? nothing();
    this.#identity = identityOf(header, this.#incoming);
    this.#known = this.#ground.versions(this.#identity);
    this.#known.catch(() => {});
    this.#findPrefix(this.#incoming.sopClassUid ?? this.#identity.sopClassUid, this.#identity.sopInstanceUid);
    if (this.#prefix === undefined)
      throw new ArchiveError(
        'bad-dicom',
        'The data set has no SOP Class UID; an instance without it cannot be stored.',
      );
    this.#tolerated = toleratedOf(header);
    this.#reader = new InstanceReader();
  }

  #findPrefix(sopClassUid: string | undefined, sopInstanceUid: string | undefined): void {
    if (this.#prefix !== undefined || sopClassUid === undefined || sopInstanceUid === undefined) return;
    const { transferSyntaxUid, sourceAeTitle } = this.#incoming;
    const meta = { sopClassUid: trimUid(sopClassUid), sopInstanceUid: trimUid(sopInstanceUid) };
    const prefix = encodeFileMeta({ ...meta, transferSyntaxUid, sourceAeTitle });
    this.#prefix = prefix;
    this.#held.unshift(prefix);
    this.#heldBytes += prefix.length;
    for (const bytes of this.#held) this.#crc32 = crc32(bytes, this.#crc32);
  }

  /** Begins to write what is held; the promise is that of the write before, so that one is under way while the next arrives. */
  #flush(): Promise<void> {
    const before = this.#writing;
    if (this.#heldBytes > 0) {
      this.#range ??= this.#ground.files.begin();
      this.#writing = this.#range.write(this.#held, this.#heldBytes);
      this.#writing.catch((error: unknown) => this.refuse(error));
      this.#held = [];
      this.#heldBytes = 0;
    }
    return before.catch(() => {});
  }

  #complete(): Spooled {
    if (this.#state === 'failed') throw this.#failure;
    if (this.#state !== 'arriving') throw new Error('an instance is committed once');
    this.#endBlock();
    if (this.#dataSetBytes === 0) throw nothing();
    this.#reader.end();
    if (this.#identity === undefined) this.#identify();
    void this.#flush();
    const [identity, range] = [this.#identity, this.#range];
    if (identity === undefined || range === undefined) throw new Error('an instance was read and not identified');
    range.end();
    this.#state = 'committed';
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identity;
    const ref = { studyInstanceUid, seriesInstanceUid, sopInstanceUid };
    return { ref, digest: this.#hash.digest('hex'), crc32: this.#crc32, range };
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.refuse(error);
    }
  }

  #end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#letGo();
    this.#ground.ended(this);
  }

  /** What it holds in memory. */
  #letGo(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#block = Buffer.alloc(0);
    this.#filledBytes = 0;
    this.#reader = new InstanceReader();
    this.#ground.headers.change(this.#headerBytes, 0);
    this.#headerBytes = 0;
  }
}

const nothing = (): ArchiveError => new ArchiveError('bad-dicom', 'There is no data set: not one byte of it came.');

const unidentified = (): ArchiveError =>
  new ArchiveError('bad-dicom', 'So large an instance must say its SOP Class and SOP Instance UID early on.');
