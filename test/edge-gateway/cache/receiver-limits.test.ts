/**
 * What the receiver will not take on, however it is asked: instances longer than any store takes, and more long headers than
 * there is memory for.
 */
import { describe, expect, it } from 'vitest';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { announcementOf, Receiving } from './receiving.ts';

const MiB = 1024 * 1024;
const large = (bytes: number) =>
  makeInstance({
    rows: 1024,
    columns: 1024,
    bitsAllocated: 8,
    bitsStored: 8,
    frames: bytes / MiB,
    pixels: new Uint8Array(bytes),
  });

describe('an instance', () => {
  it('that no store could ever take is refused, and nothing is left of it', async () => {
    await using at = await Receiving.start({ limits: { ownPackBytes: MiB, instanceBytes: 3 * MiB } });
    expect(await at.send(large(4 * MiB))).toMatchObject({ kind: 'refused', code: 'too-large' });
    expect((await at.send(large(2 * MiB))).kind).toBe('stored');
    await at.receiver.flush();
    expect(at.openFiles()).toEqual([]);
    expect(at.receiver.totals()).toMatchObject({ heldBytes: 0, instancesArriving: 0 });
    expect(at.sealed).toHaveLength(1);
  });

  it('with a long header is refused while others with long headers fill the memory, and taken afterwards', async () => {
    await using at = await Receiving.start({ limits: { headerBytes: 5 * MiB, ownPackBytes: MiB } });
    const extra = Array.from({ length: 50 }, (_, i) => ({ tag: 0x00091000 + i, vr: 'LT', value: 'x'.repeat(60_000) }));
    const long = (): MadeInstance => makeInstance({ extra });
    const half = long();
    const waiting = at.receiver.begin(announcementOf(half));
    await waiting.write(half.dataSet);
    const late = long();
    expect(await at.send(late)).toMatchObject({ kind: 'refused', code: 'out-of-resources' });
    // Neither short headers nor long pixels are concerned.
    await at.stored();
    expect((await at.send(large(8 * MiB))).kind).toBe('stored');
    expect((await waiting.commit()).kind).toBe('stored');
    expect((await at.send(late)).kind).toBe('stored');
    await at.receiver.flush();
    expect(Buffer.compare((await at.dataSet(late.ref)) as Buffer, late.dataSet)).toBe(0);
  });
});
