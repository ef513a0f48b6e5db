/**
 * Fault F5: the gateway is stopped for a while and goes on, is told to end in the middle of things, or is ended by the kernel for
 * want of memory. Senders wait or send again; nothing that was acknowledged is lost; an orderly end takes 10 s at most.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { gone, isRunning, unfinishedFiles, until } from '#test/support/system.ts';
import { Modality } from './modality.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { printTable } from './verdict.ts';

const INSTANCES_PER_ROUND = 60;
const STOPPED_MS = 5_000;
const END_MS = 10_000;
const STARVE_STEP_BYTES = 16 * 1024 * 1024;
/** A kernel may take long over what little can be taken back: after so long it is ended by hand. */
const STARVED_MS = 20_000;

/** A memory cgroup in which the kernel ends a process for want of memory. */
class MemoryGroup implements Disposable {
  readonly #folder: string;
  readonly #isSecond = existsSync('/sys/fs/cgroup/cgroup.controllers');

  private constructor() {
    this.#folder = join('/sys/fs/cgroup', this.#isSecond ? '' : 'memory', `archipel-test-${process.pid}`);
    mkdirSync(this.#folder);
  }

  /** Undefined, and a notice, where there is none to be had. */
  static tryMake(): MemoryGroup | undefined {
    let group: MemoryGroup | undefined;
    try {
      group = new MemoryGroup();
      group.feed();
      return group;
    } catch (error) {
      console.warn(`NOTICE: no memory cgroup on this machine (${(error as Error).message}); SIGKILL in its place`);
      group?.[Symbol.dispose]();
      return undefined;
    }
  }

  /** From now on what the process takes is counted here: to be called as soon as it runs. */
  add(pid: number): void {
    this.#write('cgroup.procs', String(pid));
  }

  /**
   * Less than what is in use is all that there is, or as much where that cannot be had. Much of it are pages of files, which the
   * kernel takes back before it ends anything: to be called again until the process is gone, while it is given something to do.
   */
  starve(): void {
    const used = Number(readFileSync(join(this.#folder, this.#isSecond ? 'memory.current' : 'memory.usage_in_bytes')));
    for (const bytes of [Math.max(0, used - STARVE_STEP_BYTES), used])
      try {
        this.#limit(String(bytes));
        return;
      } catch (error) {
        // More is in use than can be taken back: the limit stays where it was.
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
      }
  }

  feed(): void {
    this.#limit(this.#isSecond ? 'max' : '-1');
  }

  #limit(bytes: string): void {
    this.#write(this.#isSecond ? 'memory.max' : 'memory.limit_in_bytes', bytes);
  }

  #write(name: string, value: string): void {
    writeFileSync(join(this.#folder, name), value);
  }

  [Symbol.dispose](): void {
    rmdirSync(this.#folder);
  }
}

describe('signals', () => {
  it('is stopped, ended and starved, and loses nothing', async () => {
    const seed = seedOfRun();
    const rounds = Math.max(3, Math.min(roundsOfRun(3), 60));
    const chance = chanceOf(seed);
    using group = MemoryGroup.tryMake();
    await using site = await Site.create();
    const start = async (): Promise<number> => {
      const listening = site.startGateway();
      group?.add(site.gateway.pid!);
      return listening;
    };
    await start();
    const modalities = [1, 2].map(
      (number) =>
        new Modality({
          port: () => site.dicomPort,
          chance: chanceOf(seed + number),
          uidRoot: `1.2.826.0.1.3680043.10.1462.4.${seed}.${number}`,
        }),
    );
    for (const modality of modalities) modality.start();
    const endsMs: number[] = [];
    const restartsMs: number[] = [];
    const ways: Record<string, number> = {};
    const noteWay = (name: string): void => {
      ways[name] = (ways[name] ?? 0) + 1;
    };
    for (let round = 0; round < rounds; round++) {
      for (const modality of modalities) modality.allow(INSTANCES_PER_ROUND);
      await pause(200 + chance.next() * 1_500);
      const { gateway } = site;
      const pid = gateway.pid!;
      if (round % 3 === 0) {
        noteWay('SIGSTOP');
        gateway.kill('SIGSTOP');
        await pause(STOPPED_MS);
        gateway.kill('SIGCONT');
        continue;
      }
      if (round % 3 === 1) {
        noteWay('SIGTERM');
        const atMs = performance.now();
        gateway.kill('SIGTERM');
        await gone([pid], 3 * END_MS);
        endsMs.push(performance.now() - atMs);
        await until('the exit code', 5_000, async () => gateway.exitCode !== null || gateway.signalCode !== null);
        expect(gateway.exitCode).toBe(0);
      } else {
        noteWay(group === undefined ? 'SIGKILL' : 'out of memory');
        if (group === undefined) gateway.kill('SIGKILL');
        const killAtMs = performance.now() + STARVED_MS;
        await until('the kernel to end it', 60_000, async () => {
          group?.starve();
          if (performance.now() > killAtMs) gateway.kill('SIGKILL');
          for (const modality of modalities) modality.allow(1);
          return !isRunning(pid);
        });
        await until('the signal', 5_000, async () => gateway.signalCode !== null);
        expect(gateway.signalCode).toBe('SIGKILL');
        group?.feed();
      }
      restartsMs.push(await start());
    }
    await Promise.all(modalities.map((modality) => modality.finish()));
    await site.waitUntilDrained(120_000);
    const acknowledged = modalities.flatMap((modality) => modality.acknowledged);
    const verdict = await site.judge(acknowledged);
    printTable('signals', {
      seed,
      rounds,
      ways: Object.entries(ways)
        .map(([name, count]) => `${count} x ${name}`)
        .join(', '),
      acknowledged: verdict.acknowledged,
      lost: verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
      'slowest end after SIGTERM (ms)': Math.round(Math.max(...endsMs)),
      'slowest restart to listening (ms)': Math.round(Math.max(...restartsMs)),
    });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect(Math.max(...endsMs)).toBeLessThan(END_MS);
    await until('nothing unfinished to be left', 10_000, async () => unfinishedFiles(site.edgeFolder).length === 0);
  });
});
