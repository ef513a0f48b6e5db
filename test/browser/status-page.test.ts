/**
 * The status page as people see it, in Debian's Chromium: on a phone and on a wall, light and dark, with and without scripts,
 * under its own Content Security Policy. The screenshots are left in dist/screenshots.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusPage, statusPagePolicy } from '#edge-gateway/http/status-page.ts';
import { cableOut, diskFailed, everything, goodDay } from '../edge-gateway/http/status-fixture.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const hasBrowser = existsSync(executablePath);
if (!hasBrowser)
  console.warn(`SKIPPED: no Chromium at ${executablePath}; install the Debian package chromium or set CHROMIUM`);

const screenshots = resolve(import.meta.dirname, '../../dist/screenshots');
const moods = { goodDay, everything, cableOut, diskFailed };
type Mood = keyof typeof moods;

describe.skipIf(!hasBrowser)('the status page', () => {
  let server: Server;
  let browser: Browser;
  let mood: Mood = 'goodDay';
  let asked: string[];

  beforeAll(async () => {
    mkdirSync(screenshots, { recursive: true });
    server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.setHeader('Content-Security-Policy', statusPagePolicy);
      response.end(statusPage(moods[mood]()));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--no-first-run'] });
  });
  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  async function open(width: number, colorScheme: 'light' | 'dark', javaScriptEnabled = true) {
    asked = [];
    const page = await browser.newPage({ viewport: { width, height: 844 }, colorScheme, javaScriptEnabled });
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/status`);
    return { page, complaints };
  }

  it.each([
    ['goodDay', 390, 'light'],
    ['everything', 360, 'dark'],
    ['everything', 1_920, 'light'],
    ['cableOut', 1_280, 'dark'],
    ['diskFailed', 390, 'light'],
  ] as const)('%s fits a screen of %i pixels, %s', async (name, width, scheme) => {
    mood = name;
    const { page, complaints } = await open(width, scheme);
    const lead = page.locator('#lead strong');
    expect(await lead.textContent()).toBe(moods[name]().verdict.headline);
    // The first thing seen: within the first screen, and large.
    const box = await lead.boundingBox();
    expect(box?.y).toBeLessThan(160);
    const fontSize = await page.evaluate<string>("getComputedStyle(document.querySelector('#lead strong')).fontSize");
    expect(Number.parseFloat(fontSize)).toBeGreaterThan(24);
    const root = 'document.documentElement';
    expect(await page.evaluate<number>(`${root}.scrollWidth - ${root}.clientWidth`)).toBe(0);
    expect(complaints).toEqual([]);
    expect(asked.every((path) => path === '/status')).toBe(true);
    await page.screenshot({ path: join(screenshots, `status-${name}-${width}-${scheme}.png`), fullPage: true });
    await page.close();
  });

  it('turns to what is so now, and says when nobody answers', async () => {
    mood = 'goodDay';
    const { page, complaints } = await open(1_280, 'light');
    mood = 'cableOut';
    await page.locator('#lead.waiting').waitFor({ timeout: 20_000 });
    await page.route('**/status', (route) => route.abort());
    await page.getByText('The gateway does not answer').waitFor({ timeout: 20_000 });
    expect(complaints.filter((complaint) => /Content Security Policy/.test(complaint))).toEqual([]);
    await page.close();
  });

  it('is complete without scripts', async () => {
    mood = 'everything';
    const { page } = await open(1_280, 'light', false);
    expect(await page.locator('section').count()).toBeGreaterThan(6);
    expect(await page.locator('svg.plot path.received').count()).toBe(1);
    await page.close();
  });
});
