/**
 * The conformance statement says what code does: its tables are those that code makes, and every media type and parameter named in one
 * is known to the other.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { knownTransferSyntaxes } from '#shared/dicom/transfer-syntax.ts';
import { alsoKnownAs } from '#shared/dicomweb/transfer-syntax-offers.ts';
import { documentPath, operations, sectionOf, sections } from './conformance-sections.ts';

const document = readFileSync(documentPath, 'utf8');

/** The type of a multipart's parts, or the type itself. */
const inner = (type: string): string => /type="([^"]+)"/.exec(type)?.[1] ?? type;
const typesInCode = new Set(
  operations.flatMap(({ operation }) =>
    [...Object.values(operation.answers).flatMap(({ content }) => Object.keys(content)), ...(operation.body ?? [])].map(
      inner,
    ),
  ),
);

describe('the conformance statement', () => {
  it.each(Object.entries(sections))('has the %s that code has', (name, made) => {
    expect(sectionOf(document, name)).toBe(made());
  });

  it('names every media type that is taken or given', () => {
    expect([...typesInCode].filter((type) => !document.includes(type))).toEqual([]);
  });

  it('names no media type that code does not know', () => {
    const named = new Set(
      document.match(/\b(?:application|image|video|text|multipart)\/[a-z0-9.+*-]+[a-z0-9*]/g) ?? [],
    );
    const known = new Set([
      ...typesInCode,
      ...Object.values(alsoKnownAs).flat(),
      ...knownTransferSyntaxes.map(({ mediaType }) => mediaType),
      'multipart/related',
      'application/problem+json',
    ]);
    expect([...named].filter((type) => !known.has(type))).toEqual([]);
  });

  it('names every query parameter', () => {
    const names = new Set(
      operations.flatMap(({ operation }) =>
        operation.parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name),
      ),
    );
    expect([...names].filter((name) => !new RegExp(`\\b${name}\\b`).test(document))).toEqual([]);
  });

  it('has a row for every media type of frames, with the names by which it is asked for as well', () => {
    const table = /\*\*Frames\.\*\*[\s\S]*?\n\n\|([\s\S]*?)\n\n/.exec(document)?.[1] ?? '';
    for (const { mediaType } of knownTransferSyntaxes) expect(table).toContain(`\`${mediaType}\``);
    for (const [type, others] of Object.entries(alsoKnownAs)) {
      const row = table.split('\n').find((line) => line.includes(`| \`${type}\` |`)) ?? '';
      expect([type, others.every((other) => row.includes(`\`${other}\``))]).toEqual([type, true]);
    }
  });

  it('has headings that its list of contents leads to', () => {
    const anchors = [...document.matchAll(/^## (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    );
    const linked = [...document.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor]) => anchor);
    expect([...new Set(linked)].toSorted()).toEqual(anchors.toSorted());
  });
});
