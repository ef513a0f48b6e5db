/**
 * The requestor of an association (SCU): connects, negotiates, verifies, stores, releases. Data sets stream out of bytes
 * or an iterable, never more than a PDU of them held; the peer's PDU limit is obeyed. One message goes out at a time; as
 * many may be unanswered as were negotiated. Sending files is send.ts.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { ArchiveError } from '#shared/errors.ts';
import {
  type AssociateAccept,
  ContextResult,
  decodeAssociateAccept,
  encodeAssociateRequest,
  MAX_PRESENTATION_CONTEXTS,
  type RoleSelection,
} from './associate-pdu.ts';
import { associateRequestOf } from './association-request.ts';
import {
  CommandField,
  type CommandSet,
  decodeCommandSet,
  encodeCommandSet,
  MAX_COMMAND_BYTES,
  NO_DATA_SET,
  RESPONSE,
} from './command-set.ts';
import { dataSetPdus } from './fragmenter.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { type AcceptedContext, VERIFICATION_SOP_CLASS } from './negotiation.ts';
import {
  AbortReason,
  DEFAULT_MAX_PDU_BYTES,
  decodeAbort,
  decodeAssociateReject,
  encodeCommandPdus,
  encodeReleaseRequest,
  encodeReleaseResponse,
  fragmentLimit,
  messageViolation,
  PDV_COMMAND,
  PDV_LAST,
  PduType,
  pduViolation,
} from './pdu.ts';
import { RequestWindow } from './request-window.ts';
import { answerOf } from './response.ts';
import type { StatusAnswer } from './status.ts';
import { type ClientTls, tlsClientOptions } from './tls.ts';
import { UpperLayer, type UpperLayerHandler } from './upper-layer.ts';

export interface ProposedContext {
  readonly abstractSyntax: string;
  readonly transferSyntaxes: readonly string[];
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly callingAeTitle: string;
  readonly calledAeTitle: string;
  /** At most 128, in order; they get the IDs 1, 3, 5 … */
  readonly contexts: readonly ProposedContext[];
  /** What we propose to be on them where it is not SCU (PS3.7 Annex D.3.3.4). */
  readonly roles?: readonly RoleSelection[];
  /** What we offer to take in one P-DATA-TF. */
  readonly maxPduBytes?: number;
  /** The longest payload of one presentation data value that we send; never more than the peer's limit allows. */
  readonly fragmentBytes?: number;
  readonly pdvsPerPdu?: number;
  /** Requests that may be unanswered; more than 1 is proposed to the peer, which may say less (PS3.7 Annex D.3.3.3). */
  readonly operations?: number;
  /** Calls over TLS (PS3.15 §B.12). */
  readonly tls?: ClientTls;
  /** For the connection and for the negotiation together. */
  readonly connectTimeoutMs?: number;
  /** For a response, and for any progress in what we send. */
  readonly responseTimeoutMs?: number;
}

export interface InstanceToStore {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  /** Without File Meta; of even length. Pieces must not be written to after they were handed over. */
  readonly dataSet: Uint8Array | AsyncIterable<Uint8Array>;
  /** Whose C-MOVE makes us store it (PS3.7 §9.1.1.1). */
  readonly moveOriginator?: { readonly aeTitle: string; readonly messageId: number };
  /** (0000,0700): 0 medium, 1 high, 2 low. */
  readonly priority?: 0 | 1 | 2;
}

/**
 * Connects and negotiates. Errors: `unavailable` (not reachable, or rejected for now), `forbidden` (rejected for good;
 * details say result, source and reason), `timeout`, `protocol-violation`.
 */
export async function connect(options: ConnectOptions): Promise<RequestorAssociation> {
  if (options.contexts.length === 0 || options.contexts.length > MAX_PRESENTATION_CONTEXTS)
    throw new ArchiveError('bad-request', 'an association needs 1 to 128 presentation contexts');
  const address = { host: options.host, port: options.port };
  const socket =
    options.tls === undefined
      ? connectTcp({ ...address, noDelay: true })
      : connectTls({ ...tlsClientOptions(options.tls, options.host), ...address });
  const association = new RequestorAssociation(socket, options);
  await association.whenOpen;
  return association;
}

