/** Command sets as bytes: fixtures, what must be tolerated, what must be refused, and noise. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CommandSet, decodeCommandSet, encodeCommandSet } from '#edge-gateway/dimse/command-set.ts';
import { isArchiveError } from '#shared/errors.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

describe('command sets', () => {
  it('are written in Implicit VR Little Endian with their group length, elements ascending', () => {
    const bytes = encodeCommandSet({
      commandField: 0x8001,
      messageIdBeingRespondedTo: 7,
      dataSetType: 0x0101,
      status: 0xa700,
      offendingElements: [0x00100020],
      errorComment: 'full',
      affectedSopInstanceUid: '1.2',
    });
    expect(bytes.toString('hex')).toBe(
      hex(`
        0000 0000 04000000 4c000000
        0000 0001 02000000 0180
        0000 2001 02000000 0700
        0000 0008 02000000 0101
        0000 0009 02000000 00a7
        0000 0109 04000000 1000 2000
        0000 0209 04000000 66756c6c
        0000 0010 04000000 312e3200`).toString('hex'),
    );
  });

  it('come back from their own encoding', () => {
    const command: CommandSet = {
      affectedSopClassUid: '1.2.840.10008.5.1.4.1.1.2',
      commandField: 1,
      messageId: 0xffff,
      moveDestination: 'THERE',
      priority: 2,
      dataSetType: 1,
      offendingElements: [0xfffee000, 0x00080018],
      affectedSopInstanceUid: '1.2.3.4',
      remainingSuboperations: 3,
      moveOriginatorAeTitle: 'MOVER',
      moveOriginatorMessageId: 4,
    };
    expect(decodeCommandSet(encodeCommandSet(command))).toEqual(command);
  });

  it('cut an error comment to 64 characters of the default repertoire and one value', () => {
    const { errorComment } = decodeCommandSet(
      encodeCommandSet({ commandField: 0x8001, dataSetType: 0x0101, errorComment: `a\\b – ${'x'.repeat(100)}` }),
    );
    expect(errorComment).toBe(`a/b ? ${'x'.repeat(58)}`);
  });

  it('pass over elements without a name here, empty ones and a wrong group length', () => {
    const bytes = hex(`0000 0000 04000000 ffff0000
      0000 0001 02000000 3000  0000 1001 02000000 0100  0000 0008 02000000 0101
      0000 0002 00000000  0000 ff0f 04000000 01020304`);
    expect(decodeCommandSet(bytes)).toEqual({ commandField: 0x30, messageId: 1, dataSetType: 0x101 });
  });

  it.each([
    ['nothing at all', ''],
    ['no command field', '0000 0008 02000000 0101'],
    ['no data set type', '0000 0001 02000000 3000'],
    ['an element of another group', '0800 1800 02000000 3100'],
    ['an element cut off', '0000 0001 02000000 30'],
    ['an element header cut off', '0000 0001 0200'],
    ['a length of 0xFFFFFFFF', '0000 0001 ffffffff 3000'],
    ['a number of four bytes', '0000 0001 04000000 30000000'],
    ['Explicit VR', '0000 0001 5553 0200 3000'],
  ])('are a violation with %s', (_, text) => {
    expect(() => decodeCommandSet(hex(text))).toThrow(expect.objectContaining({ code: 'protocol-violation' }));
  });

  it('are read or refused, never anything else, whatever the bytes', () => {
    const whole = encodeCommandSet({ commandField: 1, messageId: 1, dataSetType: 1, affectedSopInstanceUid: '1.2.3' });
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.uint8Array({ maxLength: 12 }), (at, patch) => {
        const bytes = Buffer.concat([whole.subarray(0, at), patch, whole.subarray(at + patch.length)]);
        try {
          decodeCommandSet(bytes);
        } catch (error) {
          expect(isArchiveError(error, 'protocol-violation')).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});
