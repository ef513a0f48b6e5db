/**
 * What OHIF shows of everything that hospitals store, on the gateway and in the cloud: each kind of object opened by a link,
 * what is on the screen looked at, and nothing refused, failed, or asked of any other origin on the way.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureViewer } from '#infra/local/viewer-package.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { filesBelow, samplesFolder } from '#test/support/samples.ts';
import { type System, startSystem } from '#test/support/system.ts';
import { hasBrowser, launchBrowser, openPage, pixelsOf, screenshotFolder, seen, type WatchedPage } from './browsing.ts';
import { geometryOf, makeSegmentation, makeStructureSet } from './derived-objects.ts';

const samples = samplesFolder();
const isPossible = hasBrowser() && samples !== undefined;
const viewerCache = resolve(import.meta.dirname, '../../data/viewer');
const FROM_SLICE = 50;
const TO_SLICE = 90;
const OTHER_STUDIES = 60;

const inSamples = (path: string): string => join(samples ?? '', path);
const singles = {
  cine: inSamples('multiframe/IM00001.implicit_little_endian.dcm'),
  mammogram: inSamples('modalities/cr-dx-mg/GH133.dcm'),
  report: inSamples('modalities/sr/reportsi.dcm'),
  document: inSamples('generated/documents/encapsulated-pdf.dcm'),
  ecg: inSamples('modalities/waveform/waveform_ecg.dcm'),
  plan: inSamples('modalities/rt/rtplan.dcm'),
};
/** Without a modality, of which OHIF's study list once died. */
const photo = inSamples('modalities/photo/image1.dcm');

