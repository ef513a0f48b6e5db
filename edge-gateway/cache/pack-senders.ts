/**
 * Who sent what is in a pack, and how urgent it is to bring it to the cloud: gathered while the pack is open, instance by
 * instance, and kept with its record. The order in which packs are uploaded is the uploader's.
 */
import type { PackRecord, UploadPriority } from '#shared/archive/records.ts';
import type { UploadPriorityRule } from '../settings.ts';

/** What is known of who sent an instance. */
export interface SentBy {
  readonly callingAeTitle: string | undefined;
  /** (0008,0060). */
  readonly modality: string | undefined;
  /** (0000,0700) of the C-STORE request (PS3.7 §9.3.1.1); undefined when it came another way, or was read back from disk. */
  readonly dimsePriority: 'high' | 'medium' | 'low' | undefined;
}

/** More titles than this say nothing of where a pack comes from; the record stays small whatever senders call themselves. */
const MAX_TITLES = 32;
const rank = { low: 0, routine: 1, stat: 2 } as const satisfies Record<UploadPriority, number>;
const byDimse = { high: 'stat', medium: 'routine', low: 'low' } as const;

/**
 * The first rule whose conditions all hold decides; without one the DIMSE priority does, HIGH being `stat`. Undefined: nothing is known
 * that speaks for anything.
 */
export function priorityOf(rules: readonly UploadPriorityRule[], sent: SentBy): UploadPriority | undefined {
  const rule = rules.find(
    ({ callingAeTitle, modality, dimsePriority }) =>
      (callingAeTitle === undefined || callingAeTitle === sent.callingAeTitle) &&
      (modality === undefined || modality === sent.modality) &&
      (dimsePriority === undefined || dimsePriority === sent.dimsePriority),
  );
  return rule?.priority ?? (sent.dimsePriority && byDimse[sent.dimsePriority]);
}

export class PackSenders {
  readonly #titles = new Set<string>();
  #priority: UploadPriority | undefined;

  /** One more instance is in the pack: the most urgent one decides about all of it. */
  note(rules: readonly UploadPriorityRule[], sent: SentBy): void {
    this.#raise(priorityOf(rules, sent));
    if (sent.callingAeTitle !== undefined) this.#name(sent.callingAeTitle);
  }

  /** What an earlier process had written down of the same pack. */
  restore({ priority, sourceAeTitles = [] }: Pick<PackRecord, 'priority' | 'sourceAeTitles'>): void {
    this.#raise(priority);
    for (const title of sourceAeTitles) this.#name(title);
  }

  #name(title: string): void {
    if (this.#titles.size < MAX_TITLES) this.#titles.add(title);
  }

  #raise(priority: UploadPriority | undefined): void {
    if (priority !== undefined && (this.#priority === undefined || rank[priority] > rank[this.#priority]))
      this.#priority = priority;
  }

  get priority(): UploadPriority {
    return this.#priority ?? 'routine';
  }

  /** For the pack's record. */
  get facts(): Required<Pick<PackRecord, 'priority' | 'sourceAeTitles'>> {
    return { priority: this.priority, sourceAeTitles: [...this.#titles] };
  }
}
