/** A DIMSE server that offers Query/Retrieve over an archive, for tests that ask it. */
import { createDecompressor } from '#edge-gateway/dimse/decompressor.ts';
import { createDimseServer, type DimseServer, type QueryRetrieveOptions } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { MemoryReceiver } from './memory-receiver.ts';

export async function serveArchive(
  { archive, tenant }: Pick<QueryRetrieveOptions, 'archive' | 'tenant'>,
  options: Partial<QueryRetrieveOptions> = {},
): Promise<DimseServer> {
  const decompressor = createDecompressor();
  const server = await createDimseServer({
    host: '127.0.0.1',
    port: 0,
    aeTitle: 'ARCHIPEL',
    receiver: new MemoryReceiver(),
    queryRetrieve: { archive, tenant, decompressor, ...options },
    log: silentLogger,
    limits: { lingerMs: 100, closeDeadlineMs: 200 },
  });
  return {
    port: server.port,
    tlsPort: server.tlsPort,
    get connectionCount() {
      return server.connectionCount;
    },
    close: async () => {
      await server.close();
      await decompressor.close();
    },
  };
}
