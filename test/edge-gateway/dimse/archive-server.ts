/** A DIMSE server that offers Query/Retrieve over an archive, for tests that ask it. */
import { createDimseServer, type DimseServer, type QueryRetrieveOptions } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';

export function serveArchive(
  { archive, tenant }: Pick<QueryRetrieveOptions, 'archive' | 'tenant'>,
  options: Partial<QueryRetrieveOptions> = {},
): Promise<DimseServer> {
  return createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'ARCHIPEL',
    receiver: new MemoryReceiver(),
    queryRetrieve: { archive, tenant, ...options },
    log: silentLogger,
    limits: { lingerMs: 100, closeDeadlineMs: 200 },
  });
}
