/**
 * The question of a watchdog, an installer or a container: is the gateway of these settings well? Asked over HTTP on this
 * machine, so that nothing but the gateway's own program is needed for it.
 */
import type { EdgeSettings } from './settings.ts';

export interface HealthAnswer {
  /** 0: well. 2: it runs and accepts nothing. 1: no answer. */
  readonly code: 0 | 1 | 2;
  /** What it said, or why it did not. */
  readonly text: string;
}

const TIMEOUT_MS = 5_000;
/** Listening everywhere is listening here. */
const hereInstead: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

export async function askHealth({ host, httpPort }: Pick<EdgeSettings, 'host' | 'httpPort'>): Promise<HealthAnswer> {
  const address = hereInstead[host] ?? host;
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${httpPort}/health`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = (await response.text()).trim();
    // Something else may have the port.
    if (!text.startsWith('{"health":')) return { code: 1, text: `Something else answers at ${url}.` };
    return { code: response.status === 200 ? 0 : 2, text };
  } catch {
    return { code: 1, text: `Nothing answers at ${url}.` };
  }
}
