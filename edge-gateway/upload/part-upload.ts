/**
 * A large pack on its way to the cloud in parts: what is there already is not sent again, whether this process sent it or one
 * before. How far it has come is the cloud's knowledge; here are only the SHA-256s of the parts, for as long as it takes.
 */
import { createHash } from 'node:crypto';
import { packKey, packRefOf } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange, PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { PartGrant, PartsResponse, UploadAnswer } from '#shared/gateway-api.ts';
import type { CloudClient } from './cloud-client.ts';

export type PartsGrant = Extract<UploadAnswer, { kind: 'parts' }>;

export interface PartUploadOptions {
  readonly tenant: string;
  readonly packs: Pick<PackStore, 'stream'>;
  readonly cloud: Pick<CloudClient, 'grantParts' | 'complete' | 'put'>;
  readonly signal: AbortSignal;
  /** Limits the rate of what is sent. */
  readonly pace: (body: ReadableStream<Uint8Array>) => ReadableStream<Uint8Array>;
  /** Whether the next part may be sent now: not outside the hours. */
  readonly mayGoOn: () => boolean;
  /** Whether a grant is still good by the cloud's clock. */
  readonly isGood: (grant: PartGrant) => boolean;
  /** A part was sent. */
  readonly sent: (lengthBytes: number) => void;
}

/** Grants that are asked for at once: few enough to be used before they expire on a slow line. */
const BATCH = 8;
/** A part that fails so often in a row is left for the next try of the whole pack. */
const TRIES = 3;

export class PartUploads {
  readonly #options: PartUploadOptions;
  /** SHA-256s of the parts of packs that are on their way, by packId and part size. */
  readonly #digests = new Map<string, readonly string[]>();

  constructor(options: PartUploadOptions) {
    this.#options = options;
  }

  /**
   * `done`: the object is there; `paused`: `mayGoOn` said no. Errors: the cloud's; `damaged` when the file has not the SHA-256
   * that it was sealed with: such bytes are never sent as good ones.
   */
  async send(pack: PackRecord, grant: PartsGrant): Promise<'done' | 'paused'> {
    const { cloud, signal, mayGoOn, isGood } = this.#options;
    const { uploadId, partBytes } = grant;
    const name = `${pack.packId}/${partBytes}`;
    const sha256s = this.#digests.get(name) ?? (await this.#digestsOf(pack, partBytes));
    this.#digests.set(name, sha256s);
    const ref = { ...packRefOf(pack), uploadId };
    for (let first = 1; first <= sha256s.length; first += BATCH) {
      const parts = sha256s.slice(first - 1, first - 1 + BATCH).map((sha256, i) => ({ partNumber: first + i, sha256 }));
      const ask = () => cloud.grantParts({ ...ref, partBytes, parts }, signal);
      let answers = await ask();
      for (let i = 0; i < parts.length; i++) {
        for (let failures = 0; ; ) {
          const answer: PartsResponse['parts'][number] | undefined = answers.parts[i];
          if (answer === undefined || answer.partNumber !== first + i)
            throw new ArchiveError('unavailable', 'The cloud did not answer about a part that it was asked for.');
          if (answer.kind === 'confirmed') break;
          if (!mayGoOn()) return 'paused';
          try {
            if (isGood(answer)) {
              await this.#put(pack, answer, partBytes);
              break;
            }
          } catch (error) {
            if (signal.aborted || ++failures >= TRIES) throw error;
          }
          // Expired, refused or cut off: whatever it was, a new grant says what has arrived meanwhile.
          answers = await ask();
        }
      }
    }
    const digest = createHash('sha256');
    for (const sha256 of sha256s) digest.update(Buffer.from(sha256, 'hex'));
    await cloud.complete({ ...ref, partCount: sha256s.length, partsSha256: digest.digest('hex') }, signal);
    return 'done';
  }

  /** The pack is there, or settled without our help. */
  forget({ packId }: PackRecord): void {
    for (const name of this.#digests.keys()) if (name.startsWith(`${packId}/`)) this.#digests.delete(name);
  }

  async #put(pack: PackRecord, grant: PartGrant, partBytes: number): Promise<void> {
    const { cloud, signal, pace, sent } = this.#options;
    const offsetBytes = (grant.partNumber - 1) * partBytes;
    const lengthBytes = Math.min(partBytes, pack.lengthBytes - offsetBytes);
    const body = await this.#stream(pack, { offsetBytes, lengthBytes });
    await cloud.put(grant, pace(body), lengthBytes, signal);
    sent(lengthBytes);
  }

  /** Reads the whole pack once: its parts, and that it still is what was sealed. */
  async #digestsOf(pack: PackRecord, partBytes: number): Promise<readonly string[]> {
    const whole = createHash('sha256');
    const digests: string[] = [];
    let part = createHash('sha256');
    let partLengthBytes = 0;
    const end = (): void => {
      digests.push(part.digest('hex'));
      part = createHash('sha256');
      partLengthBytes = 0;
    };
    for await (const chunk of await this.#stream(pack)) {
      whole.update(chunk);
      let rest = chunk;
      while (rest.length > 0) {
        const take = rest.subarray(0, partBytes - partLengthBytes);
        part.update(take);
        partLengthBytes += take.length;
        rest = rest.subarray(take.length);
        if (partLengthBytes === partBytes) end();
      }
      if (this.#options.signal.aborted) throw new ArchiveError('unavailable', 'The gateway is being stopped.');
    }
    if (partLengthBytes > 0) end();
    if (whole.digest('hex') !== pack.sha256)
      throw new ArchiveError('damaged', 'The pack on this disk is not what was sealed any more; it is not sent.');
    return digests;
  }

  #stream(pack: PackRecord, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    return this.#options.packs.stream(packKey(this.#options.tenant, pack), range);
  }
}