export class RequestorAssociation implements UpperLayerHandler {
  readonly whenOpen: Promise<void>;
  readonly #layer: UpperLayer;
  readonly #options: ConnectOptions;
  readonly #responseTimeoutMs: number;
  readonly #window = new RequestWindow();
  readonly #command = new GrowingBuffer();
  #opened: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #accept: AssociateAccept | undefined;
  #contexts: readonly AcceptedContext[] = [];
  #releasing: { resolve: () => void } | undefined;
  #error: ArchiveError | undefined;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  /** Use `connect`. */
  constructor(socket: Socket, options: ConnectOptions) {
    this.#options = options;
    this.#responseTimeoutMs = options.responseTimeoutMs ?? 60_000;
    this.whenOpen = new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
    const fields = { host: options.host, port: options.port };
    socket.once('error', (cause) => {
      this.#error ??= new ArchiveError('unavailable', 'the connection to the peer failed', fields, cause);
    });
    this.#layer = new UpperLayer(socket, this, {
      maxPduBytes: options.maxPduBytes ?? DEFAULT_MAX_PDU_BYTES,
      lingerMs: 1_500,
    });
    this.#timer = setTimeout(() => {
      this.#breakOff(new ArchiveError('timeout', 'the peer did not answer the association request in time', fields));
    }, options.connectTimeoutMs ?? 30_000);
    socket.once(options.tls === undefined ? 'connect' : 'secureConnect', () => {
      void this.#layer.write([encodeAssociateRequest(associateRequestOf(options))]);
    });
  }

  /** What the peer accepted, in the order proposed. */
  get contexts(): readonly AcceptedContext[] {
    return this.#contexts;
  }

  /** What the peer answered about our role; undefined: nothing. */
  roleIn(sopClassUid: string): RoleSelection | undefined {
    return this.#accept?.userInformation.roles.find((role) => role.sopClassUid === sopClassUid);
  }

  /** Requests that may be unanswered, as negotiated. */
  get operations(): number {
    return this.#window.size;
  }

  get isOpen(): boolean {
    return this.#accept !== undefined && !this.#layer.isEnding && this.#releasing === undefined;
  }

  /** C-ECHO. Errors as of `store`. */
  echo(): Promise<StatusAnswer> {
    const context = this.#contexts.find((candidate) => candidate.abstractSyntax === VERIFICATION_SOP_CLASS);
    if (context === undefined) return Promise.reject(notAccepted(VERIFICATION_SOP_CLASS));
    return this.request(context, {
      affectedSopClassUid: VERIFICATION_SOP_CLASS,
      commandField: CommandField.CEchoRequest,
      dataSetType: NO_DATA_SET,
    });
  }

  /**
   * C-STORE: resolves with the peer's answer, whatever its status. Errors: `unsupported-transfer-syntax` (no context for
   * this class and syntax was accepted), `bad-dicom` (odd length), `timeout`, `unavailable` (the association ended).
   * A failure in the middle of a data set aborts the association: it cannot be taken up again.
   */
  store(instance: InstanceToStore): Promise<StatusAnswer> {
    const { sopClassUid, sopInstanceUid, transferSyntaxUid, dataSet, moveOriginator, priority = 0 } = instance;
    const context = this.#contexts.find(
      (candidate) => candidate.abstractSyntax === sopClassUid && candidate.transferSyntaxUid === transferSyntaxUid,
    );
    if (context === undefined) return Promise.reject(notAccepted(sopClassUid, transferSyntaxUid));
    const command = {
      affectedSopClassUid: sopClassUid,
      commandField: CommandField.CStoreRequest,
      priority,
      dataSetType: 1,
      affectedSopInstanceUid: sopInstanceUid,
      ...(moveOriginator && {
        moveOriginatorAeTitle: moveOriginator.aeTitle,
        moveOriginatorMessageId: moveOriginator.messageId,
      }),
    };
    return this.request(context, command, dataSet);
  }

  /** A-RELEASE after all answers have come; resolves when the connection is closed. */
  async release(): Promise<void> {
    await this.#window.idle();
    if (this.#isClosed) return;
    if (this.#layer.isEnding) {
      this.#layer.destroy();
      return;
    }
    const closed = new Promise<void>((resolve) => {
      this.#releasing = { resolve };
    });
    this.#startTimer('the peer did not answer the release in time');
    await this.#layer.write([encodeReleaseRequest()]);
    await closed;
  }

  /** A-ABORT; what is unanswered fails. */
  abort(): void {
    this.#breakOff(new ArchiveError('unavailable', 'the association was aborted by ourselves'));
  }

  /** Any request on a context that was accepted; a Message ID is given to it. Errors as of `store`. */
  request(
    context: AcceptedContext,
    command: CommandSet,
    dataSet?: Uint8Array | AsyncIterable<Uint8Array>,
  ): Promise<StatusAnswer> {
    return this.#window.run(async (messageId) => {
      if (!this.isOpen) throw this.#closedError();
      try {
        await this.#send(context, { ...command, messageId }, dataSet);
      } catch (error) {
        this.#breakOff(error);
        throw error;
      }
    });
  }

  async #send(
    context: AcceptedContext,
    command: CommandSet,
    dataSet: Uint8Array | AsyncIterable<Uint8Array> | undefined,
  ): Promise<void> {
    const maxPduBytes = this.#accept?.userInformation.maxPduBytes ?? 0;
    await this.#write([encodeCommandPdus(context.id, encodeCommandSet(command), maxPduBytes)]);
    if (dataSet !== undefined) {
      const pdvsPerPdu = this.#options.pdvsPerPdu ?? 1;
      const limit = fragmentLimit(maxPduBytes, pdvsPerPdu);
      const asked = this.#options.fragmentBytes ?? limit;
      const fragmentBytes = Math.max(2, Math.min(limit, asked - (asked % 2)));
      for await (const parts of dataSetPdus(dataSet, context.id, { fragmentBytes, pdvsPerPdu })) {
        if (!this.isOpen) throw this.#closedError();
        await this.#write(parts);
      }
    }
    this.#startTimer('the peer did not answer a request in time');
  }

  async #write(parts: readonly Uint8Array[]): Promise<void> {
    const waiting = this.#layer.write(parts);
    if (waiting === undefined) return;
    this.#startTimer('the peer has stopped reading');
    await waiting;
    this.#stopTimer();
  }

  #startTimer(message: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#breakOff(new ArchiveError('timeout', message)), this.#responseTimeoutMs);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  pduBegins(type: number): void {
    if (type === PduType.Abort) return;
    const expected: readonly number[] =
      this.#accept === undefined
        ? [PduType.AssociateAccept, PduType.AssociateReject]
        : this.#releasing === undefined
          ? [PduType.Data, PduType.ReleaseRequest]
          : [PduType.ReleaseRequest, PduType.ReleaseResponse];
    if (!expected.includes(type))
      throw pduViolation('the peer sent a PDU that has no place now', AbortReason.UnexpectedPdu, { pduType: type });
  }

  pdu(type: number, body: Uint8Array): void | Promise<void> {
    switch (type) {
      case PduType.AssociateAccept:
        return this.#open(decodeAssociateAccept(body));
      case PduType.AssociateReject: {
        const reject = decodeAssociateReject(body);
        const code = reject.result === 2 ? 'unavailable' : 'forbidden';
        const message = 'the peer rejected the association; check both AE titles and its settings';
        this.#error = new ArchiveError(code, message, { ...reject });
        return this.#layer.end();
      }
      case PduType.Abort:
        this.#error = new ArchiveError('unavailable', 'the peer aborted the association', { ...decodeAbort(body) });
        return this.#layer.destroy();
      case PduType.ReleaseRequest:
        // While we wait for its answer to ours: a collision (PS3.8 §9.2.2, Sta9); the answers cross.
        if (this.#releasing !== undefined) return this.#layer.write([encodeReleaseResponse()]);
        this.#error = new ArchiveError('unavailable', 'the peer released the association');
        return this.#layer.end(encodeReleaseResponse());
      default:
        return this.#layer.end();
    }
  }

  #open(accept: AssociateAccept): void {
    const isAccepted = new Map(accept.contexts.map((answer) => [answer.id, answer]));
    this.#contexts = this.#options.contexts.flatMap((proposed, i) => {
      const answer = isAccepted.get(2 * i + 1);
      if (answer?.result !== ContextResult.Acceptance) return [];
      if (!proposed.transferSyntaxes.includes(answer.transferSyntax)) return [];
      return [{ id: answer.id, abstractSyntax: proposed.abstractSyntax, transferSyntaxUid: answer.transferSyntax }];
    });
    if (fragmentLimit(accept.userInformation.maxPduBytes, this.#options.pdvsPerPdu) === 0)
      throw pduViolation('the peer takes PDUs too small for any message', AbortReason.InvalidPduParameterValue);
    const asked = this.#options.operations ?? 1;
    const window = accept.userInformation.asynchronousOperations;
    this.#window.size = window === undefined ? 1 : Math.min(window.invoked || asked, asked);
    this.#accept = accept;
    this.#stopTimer();
    this.#opened?.resolve();
  }

  piece(_contextId: number, control: number, bytes: Uint8Array, isEnd: boolean): void {
    if ((control & PDV_COMMAND) === 0) throw messageViolation('the peer sent a data set that was not asked for');
    if (this.#command.length + bytes.length > MAX_COMMAND_BYTES) throw messageViolation('a response is too long');
    this.#command.append(bytes);
    if (!isEnd || (control & PDV_LAST) === 0) return;
    const response = decodeCommandSet(this.#command.take());
    const { commandField } = response;
    if (
      (commandField & RESPONSE) === 0 ||
      !this.#window.answered(response.messageIdBeingRespondedTo, answerOf(response))
    )
      throw messageViolation('the peer sent a message that answers nothing', { commandField });
    if (this.#window.unansweredCount === 0) this.#stopTimer();
  }

  failed(error: unknown): void {
    this.#breakOff(error);
  }

  #breakOff(error: unknown): void {
    this.#error ??=
      error instanceof ArchiveError
        ? error
        : new ArchiveError('unavailable', 'the association failed while sending', {}, error);
    if (this.#accept === undefined) this.#layer.destroy();
    else this.#layer.abort(error);
    this.#settleAll();
  }

  closed(): void {
    this.#isClosed = true;
    this.#releasing?.resolve();
    this.#settleAll();
  }

  #settleAll(): void {
    this.#stopTimer();
    const error = this.#closedError();
    this.#opened?.reject(error);
    this.#window.failAll(error);
  }

  #closedError(): ArchiveError {
    return this.#error ?? new ArchiveError('unavailable', 'the association is closed');
  }
}

function notAccepted(sopClassUid: string, transferSyntaxUid?: string): ArchiveError {
  return new ArchiveError(
    'unsupported-transfer-syntax',
    'no presentation context for this SOP class and transfer syntax was accepted',
    { sopClassUid, transferSyntaxUid },
  );
}