describe.skipIf(!isPossible)('OHIF', () => {
  let work: string;
  let system: System;
  let browser: Browser;
  let ctStudy: string;
  let screenshots: string;
  const contexts = new Map<string, BrowserContext>();

  beforeAll(async () => {
    screenshots = screenshotFolder('viewer');
    work = mkdtempSync(join(tmpdir(), 'archipel-viewer-'));
    await ensureViewer(viewerCache, console.log);
    mkdirSync(join(work, 'data'));
    symlinkSync(viewerCache, join(work, 'data/viewer'));
    system = await startSystem({ folder: join(work, 'data'), environment: { ARCHIPEL_VIEWER: 'on' } });
    const ctFiles = filesBelow(inSamples('series-ct/phantom-1mm'));
    const geometry = geometryOf(ctFiles);
    ctStudy = geometry.studyInstanceUid;
    const middle = { ...geometry, slices: geometry.slices.slice(FROM_SLICE, TO_SLICE) };
    const others = Array.from({ length: OTHER_STUDIES }, (_, i) =>
      makeInstance({
        patientName: `Other^${i}`,
        patientId: `O${i}`,
        accessionNumber: `ACC${i}`,
        studyDate: '20100101',
      }),
    );
    const files = [...ctFiles, ...Object.values(singles), photo].map((file) => readFileSync(file));
    const made = [makeSegmentation(middle), makeStructureSet(middle), ...others].map(({ file }) => file);
    const all = [...files, ...made];
    for (const file of all) await store(file);
    await system.waitUntilArchived(all.length);
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await system?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  async function store(file: Uint8Array): Promise<void> {
    const response = await fetch(`${system.gatewayUrl}/dicomweb/studies`, {
      method: 'POST',
      headers: { 'content-type': 'application/dicom' },
      body: new Uint8Array(file),
    });
    expect(response.status).toBe(200);
  }

  describe.each(['gateway', 'cloud'] as const)('of the %s', (host) => {
    const origin = (): string => (host === 'gateway' ? system.gatewayUrl : system.cloudUrl);

    /** Opens a path, does the work, takes a picture, and expects that nothing went wrong. */
    async function visit(name: string, path: string, work: (watched: WatchedPage) => Promise<void>): Promise<void> {
      // One context for a host: what the browser has loaded once it keeps.
      const context = contexts.get(host) ?? (await browser.newContext({ viewport: { width: 1400, height: 900 } }));
      contexts.set(host, context);
      const watched = await openPage(context, origin());
      const { page, faults } = watched;
      try {
        await page.goto(origin() + path);
        await work(watched);
        await expect.poll(() => page.getByText(/went wrong|connection error/i).count()).toBe(0);
      } finally {
        await page.screenshot({ path: join(screenshots, `${name}-${host}.png`) });
        await page.close();
      }
      expect(faults).toEqual([]);
    }

    /** What the hosts have in common is looked at on one of them: the pages are the same, and so is the Service. */
    const onGateway = it.skipIf(host === 'cloud');
    const study = (file: string): string => readHeader(readFileSync(file)).dataSet.ascii(0x0020000d) ?? '';
    const linkTo = (studyInstanceUid: string): string => `/viewer?StudyInstanceUIDs=${studyInstanceUid}`;
    const viewport = (page: Page): Locator => page.locator('[data-cy="viewport-pane"]').first();
    /** The pictures of series that have come, in the panel at the left. */
    const thumbnails = (page: Page): Promise<number> =>
      page.locator('img[src^="blob:"]').evaluateAll((all) => all.filter((one) => one.naturalWidth > 1).length);

    it('lists studies, finds them, sorts them, turns pages and shows series of one (OHIF#1491)', async () => {
      await visit('study-list', '/', async ({ page }) => {
        const rows = page.locator('tr[aria-selected]');
        const firstPatient = rows.first().locator('td').first();
        await page.getByText(/1-50 of \d+/).waitFor({ timeout: 60_000 });
        expect(await page.getByText('MAMMOSCREENING 1E LEZING').count()).toBe(1);
        await page.getByText('HEAD', { exact: true }).click();
        await expect.poll(() => thumbnails(page)).toBe(1);
        expect(await page.getByText('Segmentation', { exact: true }).count()).toBeGreaterThan(0);
        await page.screenshot({ path: join(screenshots, `study-list-preview-${host}.png`) });
        await page.getByLabel('Sort Patient').click();
        await expect.poll(() => firstPatient.innerText()).toMatch(/^ANON/);
        await page.getByLabel('Next page').click();
        await page.getByText(/51-\d+ of \d+/).waitFor();
        await page.locator('input').first().fill('other');
        await page.getByText(`1-50 of ${OTHER_STUDIES}`).waitFor();
        expect(await firstPatient.innerText()).toMatch(/^Other, /);
      });
    });

    it('opens a CT by a link, with pictures of its series, and scrolls through it', async () => {
      await visit('ct', linkTo(ctStudy), async ({ page }) => {
        const first = await seen(viewport(page), ({ lit }) => lit > 0.02);
        expect(first.lit).toBeGreaterThan(0.02);
        await expect.poll(() => thumbnails(page)).toBe(1);
        await viewport(page).click();
        await page.keyboard.press('End');
        await expect.poll(() => viewport(page).innerText(), { timeout: 60_000 }).toMatch(/\(140\/140\)/);
        const last = await seen(viewport(page), ({ lit }) => lit > 0.005 && lit !== first.lit);
        expect(last.lit).not.toBe(first.lit);
      });
    });

    onGateway('cuts a CT in three planes', async () => {
      await visit('mpr', `${linkTo(ctStudy)}&hangingProtocolId=mpr`, async ({ page }) => {
        const panes = page.locator('[data-cy="viewport-pane"]');
        await expect.poll(() => panes.count(), { timeout: 60_000 }).toBe(3);
        for (let i = 0; i < 3; i++) {
          const pixels = await seen(panes.nth(i), ({ lit, greys }) => lit > 0.04 && greys > 8);
          expect(pixels.lit, `pane ${i}`).toBeGreaterThan(0.04);
        }
      });
    });

    onGateway('shows a segmentation over the slices it belongs to (OHIF#3921)', async () => {
      await visit('seg', linkTo(ctStudy), async ({ page }) => {
        await seen(viewport(page), ({ lit }) => lit > 0.02);
        await page.getByText('Segmentation', { exact: true }).first().dblclick();
        const pixels = await seen(viewport(page), ({ red }) => red > 0.02);
        // A disc of a third of the picture's width: π/36 of the picture, which is square in a wider viewport.
        expect(pixels.red).toBeGreaterThan(0.03);
        expect(pixels.red).toBeLessThan(0.09);
      });
    });

    onGateway('shows the outlines of an RT structure set (OHIF#4256)', async () => {
      await visit('rtstruct', linkTo(ctStudy), async ({ page }) => {
        await seen(viewport(page), ({ lit }) => lit > 0.02);
        await page.getByText('Structures', { exact: true }).first().dblclick();
        const pixels = await seen(viewport(page), ({ red }) => red > 0.0005);
        expect(pixels.red).toBeGreaterThan(0.0005);
        expect(pixels.red).toBeLessThan(0.02);
      });
    });

    onGateway('plays an ultrasound cine in colour (OHIF#2991)', async () => {
      await visit('cine', linkTo(study(singles.cine)), async ({ page }) => {
        const pixels = await seen(viewport(page), ({ coloured }) => coloured > 0.05);
        expect(pixels.coloured).toBeGreaterThan(0.05);
        expect(await page.getByText('FPS').count()).toBeGreaterThan(0);
        const frame = (): Promise<string> =>
          viewport(page)
            .innerText()
            .then((text) => /\((\d+)\/8\)/.exec(text)?.[1] ?? '');
        const before = await frame();
        await page.locator('[data-cy="cine-player-play-pause"], [data-cy="cine-player"] svg').first().click();
        await expect.poll(frame).not.toBe(before);
      });
    });

    it('shows a mammogram, which has a VOI LUT Function (OHIF#6239)', async () => {
      await visit('mammogram', linkTo(study(singles.mammogram)), async ({ page }) => {
        const pixels = await seen(viewport(page), ({ lit, greys }) => lit > 0.1 && greys > 100);
        expect(pixels.lit).toBeGreaterThan(0.1);
        expect(pixels.greys).toBeGreaterThan(100);
        await expect.poll(() => thumbnails(page)).toBe(1);
      });
    });

    onGateway('shows a structured report as text, one with references to images too', async () => {
      await visit('report', linkTo(study(singles.report)), async ({ page }) => {
        await page
          .getByText(/Image Report|Simple/i)
          .first()
          .waitFor({ timeout: 60_000 });
        await expect.poll(() => page.getByText(/is not supported\]/).count()).toBeGreaterThan(0);
      });
    });

    it('shows an encapsulated PDF (OHIF#4256, OHIF#1602)', async () => {
      await visit('pdf', linkTo(study(singles.document)), async ({ page }) => {
        // White paper with something written on it.
        const pixels = await seen(viewport(page), ({ lit, greys }) => lit > 0.5 && greys > 8);
        expect(pixels.lit).toBeGreaterThan(0.5);
        expect(pixels.greys).toBeGreaterThan(8);
      });
    });

    onGateway('draws an ECG', async () => {
      await visit('ecg', linkTo(study(singles.ecg)), async ({ page }) => {
        const pixels = await seen(viewport(page), ({ greys, lit }) => greys > 20 && lit > 0.01);
        expect(pixels.lit).toBeGreaterThan(0.01);
      });
    });

    onGateway('says of an RT plan that it cannot be shown, and shows no picture in its place', async () => {
      await visit('plan', linkTo(study(singles.plan)), async ({ page }) => {
        await page.getByText('RTPLAN').first().waitFor({ timeout: 60_000 });
        const mark = page.locator(
          '[data-cy="study-browser-thumbnail-no-image"] [aria-label], [data-cy="study-browser-thumbnail-no-image"] svg',
        );
        await expect.poll(() => mark.count()).toBeGreaterThan(0);
        expect((await pixelsOf(viewport(page))).lit).toBeLessThan(0.01);
      });
    });
  });
});
