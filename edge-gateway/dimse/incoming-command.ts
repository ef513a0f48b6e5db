/**
 * The command set of one message as its fragments come in (PS3.7 §6.3.1): all on one presentation context, no longer than any
 * command could be. What the command says is command-set.ts.
 */
import { type CommandSet, decodeCommandSet, MAX_COMMAND_BYTES } from './command-set.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { messageViolation } from './pdu.ts';

export class IncomingCommand {
  readonly #bytes = new GrowingBuffer();
  /** 0: none is being gathered. */
  #contextId = 0;

  /** Some of a command has come, and not all of it. */
  get isGathering(): boolean {
    return this.#contextId !== 0;
  }

  /** The next bytes of a fragment; answers with the command when it is whole. Violations: `protocol-violation`. */
  take(contextId: number, bytes: Uint8Array, isComplete: boolean): CommandSet | undefined {
    if (this.#contextId !== 0 && this.#contextId !== contextId)
      throw messageViolation('the fragments of a command came on more than one presentation context');
    if (this.#bytes.length + bytes.length > MAX_COMMAND_BYTES)
      throw messageViolation('a command set is longer than any command could be', { limitBytes: MAX_COMMAND_BYTES });
    this.#contextId = contextId;
    this.#bytes.append(bytes);
    if (!isComplete) return undefined;
    this.#contextId = 0;
    return decodeCommandSet(this.#bytes.take());
  }
}
