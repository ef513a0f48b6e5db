/**
 * A peer made of bytes alone: writes what it is told, keeps what it gets, and knows when the connection closed. For
 * everything that a well-behaved client cannot be made to do.
 */
import { connect, type Socket } from 'node:net';
import { encodeAssociateRequest, type UserInformation } from '#edge-gateway/dimse/associate-pdu.ts';
import type { ProposedContext } from '#edge-gateway/dimse/client.ts';
import { type CommandSet, encodeCommandSet, NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import { PDV_COMMAND, PDV_LAST } from '#edge-gateway/dimse/pdu.ts';

export const VERIFICATION = '1.2.840.10008.1.1';
export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
export const IMPLICIT = '1.2.840.10008.1.2';
export const EXPLICIT = '1.2.840.10008.1.2.1';

export class RawPeer {
  readonly socket: Socket;
  readonly #whenClosed: Promise<void>;
  #bytes = Buffer.alloc(0);
  isClosed = false;

  constructor(port: number, localAddress = '127.0.0.1') {
    this.socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
    this.socket.on('data', (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.socket.emit('more');
    });
    this.socket.on('error', () => {});
    this.#whenClosed = new Promise<void>((resolve) => {
      this.socket.once('close', () => {
        this.isClosed = true;
        this.socket.emit('more');
        resolve();
      });
    });
  }

  send(...parts: readonly Uint8Array[]): this {
    for (const part of parts) this.socket.write(part);
    return this;
  }

  /** Opens an association and takes its A-ASSOCIATE-AC. */
  async associate(userInformation: Partial<UserInformation> = {}, contexts = usualContexts): Promise<Buffer> {
    this.send(associateRequest(userInformation, contexts));
    return this.next();
  }

  /** The next whole PDU. Rejects when the connection closes before it. */
  async next(): Promise<Buffer> {
    for (;;) {
      if (this.#bytes.length >= 6) {
        const end = 6 + this.#bytes.readUInt32BE(2);
        if (this.#bytes.length >= end) {
          const pdu = this.#bytes.subarray(0, end);
          this.#bytes = this.#bytes.subarray(end);
          return pdu;
        }
      }
      if (this.isClosed) throw new Error('the connection closed without another PDU');
      await new Promise((resolve) => this.socket.once('more', resolve));
    }
  }

  async closed(): Promise<void> {
    this.socket.resume();
    await this.#whenClosed;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

export const usualContexts: readonly ProposedContext[] = [
  { abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] },
  { abstractSyntax: CT_IMAGE, transferSyntaxes: [EXPLICIT] },
];

export function associateRequest(
  userInformation: Partial<UserInformation> = {},
  contexts: readonly ProposedContext[] = usualContexts,
  parties: { calledAeTitle?: string; callingAeTitle?: string } = {},
): Buffer {
  return encodeAssociateRequest({
    protocolVersion: 1,
    calledAeTitle: 'ARCHIPEL',
    callingAeTitle: 'RAW',
    applicationContextName: '1.2.840.10008.3.1.1.1',
    ...parties,
    contexts: contexts.map((context, i) => ({ id: 2 * i + 1, ...context })),
    userInformation: {
      maxPduBytes: 16384,
      implementationClassUid: '1.2.3',
      implementationVersionName: 'RAW',
      roles: [],
      extendedNegotiation: [],
      ...userInformation,
    },
  });
}

export interface Value {
  readonly contextId: number;
  readonly control: number;
  readonly bytes: Uint8Array;
}

/** One P-DATA-TF of these presentation data values. */
export function dataPdu(...values: readonly Value[]): Buffer {
  const items = values.map(({ contextId, control, bytes }) => {
    const header = Buffer.alloc(6);
    header.writeUInt32BE(bytes.length + 2, 0);
    header[4] = contextId;
    header[5] = control;
    return Buffer.concat([header, bytes]);
  });
  return pdu(0x04, Buffer.concat(items));
}

export function pdu(type: number, body: Uint8Array, lengthBytes = body.length): Buffer {
  const header = Buffer.alloc(6);
  header[0] = type;
  header.writeUInt32BE(lengthBytes, 2);
  return Buffer.concat([header, body]);
}

export function commandPdu(contextId: number, command: CommandSet): Buffer {
  return dataPdu({ contextId, control: PDV_COMMAND | PDV_LAST, bytes: encodeCommandSet(command) });
}

export function echoPdu(messageId = 1, contextId = 1): Buffer {
  return commandPdu(contextId, {
    affectedSopClassUid: VERIFICATION,
    commandField: 0x0030,
    messageId,
    dataSetType: NO_DATA_SET,
  });
}

export function storePdu(messageId = 1, sopInstanceUid = '1.2.3.4', contextId = 3): Buffer {
  return commandPdu(contextId, {
    affectedSopClassUid: CT_IMAGE,
    commandField: 0x0001,
    messageId,
    priority: 0,
    dataSetType: 1,
    affectedSopInstanceUid: sopInstanceUid,
  });
}

/** The source and reason of an A-ABORT; undefined for every other PDU. */
export function abortOf(bytes: Uint8Array): { source: number; reason: number } | undefined {
  return bytes[0] === 0x07 ? { source: bytes[8] ?? -1, reason: bytes[9] ?? -1 } : undefined;
}
