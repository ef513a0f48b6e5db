/**
 * Corrections of known faults in the pinned viewer's pages, made once when they are unpacked. Browsers keep the files for ever
 * by the hash in their names, so a corrected file gets another name, and the files that name it are changed with it.
 */
import { createHash } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Correction {
  /** As published; the hash in it stands between the last two dots. */
  readonly file: string;
  /** Stands exactly once in it. */
  readonly wrong: string;
  readonly right: string;
}

const APP = 'app.bundle.0f6159c501addfe9.js';
/** In this order: a file comes after those that it names. */
const corrections: readonly Correction[] = [
  {
    // A content item without a concept name, such as a reference to an image, made the whole report an error.
    file: '9068.bundle.e1d5946c370fd4ee.js',
    wrong: '} = ConceptNameCodeSequence;',
    right: '} = ConceptNameCodeSequence ?? {};',
  },
  {
    // VOI LUT Function was cut to its first letter: every image that has one, as mammograms do, stayed black (OHIF/Viewers#6239).
    file: APP,
    wrong: 'voiLutModule.voiLUTFunction[0])',
    right: '[voiLutModule.voiLUTFunction].flat()[0])',
  },
];

/**
 * Corrects the pages in a folder, if that has not been done; index.html changes last, so that it may be broken off at any time.
 * @throws Error when the pages are not those that the corrections were written for
 */
export async function correctViewer(folder: string): Promise<void> {
  const index = join(folder, 'index.html');
  const html = await readFile(index, 'utf8');
  if (!html.includes(APP)) return;
  const renamed = new Map<string, string>();
  for (const { file, wrong, right } of corrections) {
    let text = await readFile(join(folder, file), 'utf8');
    if (text.split(wrong).length !== 2) throw new Error(`The viewer's ${file} is not the one that is corrected here.`);
    text = text.replace(wrong, () => right);
    for (const [from, to] of renamed) text = text.replaceAll(hashIn(from), hashIn(to));
    const corrected = file.replace(hashIn(file), createHash('sha256').update(text).digest('hex').slice(0, 16));
    await writeFile(join(folder, corrected), text);
    renamed.set(file, corrected);
  }
  await writeFile(`${index}.new`, html.replaceAll(APP, renamed.get(APP) ?? APP));
  await rename(`${index}.new`, index);
  for (const file of renamed.keys()) await rm(join(folder, file));
}

const hashIn = (file: string): string => file.split('.').at(-2) ?? '';
