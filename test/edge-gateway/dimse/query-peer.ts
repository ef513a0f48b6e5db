/**
 * A requestor of C-FIND, C-GET and C-MOVE made of a RawPeer: says what the test wants it to say, and reads every message
 * that comes, commands and data sets, so that tests see the conversation as it is on the wire.
 */
import { decodeAssociateAccept, type RoleSelection } from '#edge-gateway/dimse/associate-pdu.ts';
import type { ProposedContext } from '#edge-gateway/dimse/client.ts';
import {
  CommandField,
  type CommandSet,
  decodeCommandSet,
  encodeCommandSet,
  NO_DATA_SET,
} from '#edge-gateway/dimse/command-set.ts';
import { encodeCommandPdus, encodeDataSetPdus, PDV_COMMAND, PDV_LAST } from '#edge-gateway/dimse/pdu.ts';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { IMPLICIT, RawPeer } from './raw-peer.ts';

export const PATIENT_ROOT = '1.2.840.10008.5.1.4.1.2.1.';
export const STUDY_ROOT = '1.2.840.10008.5.1.4.1.2.2.';

export interface Received {
  readonly contextId: number;
  readonly command: CommandSet;
  readonly dataSet: Buffer | undefined;
}

export interface PeerOptions {
  readonly contexts: readonly ProposedContext[];
  readonly roles?: readonly RoleSelection[];
  readonly extendedNegotiation?: readonly { sopClassUid: string; information: Uint8Array }[];
  readonly maxPduBytes?: number;
}

export class QueryPeer {
  readonly raw: RawPeer;
  readonly #options: PeerOptions;
  /** Transfer syntaxes accepted, by context ID. */
  readonly accepted = new Map<number, string>();
  accept: ReturnType<typeof decodeAssociateAccept> | undefined;

  constructor(port: number, options: PeerOptions) {
    this.raw = new RawPeer(port);
    this.#options = options;
  }

  async open(): Promise<this> {
    const { contexts, roles = [], extendedNegotiation = [], maxPduBytes = 16_384 } = this.#options;
    const answer = await this.raw.associate({ roles, extendedNegotiation, maxPduBytes }, contexts);
    this.accept = decodeAssociateAccept(answer.subarray(6));
    for (const { id, result, transferSyntax } of this.accept.contexts)
      if (result === 0) this.accepted.set(id, transferSyntax);
    return this;
  }

  send(contextId: number, command: CommandSet, dataSet?: Uint8Array): void {
    const set = { ...command, dataSetType: dataSet === undefined ? NO_DATA_SET : 1 };
    this.raw.send(encodeCommandPdus(contextId, encodeCommandSet(set), 16_384));
    if (dataSet !== undefined) this.raw.send(encodeDataSetPdus(contextId, dataSet, 16_384));
  }

  /** Sends a request with an identifier in the context's transfer syntax. */
  request(
    commandField: number,
    identifier: DicomJson,
    options: { contextId?: number; messageId?: number; moveDestination?: string; characterSets?: string[] } = {},
  ): void {
    const { contextId = 1, messageId = 1, moveDestination, characterSets } = options;
    const bytes = encodeDataSet(identifier, transferSyntaxOf(this.accepted.get(contextId) ?? IMPLICIT), characterSets);
    const abstractSyntax = this.#options.contexts[(contextId - 1) / 2]?.abstractSyntax ?? '';
    this.send(
      contextId,
      {
        affectedSopClassUid: abstractSyntax,
        commandField,
        messageId,
        priority: 0,
        dataSetType: 1,
        ...(moveDestination === undefined ? {} : { moveDestination }),
      },
      bytes,
    );
  }

  cancel(messageId = 1, contextId = 1): void {
    this.send(contextId, {
      commandField: CommandField.CCancelRequest,
      messageIdBeingRespondedTo: messageId,
      dataSetType: NO_DATA_SET,
    });
  }

  /** The next whole message. */
  async next(): Promise<Received> {
    const command: Uint8Array[] = [];
    const data: Uint8Array[] = [];
    let decoded: CommandSet | undefined;
    for (;;) {
      const pdu = await this.raw.next();
      if (pdu[0] !== 4) throw new Error(`a PDU of type ${pdu[0]} came in place of a message`);
      for (let at = 6; at < pdu.length; ) {
        const end = at + 4 + pdu.readUInt32BE(at);
        const contextId = pdu[at + 4] as number;
        const control = pdu[at + 5] as number;
        const isLast = (control & PDV_LAST) !== 0;
        const isCommand = (control & PDV_COMMAND) !== 0;
        (isCommand ? command : data).push(Buffer.from(pdu.subarray(at + 6, end)));
        at = end;
        if (!isLast) continue;
        if (isCommand) decoded = decodeCommandSet(Buffer.concat(command));
        if (isCommand && decoded?.dataSetType !== NO_DATA_SET) continue;
        return {
          contextId,
          command: decoded as CommandSet,
          dataSet: isCommand ? undefined : Buffer.concat(data),
        };
      }
    }
  }

  /** Every response up to the last, and what was stored on the way; `onStore` says what a C-STORE is answered with. */
  async responses(onStore: (store: Received) => number | Promise<number> = () => 0): Promise<Received[]> {
    const found: Received[] = [];
    for (;;) {
      const message = await this.next();
      if (message.command.commandField === CommandField.CStoreRequest) {
        const status = await onStore(message);
        this.send(message.contextId, {
          affectedSopClassUid: message.command.affectedSopClassUid ?? '',
          affectedSopInstanceUid: message.command.affectedSopInstanceUid ?? '',
          commandField: CommandField.CStoreRequest | 0x8000,
          messageIdBeingRespondedTo: message.command.messageId ?? 0,
          dataSetType: NO_DATA_SET,
          status,
        });
        continue;
      }
      found.push(message);
      const status = message.command.status ?? -1;
      if (status !== 0xff00 && status !== 0xff01) return found;
    }
  }

  json(received: Received): DicomJson {
    const transferSyntaxUid = this.accepted.get(received.contextId) ?? IMPLICIT;
    return received.dataSet === undefined
      ? {}
      : toDicomJson(readHeader(received.dataSet, { transferSyntaxUid }).dataSet);
  }

  close(): void {
    this.raw.destroy();
  }
}

/** An identifier: values by tag; empty ones are asked for. */
export function identifier(
  level: string,
  keys: Readonly<Record<string, readonly [vr: string, ...values: unknown[]]>>,
): DicomJson {
  const json: DicomJson = { '00080052': { vr: 'CS', Value: [level] } };
  for (const [tag, [vr, ...values]] of Object.entries(keys)) {
    json[tag] = (values.length === 0 ? { vr } : { vr, Value: values }) as DicomJson[string];
  }
  return json;
}
