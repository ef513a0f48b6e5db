/**
 * The status page: its first sentence tells the truth about what is safe, whatever strangers claim stays text, it needs
 * nothing from elsewhere, and no script to be complete.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { statusPage, statusPagePolicy } from '#edge-gateway/http/status-page.ts';
import { throughputPlot } from '#edge-gateway/http/throughput-plot.ts';
import { bytes, duration } from '#edge-gateway/http/words.ts';
import {
  cableOut,
  dayOfMinutes,
  diskFailed,
  everything,
  goodDay,
  onTheWay,
  peers,
  statusLike,
} from './status-fixture.ts';

describe('the verdict', () => {
  it('is safe when nothing is only here', () => {
    expect(goodDay().verdict).toMatchObject({ tone: 'safe', headline: 'Everything is safe in the cloud' });
  });

  it('says what is on its way, and how long that takes', () => {
    expect(onTheWay().verdict).toEqual({
      tone: 'moving',
      headline: '3,330 images on the way to the cloud',
      because: ['1.7 GB in 44 packs; the oldest arrived 6 min ago. At 4.1 MB/s it takes about 8 min.'],
    });
  });

  it('says that more comes than goes', () => {
    const status = onTheWay();
    const { verdict } = statusLike({ ...status, rate: { receivedBytes: 5e6, uploadedBytes: 2e6 } });
    expect(verdict.because[0]).toContain('More arrives than the line takes: 2.0 MB/s go out.');
  });

  it('says why nothing goes', () => {
    const { verdict } = cableOut();
    expect(verdict).toMatchObject({ tone: 'waiting', headline: '3,120 images are only here' });
    expect(verdict.because.join(' ')).toContain('the oldest arrived 3 h ago. Upload: The cloud could not be reached');
  });

  it('is that something waits when it takes too long, whatever the reason', () => {
    const status = onTheWay();
    const backlog = { packs: 1, instances: 1, bytes: 1, oldestAtMs: status.nowMs - 2 * 3_600_000 };
    expect(statusLike({ ...status, backlog }).verdict).toMatchObject({
      tone: 'waiting',
      headline: '1 image is only here',
    });
  });

  it('is calm about what waits for the hours that were set', () => {
    expect(everything().verdict).toEqual({
      tone: 'moving',
      headline: '3,330 images wait for the upload hours',
      because: [
        '1.7 GB in 44 packs; the oldest arrived 6 min ago.',
        'Uploads run from 18:00 to 07:00. Until then only urgent ones go.',
        "The clock of this machine is 4 min behind the cloud's; set it up to keep time by NTP.",
      ],
    });
  });

  it('puts what needs a person before all', () => {
    expect(diskFailed().verdict).toMatchObject({ tone: 'failing', headline: 'Not accepting images' });
    const { verdict } = statusLike({ alarms: ['The cloud rejected 1 pack; they stay here. The log says why.'] });
    expect(verdict).toMatchObject({ tone: 'failing', headline: 'Something needs your attention' });
  });
});

describe('the page', () => {
  it('begins with the verdict and shows every part', () => {
    const page = statusPage(goodDay());
    expect(page).toMatch(/<main>.*?<strong>Everything is safe in the cloud<\/strong>/s);
    for (const part of [
      '214,507',
      '412 GB',
      'https://archive.example',
      'MR_SOUTH',
      '10.20.4.9',
      '11112',
      'Version 0.1.0',
    ])
      expect(page).toContain(part);
    expect(page).toContain('refused 22 min ago: the calling AE title is not in the settings');
  });

  it('has a card for what is in use, and none for what is not', () => {
    const page = statusPage(everything());
    for (const part of [
      'At most 1.3 MB/s.',
      'Fetched back: 31 packs, 1.9 GB; 1 failed.',
      'room for 24 days without the cloud',
      '106 GB of it are safe in the cloud',
      'Port for TLS</dt><dd>2762',
      'AI-LUNG',
      'Nobody listens at this address.',
      '3 images refused',
      'waiting for the cloud</dt><dd>7',
    ])
      expect(page).toContain(part);
    for (const part of ['Sent on to', 'Storage commitment', 'Fetched back', 'At most'])
      expect(statusPage(goodDay())).not.toContain(part);
  });

  it('keeps what strangers claim as text', () => {
    const [first] = peers;
    const hostile = '<img src=x>"\'&';
    const page = statusPage(statusLike({ peers: [{ ...first!, callingAeTitle: hostile }], aeTitle: hostile }));
    expect(page).not.toContain('<img');
    expect(page).toContain('&#60;img src=x&#62;&#34;&#39;&#38;');
  });

  it('allows its own style and script by their digests, and nothing else', () => {
    const page = statusPage(goodDay());
    expect(statusPagePolicy).not.toContain('unsafe');
    for (const tag of ['style', 'script']) {
      const text = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(page)?.[1] ?? '';
      const digest = createHash('sha256').update(text).digest('base64');
      expect(statusPagePolicy).toContain(`${tag}-src 'sha256-${digest}'`);
    }
    expect(page).not.toMatch(/ style=| on\w+=|https?:\/\/(?!archive\.example)/);
  });

  it('reloads by itself where there are no scripts', () => {
    expect(statusPage(goodDay())).toContain('<noscript><meta http-equiv="refresh" content="10"></noscript>');
  });
});

describe('the plot', () => {
  it('has a step for every ten minutes, received above and uploaded below one line', () => {
    const svg = throughputPlot(dayOfMinutes());
    const [received = '', uploaded = ''] = [...svg.matchAll(/<path class="(?:received|uploaded)" d="([^"]*)"/g)].map(
      (match) => match[1] ?? '',
    );
    const heights = (d: string): number[] => [...d.matchAll(/V([\d.]+)H/g)].map((match) => Number(match[1]));
    expect(heights(received)).toHaveLength(144);
    expect(Math.max(...heights(received))).toBe(50);
    expect(Math.min(...heights(received))).toBe(2);
    expect(Math.min(...heights(uploaded))).toBe(50);
    expect(svg).not.toContain('class="before"');
  });

  it('leaves the time before the start open', () => {
    expect(throughputPlot(dayOfMinutes().slice(0, 60))).toContain('<rect class="before" width="138" height="100"/>');
    expect(throughputPlot([{ receivedBytes: 0, uploadedBytes: 0 }])).toContain('received 0 B');
  });
});

it('numbers are written as people read them', () => {
  expect([0, 999, 1_000, 99_960, 1.5e9, 2e15].map(bytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '100 kB',
    '1.5 GB',
    '2.0 PB',
  ]);
  expect([0, 89_000, 91_000, 5.4e6, 2e8].map(duration)).toEqual(['0 s', '89 s', '2 min', '2 h', '2 days']);
});
