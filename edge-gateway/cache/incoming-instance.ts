/**
 * One instance on its way in (the receiver's InstanceSink): hashed and read as it arrives, held in memory while it is small,
 * streamed to a pack of its own once it is not; then decided about, written, synced, and handed to the index.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { entryNameOf } from '#shared/archive/entry-inspector.ts';
import {
  type Identity,
  InstanceReader,
  identityOf,
  indexedAttributesOf,
  toleratedOf,
  trimUid,
} from '#shared/archive/instance-reader.ts';
import {
  type IncomingInstance,
  type InstanceSink,
  type Outcome,
  refusalOf,
  withTolerated,
} from '#shared/archive/outcome.ts';
import { dosTimeOf, type PackEntry } from '#shared/archive/pack.ts';
import { type InstanceRecord, type InstanceRef, modalityOf } from '#shared/archive/records.ts';
import { encodeFileMeta } from '#shared/dicom/part10.ts';
import { ArchiveError } from '#shared/errors.ts';
import { ByteCollector } from './byte-collector.ts';
import { HeldBytes } from './held-bytes.ts';
import type { Holder } from './memory-budget.ts';
import type { NewEntry, OpenPack } from './open-pack.ts';
import { OwnPack } from './own-pack.ts';
import type { ReceiverParts } from './receiver-parts.ts';

/** Of an instance that is streamed to disk: so much is written at once, and so much may be on its way. */
const STREAM_WRITE_BYTES = 1024 * 1024;
const STREAM_AHEAD_BYTES = 4 * 1024 * 1024;

type State = 'held' | 'streamed' | 'failed' | 'ended';

export class IncomingSink implements InstanceSink, Holder {
  readonly #parts: ReceiverParts;
  readonly #incoming: IncomingInstance;
  #reader: InstanceReader;
  #headerBytes = 0;
  readonly #collector: ByteCollector;
  readonly #hash = createHash('sha256');
  #state: State = 'held';
  #failure: unknown;
  /** Preamble and File Meta; known as soon as the SOP Class and Instance UIDs are. */
  #prefix: Uint8Array | undefined;
  #crc32 = 0;
  #dataSetBytes = 0;
  /** Data set bytes that are in memory and not on their way to disk. */
  readonly #held = new HeldBytes();
  #headerIsRead = false;
  #prefixWritten = false;
  #own: OwnPack | undefined;
  #aheadBytes = 0;
  /** Writes that have not ended, oldest first; none of them rejects. */
  readonly #writes: Promise<void>[] = [];
  #wait: Promise<void> | undefined;
  #identity: Identity | undefined;
  #known: Promise<readonly InstanceRecord[]> | undefined;
  #committing = false;

  constructor(parts: ReceiverParts, incoming: IncomingInstance) {
    this.#parts = parts;
    this.#incoming = incoming;
    this.#reader = new InstanceReader({ transferSyntaxUid: incoming.transferSyntaxUid });
    this.#collector = new ByteCollector(parts.blocks, (bytes, block) => this.#absorb(bytes, block));
    try {
      this.#findPrefix(incoming.sopClassUid, incoming.sopInstanceUid);
    } catch (error) {
      this.#fail(error);
    }
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#state === 'failed' || this.#state === 'ended') return;
    this.#wait = undefined;
    this.#collector.push(bytes);
    return this.#wait;
  }

