/**
 * What a hostile peer can write that is recognisably bad (PS3.7, PS3.8): each a stream of bytes after which the gateway has nothing
 * to wait for, so that the connection has to end at once, not when its time is up.
 */
import { encodeCommandSet, NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import {
  associateRequest,
  commandPdu,
  dataPdu,
  echoPdu,
  pdu,
  storePdu,
  usualContexts,
} from '#test/edge-gateway/dimse/raw-peer.ts';
import type { Chance } from './random.ts';

export interface BadStream {
  readonly name: string;
  readonly bytes: Buffer;
  /** Written again and again after it, as long as the connection takes it. */
  readonly endless?: Buffer;
}

const zeros = (lengthBytes: number): Buffer => Buffer.alloc(lengthBytes);
const fragment = (control: number, bytes: Uint8Array, contextId = 3) => dataPdu({ contextId, control, bytes });
const EMPTY = zeros(0);

/** An A-ASSOCIATE-RQ whose bytes at `offset` say something else. */
function patched(offset: number, ...bytes: number[]): Buffer {
  const request = associateRequest({ roles: [{ sopClassUid: '1.2.840.10008.1.1', scu: true, scp: true }] });
  request.set(bytes, offset);
  return request;
}

/** An A-ASSOCIATE-RQ whose last 40 bytes, in the user information, are ones. */
function lyingEnd(): Buffer {
  const request = patched(0, 1);
  request.fill(0xff, request.length - 40);
  return request;
}

/** A P-DATA-TF whose one value says that it is `lengthBytes` long. */
function lyingValue(lengthBytes: number, body = 100): Buffer {
  const bytes = zeros(4 + body);
  bytes.writeUInt32BE(lengthBytes >>> 0, 0);
  bytes.set([3, 0], 4);
  return pdu(0x04, bytes);
}

/** An A-ASSOCIATE-RQ of these contexts, whatever their IDs. */
function withContextIds(ids: readonly number[]): Buffer {
  const items = ids.map((id) => {
    const uid = Buffer.from('1.2.840.10008.1.1');
    const abstractSyntax = Buffer.concat([Buffer.from([0x30, 0, 0, uid.length]), uid]);
    return Buffer.concat([Buffer.from([0x20, 0, 0, abstractSyntax.length + 4, id, 0, 0, 0]), abstractSyntax]);
  });
  const whole = associateRequest({}, []);
  return pdu(0x01, Buffer.concat([whole.subarray(6), ...items]));
}

/** After a good A-ASSOCIATE-RQ. */
const associated = (...parts: Uint8Array[]): Buffer => Buffer.concat([associateRequest(), ...parts]);

export function badStreams(chance: Chance): readonly BadStream[] {
  const garbage = Buffer.from(Uint8Array.from({ length: 65_536 }, () => 8 + chance.integer(248)));
  const unending = {
    affectedSopClassUid: '1.2.840.10008.1.1',
    commandField: 0x30,
    messageId: 1,
    dataSetType: NO_DATA_SET,
  };
  return [
    { name: 'garbage', bytes: garbage },
    { name: 'an HTTP request', bytes: Buffer.from('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n') },
    { name: 'a TLS ClientHello', bytes: Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]) },
    ...[1, 2, 3, 4, 5, 6].map((type) => ({
      name: `a first PDU of type ${type} with 0xFFFFFFFF bytes`,
      bytes: pdu(type, zeros(10_000), 0xffffffff),
    })),
    ...[1, 2, 3, 4, 5, 6].map((type) => ({
      name: `a later PDU of type ${type} with 0xFFFFFFFF bytes`,
      bytes: associated(pdu(type, zeros(10_000), 0xffffffff)),
    })),
    ...[0x00, 0x08, 0x99, 0xff].map((type) => ({
      name: `a PDU of type ${type}`,
      bytes: associated(pdu(type, zeros(4))),
    })),
    { name: '200 contexts', bytes: withContextIds(Array.from({ length: 200 }, (_, i) => (2 * i + 1) & 0xff)) },
    { name: 'contexts with even IDs', bytes: withContextIds([2, 4]) },
    { name: 'one context ID twice', bytes: withContextIds([1, 1]) },
    { name: 'an application context longer than all', bytes: patched(76, 0xff, 0xff) },
    { name: 'user information that is shorter than its items', bytes: lyingEnd() },
    { name: 'an associate request of 3 bytes', bytes: pdu(0x01, zeros(3)) },
    ...[0, 1, 3, 99, 0xffff, 0xffffffff].map((lengthBytes) => ({
      name: `a value that says to be ${lengthBytes} long`,
      bytes: associated(storePdu(), lyingValue(lengthBytes)),
    })),
    { name: 'a P-DATA-TF that ends in a torn value', bytes: associated(storePdu(), pdu(0x04, zeros(3))) },
    {
      name: 'an abort within a value',
      bytes: associated(storePdu(), fragment(0, zeros(500)).subarray(0, 106), pdu(0x07, zeros(4))),
      endless: pdu(0x07, zeros(4)),
    },
    { name: 'a release without the data set', bytes: associated(storePdu(), pdu(0x05, zeros(4))) },
    { name: 'PDUs of 1 byte wanted', bytes: Buffer.concat([associateRequest({ maxPduBytes: 1 }), echoPdu()]) },
    { name: 'PDUs of 7 bytes wanted', bytes: Buffer.concat([associateRequest({ maxPduBytes: 7 }), echoPdu()]) },
    { name: 'a data set without command', bytes: associated(fragment(2, zeros(100))) },
    { name: 'a context that was not accepted', bytes: associated(echoPdu(1, 77)) },
    { name: 'a data set on another context', bytes: associated(storePdu(), fragment(2, zeros(10), 1)) },
    { name: 'a command within a data set', bytes: associated(storePdu(), fragment(0, zeros(10)), echoPdu(2)) },
    { name: 'a command of 100 MB', bytes: associated(), endless: fragment(1, zeros(100_000), 1) },
    { name: 'a command that never ends', bytes: associated(), endless: fragment(1, zeros(2), 1) },
    { name: 'a command of nothing that never ends', bytes: associated(), endless: fragment(1, EMPTY, 1) },
    { name: 'a data set of nothing that never ends', bytes: associated(storePdu()), endless: fragment(0, EMPTY) },
    { name: 'a command that does not parse', bytes: associated(fragment(3, garbage.subarray(0, 1000), 1)) },
    {
      name: 'a command with an element of 4 GB',
      bytes: associated(
        fragment(3, Buffer.concat([encodeCommandSet(unending), Buffer.from('00000011ffffffff', 'hex')]), 1),
      ),
    },
    {
      name: 'an answer to nothing',
      bytes: associated(commandPdu(1, { ...unending, commandField: 0x8030, messageIdBeingRespondedTo: 1, status: 0 })),
    },
    { name: 'a second associate request', bytes: associated(associateRequest({}, usualContexts)) },
  ];
}
