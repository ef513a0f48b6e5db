/**
 * An instance of 1 GiB: the gateway's memory must not notice. Once from DCMTK's storescu (one PDV to a PDU), once from our
 * own SCU with twenty PDVs to a PDU. Whole way: stored, archived, a frame of it, and all of it back.
 */
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceRef } from '#shared/archive/records.ts';
import {
  CT_IMAGE_STORAGE,
  defaultElements,
  elementHeader,
  encodeElements,
  encodeFileMetaByHand,
  freshUid,
  type MadeInstance,
  makeInstance,
} from '#test/support/dicom-factory.ts';
import { pathOf } from '#test/support/dicomweb-client.ts';
import { type SenderOptions, send } from '#test/support/sender.ts';
import { processMemoryKb, type System, startSystem } from '#test/support/system.ts';
import { hasPrograms, storescu } from './dcmtk.ts';

const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const ROWS = 1024;
const FRAME_BYTES = ROWS * ROWS * 2;
const FRAMES = 511;
const MAX_GROWTH_KB = 100 * 1024;
/** What is done after an answer, in threads of their own, comes to rest. */
const SETTLE_MS = 3_000;
const isPossible = process.platform === 'linux' && hasPrograms('storescu');

const frameBlock = new Uint8Array(FRAME_BYTES);
for (let i = 0; i < FRAME_BYTES; i++) frameBlock[i] = (i * 31 + (i >> 11)) & 0xff;

/** Frames that differ in their first four bytes; a fresh buffer each, since a sender may hold it. */
function frame(number: number): Uint8Array {
  const bytes = new Uint8Array(frameBlock);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

class LargeInstance {
  readonly ref: InstanceRef = {
    studyInstanceUid: freshUid(),
    seriesInstanceUid: freshUid(),
    sopInstanceUid: freshUid(),
  };
  readonly sopClassUid = CT_IMAGE_STORAGE;
  readonly transferSyntaxUid = EXPLICIT_VR_LITTLE_ENDIAN;
  #hash = createHash('sha256');
  lengthBytes = 0;

  *pieces(): Generator<Uint8Array> {
    const encoding = { explicitVr: true, littleEndian: true };
    const elements = defaultElements(this.ref, { rows: ROWS, columns: ROWS, frames: FRAMES });
    const head = Buffer.concat([
      encodeElements(elements, encoding),
      elementHeader(0x7fe00010, 'OW', FRAME_BYTES * FRAMES, encoding),
    ]);
    this.#hash = createHash('sha256');
    this.lengthBytes = 0;
    const count = (piece: Uint8Array): Uint8Array => {
      this.#hash.update(piece);
      this.lengthBytes += piece.length;
      return piece;
    };
    yield count(head);
    for (let number = 1; number <= FRAMES; number++) yield count(frame(number));
  }

  get dataSet(): AsyncIterable<Uint8Array> {
    const pieces = this.pieces();
    return (async function* () {
      yield* pieces;
    })();
  }

  /** Of what `pieces` has given last, once it has given all. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  writeTo(path: string): void {
    const fd = openSync(path, 'w');
    writeSync(
      fd,
      encodeFileMetaByHand([
        { tag: 0x00020001, vr: 'OB', value: Uint8Array.of(0, 1) },
        { tag: 0x00020002, vr: 'UI', value: this.sopClassUid },
        { tag: 0x00020003, vr: 'UI', value: this.ref.sopInstanceUid },
        { tag: 0x00020010, vr: 'UI', value: this.transferSyntaxUid },
        { tag: 0x00020012, vr: 'UI', value: '1.2.826.0.1.3680043.10.1462' },
      ]),
    );
    for (const piece of this.pieces()) writeSync(fd, piece);
    closeSync(fd);
  }
}

describe.skipIf(!isPossible)('an instance of 1 GiB', () => {
  let folder: string;
  let system: System;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'archipel-large-'));
  });
  afterAll(async () => {
    await system?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Sends it to a gateway that has just been started and has stored `before`; measures until it is archived. */
  async function measure(
    name: string,
    before: readonly MadeInstance[],
    large: LargeInstance,
    sendIt: () => Promise<unknown>,
  ): Promise<{ whileSendingKb: number; inAllKb: number }> {
    await system?.stop();
    const data = join(folder, name);
    system = await startSystem({ folder: data });
    expect(await send(system.dicomPort, before)).toEqual(before.map(() => 0));
    await system.waitUntilArchived(before.length);
    await pause(SETTLE_MS);
    const pid = system.gatewayPid()!;
    const beforeKb = processMemoryKb(pid, 'VmRSS');
    resetPeak(pid);
    const startedAtMs = performance.now();
    await sendIt();
    const sentAtMs = performance.now();
    const whileSendingKb = processMemoryKb(pid, 'VmHWM') - beforeKb;
    await system.waitUntilArchived(before.length + 1, 240_000);
    const archivedAtMs = performance.now();
    const inAllKb = processMemoryKb(pid, 'VmHWM') - beforeKb;
    const mb = (kb: number): string => `${Math.round(kb / 1024)} MB`;
    console.log(
      `${name}: ${Math.round(large.lengthBytes / 1e6 / ((sentAtMs - startedAtMs) / 1e3))} MB/s, archived ${Math.round((archivedAtMs - sentAtMs) / 1e3)} s later; RSS of the gateway ${mb(beforeKb)}, grown by at most ${mb(whileSendingKb)} while sending, ${mb(inAllKb)} until archived`,
    );
    expect(await system.dicomweb.dataSetDigest(large.ref)).toEqual({
      digest: large.digest(),
      lengthBytes: large.lengthBytes,
    });
    const accept = 'multipart/related; type="application/octet-stream"';
    const [last] = await system.dicomweb.parts(`${pathOf(large.ref)}/frames/${FRAMES}`, accept);
    expect(last?.body.equals(frame(FRAMES))).toBe(true);
    expect(system.gatewayPid()).toBe(pid);
    await system.stop();
    rmSync(data, { recursive: true, force: true });
    return { whileSendingKb, inAllKb };
  }

  it('comes from DCMTK, one PDV to a PDU, to a gateway that has just been started', async () => {
    const large = new LargeInstance();
    const file = join(folder, 'large.dcm');
    large.writeTo(file);
    const { whileSendingKb } = await measure('storescu', [makeInstance()], large, async () => {
      const { sent } = await storescu(system.dicomPort, ['-xe', file]);
      expect(sent.map(({ answer }) => answer)).toEqual(['Success']);
    });
    rmSync(file);
    // Sealing and sending start threads for the first time, which costs what it costs for an instance of any size.
    expect(whileSendingKb).toBeLessThanOrEqual(MAX_GROWTH_KB);
  });

  it('comes with twenty PDVs to a PDU, to one that has stored and sent an instance of 11 MB before', async () => {
    const large = new LargeInstance();
    const before = [makeInstance({ rows: 2400, columns: 2400 })];
    const options: SenderOptions = { pdvsPerPdu: 20, responseTimeoutMs: 120_000 };
    const { inAllKb } = await measure('twenty PDVs to a PDU', before, large, async () => {
      expect(await send(system.dicomPort, [large], options)).toEqual([0]);
    });
    expect(inAllKb).toBeLessThanOrEqual(MAX_GROWTH_KB);
  });
});

/** proc(5): 5 written to clear_refs sets the peak to what is resident now. */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}
