/**
 * Whether a request names this machine as those on it do. A page from elsewhere may have a name that leads here (DNS
 * rebinding), and its requests differ from others in nothing but that name: a server that checks no identities must look at it.
 */

const ownName = /^(localhost|[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])$/;

/** An address or localhost. What proxies say of the client's own URL does not count. */
export function isOwnName(request: Request): boolean {
  return ownName.test(new URL(request.url).hostname);
}

const loopbackName = /^(localhost|127(\.[0-9]{1,3}){3}|\[?::1\]?)$/i;

/** Whether a host name or address leads to this machine only. */
export function isLoopbackName(name: string): boolean {
  return loopbackName.test(name);
}
