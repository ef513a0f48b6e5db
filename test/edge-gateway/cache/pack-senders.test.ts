/**
 * Who sent a pack and how urgent it is: by rule, by what the C-STORE said, and after a crash by what is left of that.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PackSenders, priorityOf } from '#edge-gateway/cache/pack-senders.ts';
import type { UploadPriorityRule } from '#edge-gateway/settings.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { oneSeries, Receiving, TENANT } from './receiving.ts';

const nobody = { callingAeTitle: undefined, modality: undefined, dimsePriority: undefined };

describe('the priority of an instance', () => {
  it('is what the C-STORE said, where no rule fits', () => {
    expect(priorityOf([], { ...nobody, dimsePriority: 'high' })).toBe('stat');
    expect(priorityOf([], { ...nobody, dimsePriority: 'medium' })).toBe('routine');
    expect(priorityOf([], { ...nobody, dimsePriority: 'low' })).toBe('low');
    expect(priorityOf([], nobody)).toBeUndefined();
  });

  it('is that of the first rule whose conditions all hold', () => {
    const rules: UploadPriorityRule[] = [
      { callingAeTitle: 'ER_CT', modality: 'CT', priority: 'stat' },
      { callingAeTitle: 'ER_CT', priority: 'low' },
      { dimsePriority: 'high', priority: 'routine' },
    ];
    const sent = { callingAeTitle: 'ER_CT', modality: 'CT', dimsePriority: 'medium' } as const;
    expect(priorityOf(rules, sent)).toBe('stat');
    expect(priorityOf(rules, { ...sent, modality: 'SR' })).toBe('low');
    expect(priorityOf(rules, { ...sent, callingAeTitle: 'MR', dimsePriority: 'high' })).toBe('routine');
    expect(priorityOf(rules, { ...sent, callingAeTitle: 'MR' })).toBe('routine');
  });
});

describe('the senders of a pack', () => {
  it('are named once each, and the most urgent instance decides', () => {
    const senders = new PackSenders();
    expect(senders.facts).toEqual({ priority: 'routine', sourceAeTitles: [] });
    const note = (callingAeTitle: string, dimsePriority?: 'high' | 'medium' | 'low'): void =>
      senders.note([], { callingAeTitle, modality: undefined, dimsePriority });
    note('B', 'low');
    note('A');
    expect(senders.facts).toEqual({ priority: 'low', sourceAeTitles: ['B', 'A'] });
    note('B', 'high');
    note('B', 'medium');
    expect(senders.facts).toEqual({ priority: 'stat', sourceAeTitles: ['B', 'A'] });
  });

  it('do not fill its record however many names a sender gives itself', () => {
    const senders = new PackSenders();
    for (let i = 0; i < 1000; i++) senders.note([], { ...nobody, callingAeTitle: `AE${i}` });
    expect(senders.facts.sourceAeTitles).toHaveLength(32);
  });
});

describe('a sealed pack', () => {
  it('says who sent it and how urgent it is', async () => {
    await using at = await Receiving.start({
      priorities: [{ modality: 'CT', callingAeTitle: 'ER', priority: 'stat' }],
    });
    const [first, second] = [oneSeries(), oneSeries()];
    await at.send(makeInstance(first), { sourceAeTitle: 'WARD', priority: 'low' });
    await at.send(makeInstance(first), { sourceAeTitle: 'ER', priority: 'medium' });
    await at.send(makeInstance(second), { sourceAeTitle: 'WARD', priority: 'low' });
    await at.receiver.flush();
    const facts = at.sealed.map(({ priority, sourceAeTitles }) => [priority, sourceAeTitles]);
    expect(facts.sort()).toEqual([
      ['low', ['WARD']],
      ['stat', ['WARD', 'ER']],
    ]);
  });

  it('is sealed soon when something in it is urgent', async () => {
    const limits = { quietMs: 600_000, ageMs: 600_000, statQuietMs: 20 };
    await using at = await Receiving.start({ limits });
    await at.send(makeInstance(), { priority: 'medium' });
    await at.send(makeInstance(), { priority: 'high' });
    while (at.sealed.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(at.sealed.map(({ priority }) => priority)).toEqual(['stat']);
  });

  it('keeps both over a crash, as far as anything on disk tells it', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'archipel-senders-'));
    try {
      await using at = await Receiving.start();
      const series = oneSeries();
      await at.send(makeInstance(series), { sourceAeTitle: 'ER', priority: 'high' });
      while ((await at.index.packsInState(TENANT, 'open', { limit: 1 })).items.length === 0)
        await new Promise((resolve) => setTimeout(resolve, 10));
      // After the first write of its record, which is not written again for every instance.
      await at.send(makeInstance(series), { sourceAeTitle: 'WARD', priority: 'low' });
      cpSync(at.folder, copy, { recursive: true });
      await using again = await Receiving.start({}, copy);
      await again.receiver.flush();
      expect(again.sealed).toMatchObject([{ priority: 'stat', sourceAeTitles: ['ER', 'WARD'], instanceCount: 2 }]);
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  });
});
