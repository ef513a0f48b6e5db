/** The two associate PDUs as bytes: a fixture with every sub-item, whatever is malformed, and our own encoding. */
import { describe, expect, it } from 'vitest';
import {
  decodeAssociateAccept,
  decodeAssociateRequest,
  encodeAssociateAccept,
  encodeAssociateRequest,
} from '#edge-gateway/dimse/associate-pdu.ts';
import { isArchiveError } from '#shared/errors.ts';
import { associateRequest } from './raw-peer.ts';

const ascii = (text: string) => Buffer.from(text, 'latin1').toString('hex');

/** An A-ASSOCIATE-RQ written out by hand from PS3.8 Tables 9-11 to 9-16 and PS3.7 Annex D.3.3. */
const request = [
  '0001 0000', // protocol version 1
  ascii('ARCHIPEL        '),
  ascii(' MODALITY1      '),
  '00'.repeat(32),
  `1000 0015 ${ascii('1.2.840.10008.3.1.1.1')}`,
  // Presentation context 1: Verification, Implicit VR LE; padded UIDs occur.
  `2000 002e 01000000 3000 0011 ${ascii('1.2.840.10008.1.1')} 4000 0011 ${ascii('1.2.840.10008.1.2')}`,
  // Presentation context 255: private class, two transfer syntaxes, the first with a NUL as padding.
  `2000 0026 ff000000 3000 0006 ${ascii('1.2.3 ')} 4000 0006 ${ascii('1.2.9')}00 4000 000a ${ascii('1.2.3.4.56')}`,
  // An item that nobody knows.
  '7700 0002 abcd',
  // User information.
  `5000 0091
     5100 0004 00020000
     5200 0009 ${ascii('1.2.3.4.5')}
     5300 0004 0005 0001
     5400 0015 0011 ${ascii('1.2.840.10008.1.1')} 01 00
     5500 0006 ${ascii('VER_1 ')}
     5600 000b 0005 ${ascii('1.2.3')} 02000000
     5700 000f 0005 ${ascii('1.2.3')} 0005 ${ascii('1.2.4')} 00
     5800 0010 02 01 0005 ${ascii('hello')} 0005 ${ascii('world')}
     6600 0003 010203`,
].join('');
const bytesOf = (hex: string) => Buffer.from(hex.replace(/\s/g, ''), 'hex');

describe('A-ASSOCIATE-RQ', () => {
  it('is read with every sub-item of its user information, unknown ones passed over', () => {
    expect(decodeAssociateRequest(fixLengths(request))).toEqual({
      protocolVersion: 1,
      calledAeTitle: 'ARCHIPEL',
      callingAeTitle: 'MODALITY1',
      applicationContextName: '1.2.840.10008.3.1.1.1',
      contexts: [
        { id: 1, abstractSyntax: '1.2.840.10008.1.1', transferSyntaxes: ['1.2.840.10008.1.2'] },
        { id: 255, abstractSyntax: '1.2.3', transferSyntaxes: ['1.2.9', '1.2.3.4.56'] },
      ],
      userInformation: {
        maxPduBytes: 0x20000,
        implementationClassUid: '1.2.3.4.5',
        implementationVersionName: 'VER_1',
        asynchronousOperations: { invoked: 5, performed: 1 },
        roles: [{ sopClassUid: '1.2.840.10008.1.1', scu: true, scp: false }],
        extendedNegotiation: [{ sopClassUid: '1.2.3', information: Uint8Array.of(2, 0, 0, 0) }],
        userIdentityType: 2,
      },
    });
  });

  it('comes back from its own encoding', () => {
    const value = {
      protocolVersion: 1,
      calledAeTitle: 'A',
      callingAeTitle: 'SIXTEENCHARACTER',
      applicationContextName: '1.2.840.10008.3.1.1.1',
      contexts: Array.from({ length: 128 }, (_, i) => ({
        id: 2 * i + 1,
        abstractSyntax: `1.2.${i}`,
        transferSyntaxes: ['1.2.840.10008.1.2', '1.2.840.10008.1.2.4.90'],
      })),
      userInformation: {
        maxPduBytes: 0,
        implementationClassUid: '1.2.3',
        implementationVersionName: 'X',
        asynchronousOperations: { invoked: 0, performed: 1 },
        roles: [{ sopClassUid: '1.2.5', scu: false, scp: true }],
        extendedNegotiation: [],
      },
    };
    expect(decodeAssociateRequest(encodeAssociateRequest(value).subarray(6))).toEqual(value);
  });

  it.each([
    ['too short for its fixed fields', Buffer.alloc(67)],
    ['an item longer than the PDU', Buffer.concat([Buffer.alloc(68), bytesOf('1000 ffff 31')])],
    ['an item header cut off', Buffer.concat([Buffer.alloc(68), bytesOf('1000 00')])],
    ['a context too short for its ID', Buffer.concat([Buffer.alloc(68), bytesOf('2000 0002 0100')])],
    ['an even context ID', Buffer.concat([Buffer.alloc(68), bytesOf('2000 0004 02000000')])],
    ['a context ID twice', Buffer.concat([Buffer.alloc(68), bytesOf('2000 0004 01000000 2000 0004 01000000')])],
    ['a sub-item longer than its context', Buffer.concat([Buffer.alloc(68), bytesOf('2000 0008 01000000 3000 0009')])],
    ['a maximum length of three bytes', Buffer.concat([Buffer.alloc(68), bytesOf('5000 0007 5100 0003 000000')])],
    ['a role longer than its sub-item', Buffer.concat([Buffer.alloc(68), bytesOf('5000 0008 5400 0004 ffff 3132')])],
    ['a role without its roles', Buffer.concat([Buffer.alloc(68), bytesOf('5000 0007 5400 0003 0001 31')])],
    ['a window of two bytes', Buffer.concat([Buffer.alloc(68), bytesOf('5000 0006 5300 0002 0001')])],
  ])('is a violation with %s', (_, body) => {
    expect(() => decodeAssociateRequest(body)).toThrow(
      expect.objectContaining({
        code: 'protocol-violation',
        details: expect.objectContaining({ abortSource: 2, abortReason: 6 }),
      }),
    );
  });

  it('is a violation or a request, never anything else, wherever it is cut', () => {
    const whole = associateRequest({ asynchronousOperations: { invoked: 3, performed: 1 } }).subarray(6);
    for (let length = 0; length < whole.length; length++) {
      try {
        decodeAssociateRequest(whole.subarray(0, length));
      } catch (error) {
        expect(isArchiveError(error, 'protocol-violation')).toBe(true);
      }
    }
  });
});

