/**
 * A modality for tests: sends instances by C-STORE as they are, byte by byte, over the gateway's own SCU.
 */
import { type ConnectOptions, connect, type RequestorAssociation } from '#edge-gateway/dimse/client.ts';
import { AE_TITLE } from './system.ts';

export interface Sendable {
  readonly sopClassUid: string;
  readonly transferSyntaxUid: string;
  readonly ref: { readonly sopInstanceUid: string };
  readonly dataSet: Uint8Array | AsyncIterable<Uint8Array>;
}

export type SenderOptions = Partial<Omit<ConnectOptions, 'port' | 'contexts'>>;

/** An association with one presentation context for each pair of SOP class and transfer syntax among the instances. */
export function associate(
  port: number,
  instances: readonly Pick<Sendable, 'sopClassUid' | 'transferSyntaxUid'>[],
  options: SenderOptions = {},
): Promise<RequestorAssociation> {
  const pairs = new Map(
    instances.map((instance) => [`${instance.sopClassUid} ${instance.transferSyntaxUid}`, instance]),
  );
  return connect({
    host: '127.0.0.1',
    port,
    callingAeTitle: 'SENDER',
    calledAeTitle: AE_TITLE,
    contexts: [...pairs.values()].map(({ sopClassUid, transferSyntaxUid }) => ({
      abstractSyntax: sopClassUid,
      transferSyntaxes: [transferSyntaxUid],
    })),
    ...options,
  });
}

export function storeOn(association: RequestorAssociation, instance: Sendable): Promise<{ status: number }> {
  const { sopClassUid, transferSyntaxUid, dataSet, ref } = instance;
  return association.store({ sopClassUid, sopInstanceUid: ref.sopInstanceUid, transferSyntaxUid, dataSet });
}

/** Sends all over one association, one after the other; answers their statuses in order. */
export async function send(
  port: number,
  instances: readonly Sendable[],
  options: SenderOptions = {},
): Promise<number[]> {
  const association = await associate(port, instances, options);
  const statuses: number[] = [];
  try {
    for (const instance of instances) statuses.push((await storeOn(association, instance)).status);
  } finally {
    if (statuses.length === instances.length) await association.release();
    else association.abort();
  }
  return statuses;
}
