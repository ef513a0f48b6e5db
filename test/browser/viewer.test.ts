/**
 * What a radiologist sees: the demonstration study, sent by C-STORE, is in the viewer's study list, opens, and shows
 * pixels. OHIF as published, in Debian's Chromium; the screenshots are left in dist/screenshots.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '#edge-gateway/dimse/client.ts';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import type { ViewerState } from '#edge-gateway/http/viewer-pages.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { type LocalCloud, startLocalCloud } from '#infra/local/cloud.ts';
import { createDemoStudy } from '#infra/local/demo-study.ts';
import { ensureViewer } from '#infra/local/viewer-package.ts';
import { silentLogger } from '#shared/log.ts';
import { hasBrowser, launchBrowser } from './browsing.ts';

const root = resolve(import.meta.dirname, '../..');
const screenshots = join(root, 'dist/screenshots');
const SLICES = 24;

describe.skipIf(!hasBrowser())('OHIF in Chromium', () => {
  let folder: string;
  let cloud: LocalCloud;
  let gateway: Gateway;
  let browser: Browser;
  let page: Page;
  let closeCloud: (() => Promise<void>) | undefined;
  /** Answers of DICOMweb to the page that are errors. */
  let failures: string[];
  const study = createDemoStudy(SLICES, Date.UTC(2026, 0, 2, 3, 4, 5));

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'archipel-'));
    await mkdir(screenshots, { recursive: true });
    const viewerFolder = await ensureViewer(join(root, 'data/viewer'), console.log);
    const viewer: ViewerState = { kind: 'ready', folder: viewerFolder };
    cloud = await startLocalCloud({
      folder: join(folder, 'cloud'),
      host: '127.0.0.1',
      port: 0,
      tenant: 'default',
      viewer: () => viewer,
      log: silentLogger,
    });
    closeCloud = cloud.close;
    const settings = readEdgeSettings({
      ARCHIPEL_EDGE_DATA: join(folder, 'edge'),
      ARCHIPEL_EDGE_CLOUD_URL: cloud.url,
      ARCHIPEL_EDGE_DICOM_PORT: '0',
      ARCHIPEL_EDGE_HTTP_PORT: '0',
      ARCHIPEL_EDGE_VIEWER_FOLDER: viewerFolder,
    });
    gateway = await startGateway(settings, silentLogger);
    await send();
    browser = await launchBrowser();
    await openPage();
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    await closeCloud?.();
    await rm(folder, { recursive: true, force: true });
  });

  async function send(): Promise<void> {
    const first = study.instance(0);
    const peer = { host: '127.0.0.1', port: gateway.dicomPort, callingAeTitle: 'TEST', calledAeTitle: 'ARCHIPEL' };
    const association = await connect({
      ...peer,
      contexts: [{ abstractSyntax: first.sopClassUid, transferSyntaxes: [first.transferSyntaxUid] }],
    });
    for (let i = 0; i < SLICES; i++)
      expect((await association.store(i === 0 ? first : study.instance(i))).status).toBe(0);
    await association.release();
    const url = `${cloud.url}/dicomweb/studies/${study.studyInstanceUid}/instances?limit=100`;
    while (((await (await fetch(url)).json()) as unknown[]).length < SLICES)
      await new Promise((r) => setTimeout(r, 200));
  }

  async function openPage(): Promise<void> {
    page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    failures = [];
    page.on('response', (response) => {
      if (response.status() >= 400 && response.url().includes('/dicomweb'))
        failures.push(`${response.status()} ${new URL(response.url()).pathname}`);
    });
  }

  /** The share of pixels of a part of the page that are neither black nor one flat colour. */
  async function litShare(selector: string): Promise<number> {
    const png = await page.locator(selector).first().screenshot();
    const { data, info } = await sharp(png).greyscale().raw().toBuffer({ resolveWithObject: true });
    let lit = 0;
    for (const value of data) if (value > 40) lit++;
    return lit / (info.width * info.height);
  }

  async function untilLit(share: number): Promise<void> {
    let seen = 0;
    for (let i = 0; i < 120 && seen < share; i++) {
      await closeNotices();
      seen = await litShare('canvas');
      if (seen < share) await page.waitForTimeout(1_000);
    }
    expect(seen).toBeGreaterThan(share);
  }

  async function closeNotices(): Promise<void> {
    for (const name of [/skip all|skip/i, /confirm and hide|ok, got it|accept/i]) {
      const button = page.getByRole('button', { name }).first();
      if (await button.isVisible().catch(() => false)) await button.click().catch(() => {});
    }
  }

  it('lists the study, opens it and shows the head', async () => {
    await page.goto(`${cloud.url}/`);
    const row = page.getByText('Phantom^Head').or(page.getByText('Phantom, Head')).first();
    await row.waitFor({ timeout: 120_000 });
    await page.screenshot({ path: join(screenshots, 'study-list.png') });
    await row.click();
    await page
      .getByRole('button', { name: /basic viewer/i })
      .or(page.getByText(/basic viewer/i))
      .first()
      .click();
    await page.waitForURL(/viewer\?/, { timeout: 60_000 });
    await page.locator('canvas').first().waitFor({ timeout: 120_000 });
    // The first slice is the top of the head: a small bright ring.
    await untilLit(0.02);
    // Down into the brain, which fills the view.
    await page.locator('canvas').first().hover();
    for (let i = 0; i < 9; i++) {
      await page.mouse.wheel(0, 100);
      await page.waitForTimeout(150);
    }
    await untilLit(0.2);
    await page.screenshot({ path: join(screenshots, 'viewer.png') });
    expect(failures).toEqual([]);
  });

  it('shows it from the gateway alone, when the cloud is gone', async () => {
    await page.close();
    await closeCloud?.();
    closeCloud = undefined;
    await openPage();
    await page.goto(`http://127.0.0.1:${gateway.httpPort}/viewer?StudyInstanceUIDs=${study.studyInstanceUid}`);
    await page.locator('canvas').first().waitFor({ timeout: 120_000 });
    await untilLit(0.02);
    await page.screenshot({ path: join(screenshots, 'viewer-on-site.png') });
    expect(failures).toEqual([]);
  });
});