  async commit(): Promise<Outcome> {
    try {
      if (this.#state === 'ended' || this.#committing) throw new Error('an instance is committed once');
      this.#committing = true;
      return await this.#commit();
    } catch (error) {
      return refusalOf(error, this.#incoming, this.#parts.log);
    } finally {
      this.#end();
    }
  }

  abort(): void {
    if (!this.#committing) this.#end();
  }

  /** Whether `commit` has been called and not ended. */
  get committing(): boolean {
    return this.#committing && this.#state !== 'ended';
  }

  /** Keeps nothing of it from now on; `commit` will answer with this refusal. */
  refuse(error: ArchiveError): void {
    if (!this.#committing) this.#fail(error);
  }

  spill(): boolean {
    if (this.#prefix === undefined || this.#held.lengthBytes === 0 || this.#committing) return false;
    if (this.#state === 'held') this.#stream();
    else if (this.#state === 'streamed') this.#flush();
    else return false;
    return true;
  }

  /** Takes the next bytes, and keeps them with the block that they lie in. */
  #absorb(chunk: Uint8Array, block: Buffer): void {
    if (this.#state !== 'held' && this.#state !== 'streamed') return;
    const { budget, limits } = this.#parts;
    this.#dataSetBytes += chunk.length;
    if (this.#dataSetBytes > limits.instanceBytes) {
      this.#fail(
        new ArchiveError('too-large', 'The instance is longer than the archive can store; send it in several.', {
          limitBytes: limits.instanceBytes,
        }),
      );
      return;
    }
    this.#hash.update(chunk);
    // The header keeps views on what it was read from.
    const reusable = this.#headerIsRead ? block : undefined;
    this.#headerIsRead = this.#reader.push(chunk);
    if (this.#headerIsRead && this.#identity === undefined) this.#identify();
    this.#countHeader();
    if (this.#failure !== undefined) return;
    if (this.#prefix !== undefined) this.#crc32 = crc32(chunk, this.#crc32);
    this.#held.add(chunk, reusable);
    this.#wait = budget.take(this, chunk.length) ?? this.#wait;
    if (this.#state === 'held' && this.#dataSetBytes > limits.ownPackBytes) this.#outgrow();
    if (this.#state === 'streamed' && this.#held.lengthBytes >= STREAM_WRITE_BYTES) this.#flush();
    if (this.#aheadBytes > STREAM_AHEAD_BYTES) this.#wait = this.#writes[0];
  }

  #countHeader(): void {
    if (this.#state === 'failed') return;
    const { heldBytes } = this.#reader;
    const before = this.#headerBytes;
    this.#headerBytes = heldBytes;
    if (!this.#parts.headers.change(before, heldBytes))
      this.#fail(
        new ArchiveError('out-of-resources', 'The gateway has too many long headers to read; send again in a minute.'),
      );
  }

  /** The header is there: whoever this is, the index is asked about it while the rest arrives. */
  #identify(): void {
    const { header, failure } = this.#reader;
    if (failure !== undefined) this.#fail(failure);
    if (header === undefined) return;
    try {
      this.#identity = identityOf(header, this.#incoming);
    } catch (error) {
      // Refused at the end; until then it is read on, and not kept.
      this.#fail(error);
      return;
    }
    const { known, arrivals } = this.#parts;
    arrivals.hold(this.#identity);
    this.#known = known.versions(this.#identity);
    this.#known.catch(() => {});
    this.#findPrefix(this.#incoming.sopClassUid ?? this.#identity.sopClassUid, this.#identity.sopInstanceUid);
  }

  #findPrefix(sopClassUid: string | undefined, sopInstanceUid: string | undefined): void {
    if (this.#prefix !== undefined || sopClassUid === undefined || sopInstanceUid === undefined) return;
    const { transferSyntaxUid, sourceAeTitle } = this.#incoming;
    const meta = { sopClassUid: trimUid(sopClassUid), sopInstanceUid: trimUid(sopInstanceUid) };
    this.#prefix = encodeFileMeta({ ...meta, transferSyntaxUid, sourceAeTitle });
    this.#crc32 = crc32(this.#prefix);
    for (const chunk of this.#held.chunks) this.#crc32 = crc32(chunk, this.#crc32);
  }

  #outgrow(): void {
    if (this.#prefix !== undefined) this.#stream();
    else if (this.#dataSetBytes > 2 * this.#parts.limits.ownPackBytes)
      this.#fail(
        new ArchiveError('bad-dicom', 'So large an instance must say its SOP Class and SOP Instance UID early on.'),
      );
  }

  /** From now on the instance goes to disk as it arrives. */
  #stream(): void {
    this.#state = 'streamed';
    this.#own = new OwnPack(this.#parts.ground, this.#parts.packs.newPackId());
    this.#flush();
  }

  #flush(): void {
    const own = this.#own;
    const { chunks: buffers, lengthBytes: bytes, blocks } = this.#held.take();
    let lengthBytes = bytes;
    if (!this.#prefixWritten && this.#prefix !== undefined) {
      buffers.unshift(this.#prefix);
      lengthBytes += this.#prefix.length;
      this.#prefixWritten = true;
    }
    if (own === undefined || lengthBytes === 0) return;
    const { budget } = this.#parts;
    budget.leaving(this, bytes);
    this.#aheadBytes += bytes;
    const left = (): void => {
      this.#aheadBytes -= bytes;
      void this.#writes.shift();
      budget.left(bytes);
    };
    this.#writes.push(
      own.write(buffers, lengthBytes).then(
        () => {
          left();
          this.#parts.blocks.giveAll(blocks);
        },
        (error: unknown) => {
          left();
          this.#fail(error);
        },
      ),
    );
  }

  async #commit(): Promise<Outcome> {
    this.#collector.flush();
    if (this.#state === 'failed') throw this.#failure;
    if (this.#dataSetBytes === 0) throw new ArchiveError('bad-dicom', 'There is no data set: not one byte of it came.');
    this.#reader.end();
    if (this.#identity === undefined) this.#identify();
    if (this.#failure !== undefined) throw this.#failure;
    const identity = this.#identity;
    if (identity === undefined) throw new Error('an instance was read and not identified');
    const digest = this.#hash.digest('hex');
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identity;
    const ref: InstanceRef = { studyInstanceUid, seriesInstanceUid, sopInstanceUid };
    const tolerated = this.#reader.header === undefined ? [] : toleratedOf(this.#reader.header);
    await this.#parts.feeder.room();
    return withTolerated(await this.#parts.arrivals.inTurn(ref, () => this.#settle(ref, identity, digest)), tolerated);
  }

  /** In turn for its UIDs: decides, and writes what is new. */
  async #settle(ref: InstanceRef, identity: Identity, digest: string): Promise<Outcome> {
    const { arrivals, feeder, known, volume, packs, priorities } = this.#parts;
    const indexed = (await this.#known) ?? [];
    const fresh = arrivals.versions(ref);
    let replaces: InstanceRecord | undefined;
    if (fresh.some((version) => version.digest === digest)) return { kind: 'duplicate', ref, digest };
    const same = indexed.find((version) => version.digest === digest);
    if (same !== undefined) {
      if (await this.#parts.isKept(same)) return { kind: 'duplicate', ref, digest };
      // The index promises bytes that are not there any more; here they are again.
      replaces = same;
    }
    volume.assertWritable();
    const others = [...fresh, ...indexed].filter((version) => version.digest !== digest);
    const after = others.reduce<string | undefined>(
      (last, { packId }) => (last === undefined || packId > last ? packId : last),
      undefined,
    );
    const { pack, entry } = await (this.#own === undefined ? this.#append(ref, after) : this.#complete(ref, after));
    arrivals.add(ref, { digest, packId: pack.packId }, entry.lengthBytes);
    known.stored(ref);
    const record = this.#record(identity, digest, pack, entry);
    const { sourceAeTitle: callingAeTitle, priority: dimsePriority } = this.#incoming;
    pack.senders.note(priorities, { callingAeTitle, modality: modalityOf(record), dimsePriority });
    if (pack.senders.priority === 'stat') packs.hasten(pack);
    feeder.add(pack, record, replaces);
    return { kind: others.length === 0 ? 'stored' : 'conflict', ref, digest };
  }

  async #append(ref: InstanceRef, after: string | undefined): Promise<{ pack: OpenPack; entry: PackEntry }> {
    const { packs, volume, budget, feeder } = this.#parts;
    const entry = this.#entry(ref);
    const written = await volume.claim(entry.lengthBytes);
    const prefix = this.#requiredPrefix();
    const { chunks, lengthBytes: bytes, blocks } = this.#held.take();
    budget.leaving(this, bytes);
    try {
      const pack = packs.place(ref, entry.name, after);
      feeder.expect(pack);
      try {
        const appended = await pack.append(entry, [prefix, ...chunks]);
        this.#parts.blocks.giveAll(blocks);
        return { pack, entry: appended };
      } catch (error) {
        feeder.cancel(pack);
        throw error;
      } finally {
        packs.appended(pack);
      }
    } finally {
      written();
      budget.left(bytes);
    }
  }

  async #complete(ref: InstanceRef, after: string | undefined): Promise<{ pack: OpenPack; entry: PackEntry }> {
    const { packs, feeder, seal, nowMs } = this.#parts;
    this.#flush();
    await this.#writes.at(-1);
    const own = this.#own;
    if (this.#state === 'failed' || own === undefined) throw this.#failure;
    const identity = { packId: packs.newPackId(after), series: ref, createdAtMs: nowMs() };
    const { pack, entry } = await own.complete(identity, this.#entry(ref));
    this.#own = undefined;
    feeder.expect(pack);
    seal(pack);
    return { pack, entry };
  }

  #entry(ref: InstanceRef): NewEntry {
    return {
      name: entryNameOf(ref.sopInstanceUid),
      crc32: this.#crc32,
      lengthBytes: this.#requiredPrefix().length + this.#dataSetBytes,
      dosTime: dosTimeOf(this.#parts.nowMs()),
    };
  }

  #requiredPrefix(): Uint8Array {
    if (this.#prefix === undefined)
      throw new ArchiveError(
        'bad-dicom',
        'The data set has no SOP Class UID; an instance without it cannot be stored.',
      );
    return this.#prefix;
  }

  #record(identity: Identity, digest: string, pack: OpenPack, entry: PackEntry): InstanceRecord {
    const { header } = this.#reader;
    return {
      tenant: this.#parts.tenant,
      studyInstanceUid: identity.studyInstanceUid,
      seriesInstanceUid: identity.seriesInstanceUid,
      sopInstanceUid: identity.sopInstanceUid,
      sopClassUid: identity.sopClassUid ?? trimUid(this.#incoming.sopClassUid ?? ''),
      transferSyntaxUid: this.#incoming.transferSyntaxUid,
      digest,
      packId: pack.packId,
      offsetBytes: entry.offsetBytes,
      lengthBytes: entry.lengthBytes,
      dataSetOffsetBytes: this.#requiredPrefix().length,
      state: 'current',
      attributes: header === undefined ? {} : indexedAttributesOf(header),
    };
  }

  #fail(error: unknown): void {
    if (this.#state === 'failed' || this.#state === 'ended') return;
    this.#state = 'failed';
    this.#failure = error;
    this.#reader = new InstanceReader();
    this.#letGo();
  }

  #end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#letGo();
    if (this.#known !== undefined && this.#identity !== undefined) this.#parts.arrivals.release(this.#identity);
    this.#known = undefined;
    this.#parts.ended(this);
  }

  /** Memory and file of an instance that will not be stored, or is stored. */
  #letGo(): void {
    this.#collector.clear();
    this.#parts.headers.change(this.#headerBytes, 0);
    this.#headerBytes = 0;
    const { lengthBytes, blocks } = this.#held.take();
    this.#parts.budget.drop(this, lengthBytes);
    this.#parts.blocks.giveAll(blocks);
    const own = this.#own;
    this.#own = undefined;
    if (own !== undefined) this.#parts.dropped(own.drop());
  }
}
