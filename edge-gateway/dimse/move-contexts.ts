/**
 * Which presentation contexts a C-MOVE proposes to its destination, and in how many associations: the stored transfer syntaxes of
 * each class, and what they can be converted to; at most 128 in one association (PS3.8 §9.3.2.2).
 */
import { MAX_PRESENTATION_CONTEXTS } from './associate-pdu.ts';
import type { ProposedContext } from './client.ts';
import { conversionTargets } from './outgoing-data-set.ts';
import type { StoredInstance } from './retrieve-selection.ts';

export interface MoveBatch {
  readonly contexts: readonly ProposedContext[];
  readonly instances: readonly StoredInstance[];
}

/** In their order; nearly always one. An instance's own context and those it can be converted to are in one batch. */
export function moveBatches(instances: readonly StoredInstance[]): MoveBatch[] {
  const batches: { contexts: Map<string, ProposedContext>; instances: StoredInstance[] }[] = [];
  const batchOf = new Map<string, (typeof batches)[number]>();
  for (const instance of instances) {
    const own = `${instance.sopClassUid} ${instance.transferSyntaxUid}`;
    let batch = batchOf.get(own);
    if (batch === undefined) {
      const wanted = contextsOf(instance);
      batch = batches.at(-1);
      const added = wanted.filter(([key]) => batch?.contexts.has(key) !== true).length;
      if (batch === undefined || batch.contexts.size + added > MAX_PRESENTATION_CONTEXTS) {
        batch = { contexts: new Map(), instances: [] };
        batches.push(batch);
      }
      for (const [key, context] of wanted) batch.contexts.set(key, context);
      batchOf.set(own, batch);
    }
    batch.instances.push(instance);
  }
  return batches.map(({ contexts, instances: own }) => ({ contexts: [...contexts.values()], instances: own }));
}

/** One context to a transfer syntax, since of several only one would be accepted. Big endian is for those who have it stored. */
function contextsOf({ sopClassUid, transferSyntaxUid }: StoredInstance): [key: string, context: ProposedContext][] {
  const syntaxes = new Set([transferSyntaxUid, ...conversionTargets(transferSyntaxUid).slice(0, 2)]);
  return [...syntaxes].map((uid) => [
    `${sopClassUid} ${uid}`,
    { abstractSyntax: sopClassUid, transferSyntaxes: [uid] },
  ]);
}
