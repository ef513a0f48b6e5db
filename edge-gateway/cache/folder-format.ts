/**
 * The number of the format in which a data folder is written, in its file `format.json`. It grows only when an older
 * program could no longer work on the folder: then that program must refuse. Within one format everything is only added
 * to (files, tables, columns that may be empty), so that going back to an older version is safe.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { StartRefusal } from '../start-refusal.ts';

export const FOLDER_FORMAT = 1;

const content = z.object({ format: z.int().positive(), writtenBy: z.string() });

/**
 * Before anything else in the folder is opened, by whoever holds its lock. A folder without a number is new, or older than
 * numbers, and gets the present one, on stable storage.
 *
 * @throws StartRefusal when a later version wrote it, or when the number cannot be read
 */
export function claimFolderFormat(folder: string, version: string): void {
  const path = join(folder, 'format.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    mkdirSync(folder, { recursive: true });
    writeDurably(folder, path, `${JSON.stringify({ format: FOLDER_FORMAT, writtenBy: version })}\n`);
    return;
  }
  const found = content.safeParse(parsed(text));
  if (!found.success)
    throw new StartRefusal(
      'laterFormat',
      `${path} does not say in which format the folder is written; restore it, or write {"format":${FOLDER_FORMAT},"writtenBy":"${version}"} into it if no later version has worked here.`,
    );
  const { format, writtenBy } = found.data;
  if (format > FOLDER_FORMAT)
    throw new StartRefusal(
      'laterFormat',
      `${folder} is in format ${format}, written by version ${writtenBy}; this version, ${version}, knows formats up to ${FOLDER_FORMAT}. Start version ${writtenBy} or a later one.`,
    );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function writeDurably(folder: string, path: string, text: string): void {
  const file = openSync(`${path}.new`, 'w');
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  const directory = openSync(folder, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