describe('A-ASSOCIATE-AC', () => {
  it('is written as PS3.8 §9.3.3 says', () => {
    const bytes = encodeAssociateAccept({
      calledAeTitle: 'ARCHIPEL',
      callingAeTitle: 'MOD',
      contexts: [{ id: 3, result: 0, transferSyntax: '1.2.840.10008.1.2' }],
      userInformation: {
        maxPduBytes: 0x40000,
        implementationClassUid: '1.2.3',
        implementationVersionName: 'V',
        roles: [{ sopClassUid: '1.2', scu: true, scp: false }],
        extendedNegotiation: [],
      },
    });
    expect(bytes.toString('hex')).toBe(
      bytesOf(
        [
          '0200 0000009f 0001 0000',
          ascii('ARCHIPEL        '),
          ascii('MOD             '),
          '00'.repeat(32),
          `1000 0015 ${ascii('1.2.840.10008.3.1.1.1')}`,
          `2100 0019 03000000 4000 0011 ${ascii('1.2.840.10008.1.2')}`,
          `5000 0021 5100 0004 00040000 5200 0005 ${ascii('1.2.3')} 5400 0007 0003 ${ascii('1.2')} 0100 5500 0001 ${ascii('V')}`,
        ].join(''),
      ).toString('hex'),
    );
    expect(decodeAssociateAccept(bytes.subarray(6)).contexts).toEqual([
      { id: 3, result: 0, transferSyntax: '1.2.840.10008.1.2' },
    ]);
  });
});

/** The fixture with its container lengths computed, so that the text above stays readable. */
function fixLengths(hex: string): Buffer {
  const bytes = bytesOf(hex);
  const out: Buffer[] = [bytes.subarray(0, 68)];
  let offset = 68;
  const containers = new Set([0x20, 0x50]);
  while (offset < bytes.length) {
    const type = bytes[offset] as number;
    let end = offset + 4 + bytes.readUInt16BE(offset + 2);
    if (containers.has(type)) {
      end = offset + 4 + (type === 0x20 ? 4 : 0);
      while (end < bytes.length && isWithin(type, bytes[end] as number)) end += 4 + bytes.readUInt16BE(end + 2);
    }
    const item = Buffer.from(bytes.subarray(offset, end));
    item.writeUInt16BE(item.length - 4, 2);
    out.push(item);
    offset = end;
  }
  return Buffer.concat(out);
}

function isWithin(container: number, type: number): boolean {
  return container === 0x20 ? type === 0x30 || type === 0x40 : type >= 0x51;
}
