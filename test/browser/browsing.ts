/**
 * Chromium for tests of pages: pages that note every error, every refused or failed request and every request to another
 * origin; and what stands on a part of the screen, counted in pixels.
 */
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core';
import sharp from 'sharp';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const graphics = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];

/** Whether there is a Chromium here; warns loudly when not. */
export function hasBrowser(): boolean {
  const found = existsSync(executablePath);
  if (!found)
    console.warn(`SKIPPED: no Chromium at ${executablePath}; install the Debian package chromium or set CHROMIUM`);
  return found;
}

export const launchBrowser = (): Promise<Browser> => chromium.launch({ executablePath, args: [...quiet, ...graphics] });

/** Of the pages of one test file; the folder's path is printed. */
export function screenshotFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `archipel-screenshots-${name}-`));
  console.log(`screenshots: ${folder}`);
  return folder;
}

export interface WatchedPage {
  readonly page: Page;
  /** Whatever should not have happened so far: console errors, exceptions, answers from 400 on, failed and foreign requests. */
  readonly faults: readonly string[];
}

/** @param origin the only one that it may talk to */
export async function openPage(context: BrowserContext, origin: string): Promise<WatchedPage> {
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text().slice(0, 300)}`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.message.slice(0, 300)}`));
  page.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.status()} ${response.url()}`);
  });
  page.on('requestfailed', (request) => {
    // What the page itself let go, such as pictures that were scrolled past.
    if (request.failure()?.errorText !== 'net::ERR_ABORTED') faults.push(`failed: ${request.url()}`);
  });
  page.on('request', (request) => {
    // Chromium draws documents with pages of its own.
    if (!/^(blob|data|chrome|chrome-extension):/.test(request.url()) && !request.url().startsWith(`${origin}/`))
      faults.push(`another origin: ${request.url()}`);
  });
  return { page, faults };
}

export interface Pixels {
  /** Parts of all: not black; with a hue, as colour Doppler has; clearly red. */
  readonly lit: number;
  readonly coloured: number;
  readonly red: number;
  /** How many grey values there are: a flat area has one or two. */
  readonly greys: number;
}

/** What is to be seen of an element just now, with all that lies above it. */
export async function pixelsOf(element: Locator): Promise<Pixels> {
  const image = sharp(await element.screenshot())
    .removeAlpha()
    .raw();
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  const greys = new Set<number>();
  let [lit, coloured, red] = [0, 0, 0];
  for (let at = 0; at < data.length; at += info.channels) {
    const [r, g, b] = [data[at] ?? 0, data[at + 1] ?? 0, data[at + 2] ?? 0];
    const brightest = Math.max(r, g, b);
    if (brightest > 40) lit++;
    if (brightest - Math.min(r, g, b) > 60) coloured++;
    if (r > 80 && r > 2 * g && r > 2 * b) red++;
    greys.add((r + g + b) >> 2);
  }
  const all = info.width * info.height;
  return { lit: lit / all, coloured: coloured / all, red: red / all, greys: greys.size };
}

/** Looks until it holds for what is to be seen of an element; answers that, or what was seen last. */
export async function seen(element: Locator, holds: (pixels: Pixels) => boolean, timeoutMs = 60_000): Promise<Pixels> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const pixels = await pixelsOf(element);
    if (holds(pixels) || performance.now() > endMs) return pixels;
    await element.page().waitForTimeout(250);
  }
}
