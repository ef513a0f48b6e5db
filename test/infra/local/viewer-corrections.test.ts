/**
 * The corrections of the pinned viewer: made once, under new names, and refused for pages that they were not written for.
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { correctViewer } from '#infra/local/viewer-corrections.ts';

const app = 'app.bundle.0f6159c501addfe9.js';
const report = '9068.bundle.e1d5946c370fd4ee.js';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  await writeFile(join(folder, 'index.html'), `<script src="/${app}"></script>`);
  await writeFile(join(folder, app), `({9068: "e1d5946c370fd4ee"}); f(voiLutModule.voiLUTFunction[0]) || 1`);
  await writeFile(join(folder, report), 'const {\n CodeValue\n} = ConceptNameCodeSequence;');
});
afterEach(() => rm(folder, { recursive: true }));

it('corrects the pages under new names, so that no browser keeps the faulty ones', async () => {
  await correctViewer(folder);
  const names = (await readdir(folder)).sort();
  expect(names).toHaveLength(3);
  expect(names).not.toContain(app);
  const html = await readFile(join(folder, 'index.html'), 'utf8');
  const named = /app\.bundle\.[0-9a-f]{16}\.js/.exec(html)?.[0] ?? '';
  const script = await readFile(join(folder, named), 'utf8');
  expect(script).toContain('[voiLutModule.voiLUTFunction].flat()[0]');
  const chunk = /9068: "([0-9a-f]{16})"/.exec(script)?.[1];
  expect(await readFile(join(folder, `9068.bundle.${chunk}.js`), 'utf8')).toContain('ConceptNameCodeSequence ?? {}');
  await correctViewer(folder);
  expect((await readdir(folder)).sort()).toEqual(names);
});

it('refuses pages that are not those it knows, and leaves them as they are', async () => {
  await writeFile(join(folder, app), 'something else');
  await expect(correctViewer(folder)).rejects.toThrow(app);
  expect(await readFile(join(folder, 'index.html'), 'utf8')).toContain(app);
});
