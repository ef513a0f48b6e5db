/**
 * STOW-RS of one instance that fits no memory, by Node's own HTTP: streamed, timed, with the memory of the process that takes it watched,
 * and got back by WADO-RS.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { defaultElements, elementHeader, encodeElements, freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import type { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { processMemoryKb } from '#test/support/system.ts';

const ROWS = 1024;
export const LARGE_FRAME_BYTES = ROWS * ROWS * 2;
const SETTLE_MS = 3_000;

/** Expects it to be stored and to come back the same; answers by how much the process has grown at most. */
export async function storeLarge(dicomweb: DicomwebClient, pid: number, frames: number): Promise<number> {
  const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid(), sopInstanceUid: freshUid() };
  const encoding = { explicitVr: true, littleEndian: true };
  const start = makeInstance({ ...ref, pixels: 'none' });
  const head = Buffer.concat([
    encodeElements(defaultElements(ref, { rows: ROWS, columns: ROWS, frames }), encoding),
    elementHeader(0x7fe00010, 'OW', LARGE_FRAME_BYTES * frames, encoding),
  ]);
  const hash = createHash('sha256');
  const frame = Buffer.alloc(LARGE_FRAME_BYTES, 'pixels of some kind, and line ends too\r\n--b');
  let lengthBytes = 0;
  function* pieces(): Generator<Uint8Array> {
    const count = (piece: Uint8Array): Uint8Array => {
      hash.update(piece);
      lengthBytes += piece.length;
      return piece;
    };
    yield Buffer.from('--boundary\r\nContent-Type: application/dicom\r\n\r\n');
    yield start.file.subarray(0, start.dataSetOffsetBytes);
    yield count(head);
    for (let number = 1; number <= frames; number++) {
      const own = Buffer.from(frame);
      own.writeUInt32LE(number);
      yield count(own);
    }
    yield Buffer.from('\r\n--boundary--\r\n');
  }
  // Threads and buffers that every gateway has sooner or later.
  const before = makeInstance({ rows: 2400, columns: 2400 });
  const first = await fetch(`${dicomweb.baseUrl}/studies`, {
    method: 'POST',
    headers: { 'content-type': 'application/dicom' },
    body: new Uint8Array(before.file),
  });
  expect(first.status).toBe(200);
  await pause(SETTLE_MS);
  const beforeKb = processMemoryKb(pid, 'VmRSS');
  writeFileSync(`/proc/${pid}/clear_refs`, '5'); // proc(5): the peak begins anew
  const startedAtMs = performance.now();
  const answer = await new Promise<{ status: number | undefined; body: Readable }>((resolve, reject) => {
    const outgoing = request(`${dicomweb.baseUrl}/studies/${ref.studyInstanceUid}`, {
      method: 'POST',
      headers: { 'content-type': 'multipart/related; type="application/dicom"; boundary=boundary' },
    });
    outgoing.on('response', (incoming) => resolve({ status: incoming.statusCode, body: incoming }));
    outgoing.on('error', reject);
    pipeline(Readable.from(pieces()), outgoing).catch(reject);
  });
  const seconds = (performance.now() - startedAtMs) / 1000;
  const growthKb = processMemoryKb(pid, 'VmHWM') - beforeKb;
  answer.body.resume();
  console.log(
    `${Math.round(lengthBytes / 1e6)} MB by STOW-RS: ${Math.round(lengthBytes / 1e6 / seconds)} MB/s, RSS ${Math.round(beforeKb / 1024)} MB, grown by at most ${Math.round(growthKb / 1024)} MB`,
  );
  expect(answer.status).toBe(200);
  expect(await dicomweb.dataSetDigest(ref)).toEqual({ digest: hash.digest('hex'), lengthBytes });
  return growthKb;
}
