/**
 * The URL under which the client sees this service, from the request and from what proxies say about it: Forwarded
 * (RFC 7239) first, then X-Forwarded-Proto, -Host, -Port and -Prefix. Retrieve and bulk data URLs are built on it, so the port
 * must survive. Header values are hostile: whatever is not a plain host, port or path is ignored.
 */

export const mountPath = '/dicomweb';

const hostPattern = /^(?:[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/i;
const prefixPattern = /^(?:\/(?!\.{1,2}(?:\/|$))[a-z0-9._~-]{1,64}){1,8}$/i;

/** Absolute, without a slash at the end: `https://archive.example:8443/prefix/dicomweb`. */
export function baseUrlOf(request: Request): string {
  const url = new URL(request.url);
  const forwarded = firstForwarded(request.headers.get('forwarded'));
  const protocol =
    protocolOf(forwarded.get('proto') ?? first(request, 'x-forwarded-proto')) ?? url.protocol.slice(0, -1);
  const named = forwarded.get('host') ?? first(request, 'x-forwarded-host');
  const host = named !== undefined && isHost(named) ? named : undefined;
  const prefix = first(request, 'x-forwarded-prefix')?.replace(/\/+$/, '') ?? '';
  const authority = withPort(host ?? url.host, protocol, first(request, 'x-forwarded-port'), host !== undefined);
  return `${protocol}://${authority}${prefixPattern.test(prefix) ? prefix : ''}${mountPath}`;
}

/** The pattern keeps out what a URL has elsewhere (paths, users, quotes), the parser what no URL can be made of. */
function isHost(text: string): boolean {
  return hostPattern.test(text) && URL.canParse(`http://${text}`) && !/:0+$/.test(text.replace(/\[.*\]/, ''));
}

/** A port in the host wins; X-Forwarded-Port helps where a proxy names the host without it. */
function withPort(host: string, protocol: string, port: string | undefined, forwarded: boolean): string {
  const hasPort = /:[0-9]+$/.test(host) && !host.endsWith(']');
  const usable = port !== undefined && /^[0-9]{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65_536;
  if (!usable || (hasPort && forwarded)) return host;
  const bare = hasPort ? host.slice(0, host.lastIndexOf(':')) : host;
  return Number(port) === (protocol === 'https' ? 443 : 80) ? bare : `${bare}:${Number(port)}`;
}

function protocolOf(text: string | undefined): 'http' | 'https' | undefined {
  const lower = text?.toLowerCase();
  return lower === 'http' || lower === 'https' ? lower : undefined;
}

/** The first element is what the proxy nearest to the client said. */
function first(request: Request, name: string): string | undefined {
  return request.headers.get(name)?.split(',')[0]?.trim() || undefined;
}

function firstForwarded(value: string | null): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const pair of (value ?? '').split(',')[0]?.split(';') ?? []) {
    const equals = pair.indexOf('=');
    if (equals < 0) continue;
    const text = pair.slice(equals + 1).trim();
    pairs.set(pair.slice(0, equals).trim().toLowerCase(), text.replace(/^"(.*)"$/, '$1'));
  }
  return pairs;
}
