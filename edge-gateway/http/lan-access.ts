/**
 * Who may search, view and store on the gateway's HTTP port. Identities are not checked here yet, so it is one choice for all:
 * programs on this machine, or, where the operator says so, whoever reaches the port.
 */
import { ArchiveError } from '#shared/errors.ts';
import type { EdgeSettings } from '../settings.ts';
import { isLoopbackName } from './own-name.ts';

export type LanAccess = (request: Request) => void;

type AccessSettings = Pick<EdgeSettings, 'host' | 'lanAccess'>;

/** Whether there is anybody who may see images. */
export function isServed({ host, lanAccess }: AccessSettings): boolean {
  return lanAccess === 'open' || isLoopbackName(host);
}

/**
 * Throws `forbidden` for a request that may not see images. For this machine only: the gateway listens on the loopback interface,
 * and the request names it so, since a page from elsewhere may have a name that leads here (DNS rebinding).
 */
export function createLanAccess(settings: AccessSettings): LanAccess {
  if (settings.lanAccess === 'open') return () => {};
  return (request) => {
    if (isServed(settings) && isLoopbackName(new URL(request.url).hostname)) return;
    throw new ArchiveError(
      'forbidden',
      'Images are shown to this machine only. To show them without checking who asks to all who reach this port, set ARCHIPEL_EDGE_LAN_ACCESS=open.',
    );
  };
}
