/**
 * Data sets of a retrieval, one read ahead: while one is sent and its answer waited for, the next comes from the disk. Only
 * small ones that go as they are stored: they are whole in memory then and hold nothing open; what is streamed or
 * decompressed waits for its turn.
 */
import type { AcceptedContext } from './negotiation.ts';
import {
  contextFor,
  type OutgoingDataSet,
  type OutgoingSource,
  openDataSet,
  WHOLE_BYTES,
} from './outgoing-data-set.ts';
import type { StoredInstance } from './retrieve-selection.ts';

export class ReadAhead {
  readonly #source: OutgoingSource;
  readonly #following = new Map<StoredInstance, StoredInstance>();
  #ahead: { readonly of: StoredInstance; readonly dataSet: Promise<OutgoingDataSet> } | undefined;

  /** @param instances in the order in which they will be opened; one may be left out */
  constructor(source: OutgoingSource, instances: readonly StoredInstance[]) {
    this.#source = source;
    for (const [i, instance] of instances.entries()) {
      const next = instances[i + 1];
      if (next !== undefined) this.#following.set(instance, next);
    }
  }

  /** As openDataSet. `contexts`: those on which the next one would go. */
  async open(
    instance: StoredInstance,
    transferSyntaxUid: string,
    contexts: readonly AcceptedContext[],
  ): Promise<OutgoingDataSet> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    const isRead = ahead?.of === instance && transferSyntaxUid === instance.transferSyntaxUid;
    const dataSet = await (isRead ? ahead.dataSet : openDataSet(this.#source, instance, transferSyntaxUid));
    this.#readNext(instance, contexts);
    return dataSet;
  }

  #readNext(instance: StoredInstance, contexts: readonly AcceptedContext[]): void {
    const next = this.#following.get(instance);
    if (next === undefined || next.lengthBytes > WHOLE_BYTES) return;
    const { transferSyntaxUid } = next;
    if (contextFor(next, contexts)?.transferSyntaxUid !== transferSyntaxUid) return;
    const dataSet = openDataSet(this.#source, next, transferSyntaxUid);
    // Whoever opens it hears of a failure.
    dataSet.catch(() => {});
    this.#ahead = { of: next, dataSet };
  }
}
