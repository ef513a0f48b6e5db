/**
 * A well-behaved peer beside hostile ones: it verifies over one long association and over new ones, as long as it is told to, and
 * says how long each answer took.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from '#edge-gateway/dimse/client.ts';
import { usualContexts } from '#test/edge-gateway/dimse/raw-peer.ts';

export class Bystander {
  /** Of C-ECHO on an open association. */
  readonly echoMs: number[] = [];
  /** Of connecting, negotiating, C-ECHO and release together. */
  readonly callMs: number[] = [];
  readonly #port: number;
  #isStopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(port: number) {
    this.#port = port;
  }

  start(): this {
    this.#running = Promise.all([this.#echoes(), this.#calls()]);
    // Told by `stop`.
    this.#running.catch(() => {});
    return this;
  }

  /** Rejects if it was ever not served. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #echoes(): Promise<void> {
    const association = await this.#associate();
    while (!this.#isStopped) {
      const startedAtMs = performance.now();
      const { status } = await association.echo();
      if (status !== 0) throw new Error(`C-ECHO was answered ${status}`);
      this.echoMs.push(performance.now() - startedAtMs);
      await pause(10);
    }
    await association.release();
  }

  async #calls(): Promise<void> {
    while (!this.#isStopped) {
      const startedAtMs = performance.now();
      const association = await this.#associate();
      await association.echo();
      await association.release();
      this.callMs.push(performance.now() - startedAtMs);
      await pause(100);
    }
  }

  #associate() {
    return connect({
      host: '127.0.0.1',
      port: this.#port,
      callingAeTitle: 'HONEST',
      calledAeTitle: 'ARCHIPEL',
      contexts: usualContexts,
    });
  }
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
