/**
 * Text burnt into a picture (PS3.18 §8.3.5.1.1): white with a dark rim, so that it is read on any ground, in the corners where
 * reading rooms look for it. Only drawing: which text it is, is the caller's. The font is glyphs.ts.
 */
import { GLYPH_BOTTOM, GLYPH_COLUMNS, GLYPH_TOP, type GlyphRow, glyphsOf } from './glyphs.ts';
import type { Picture } from './resample.ts';

export interface Annotation {
  /** Lines from the top left corner down. */
  readonly topLeft: readonly string[];
  /** Lines that end in the bottom left corner. */
  readonly bottomLeft: readonly string[];
}

/** A picture is annotated with as many lines as fit: more than this is no annotation. */
const MAX_LINES = 40;
const MAX_LINE_LENGTH = 200;
/** Of the shorter side: at 512 pixels a capital letter is 14 high. */
const PIXELS_TO_A_SCALE = 256;
const ADVANCE = GLYPH_COLUMNS + 1;
const LINE_HEIGHT = GLYPH_BOTTOM - GLYPH_TOP + 2;

/** The same picture with the text in it, as large as its longest line allows, long lines wrapped. The given one is not changed. */
export function annotate(picture: Picture, annotation: Annotation): Picture {
  const { topLeft, bottomLeft } = annotation;
  const longest = Math.max(0, ...[...topLeft, ...bottomLeft].map((line) => Math.min(line.length, MAX_LINE_LENGTH)));
  if (longest === 0) return picture;
  const wanted = Math.max(1, Math.round(Math.min(picture.width, picture.height) / PIXELS_TO_A_SCALE));
  const fitting = Math.floor(picture.width / ((longest + 1) * ADVANCE));
  const scale = Math.max(1, Math.min(wanted, fitting));
  const perLine = Math.max(1, Math.floor(picture.width / (ADVANCE * scale)) - 1);
  const drawn: Picture = { ...picture, pixels: Uint8Array.from(picture.pixels) };
  const top = wrapped(topLeft, perLine);
  const bottom = wrapped(bottomLeft, perLine);
  for (const [i, glyphs] of top.entries()) drawLine(drawn, glyphs, scale, (i * LINE_HEIGHT + 1) * scale);
  for (const [i, glyphs] of bottom.entries()) {
    drawLine(drawn, glyphs, scale, picture.height - (bottom.length - i) * LINE_HEIGHT * scale);
  }
  return drawn;
}

function wrapped(lines: readonly string[], perLine: number): GlyphRow[][][] {
  return lines
    .flatMap((line) => {
      const glyphs = glyphsOf(line.slice(0, MAX_LINE_LENGTH));
      const pieces: GlyphRow[][][] = [];
      for (let from = 0; from < glyphs.length; from += perLine) pieces.push(glyphs.slice(from, from + perLine));
      return pieces;
    })
    .slice(0, MAX_LINES);
}

function drawLine(picture: Picture, glyphs: readonly GlyphRow[][], scale: number, top: number): void {
  const rim = Math.max(1, Math.floor(scale / 2));
  for (const ink of ['rim', 'letter'] as const) {
    for (const [at, glyph] of glyphs.entries()) {
      for (const { row, bits } of glyph) {
        for (let column = 0; column < GLYPH_COLUMNS; column++) {
          if ((bits & (0x10 >> column)) === 0) continue;
          const x = (1 + at * ADVANCE + column) * scale;
          const y = top + (row - GLYPH_TOP) * scale;
          if (ink === 'rim') fill(picture, x - rim, y - rim, scale + 2 * rim, 0);
          else fill(picture, x, y, scale, 255);
        }
      }
    }
  }
}

/** A square, as far as it lies within the picture. */
function fill({ width, height, channels, pixels }: Picture, x: number, y: number, side: number, value: number): void {
  const left = Math.max(0, x);
  const right = Math.min(width, x + side);
  if (left >= right) return;
  for (let row = Math.max(0, y); row < Math.min(height, y + side); row++) {
    pixels.fill(value, (row * width + left) * channels, (row * width + right) * channels);
  }
}

/** A word in letters of `scale` pixels to a dot, its top left corner at x and y; for pictures that are drawn, not annotated. */
export function drawText(
  picture: Picture,
  text: string,
  at: { x: number; y: number; scale: number },
  value: number,
): void {
  for (const [position, glyph] of glyphsOf(text).entries()) {
    for (const { row, bits } of glyph) {
      for (let column = 0; column < GLYPH_COLUMNS; column++) {
        if ((bits & (0x10 >> column)) === 0) continue;
        fill(picture, at.x + (position * ADVANCE + column) * at.scale, at.y + row * at.scale, at.scale, value);
      }
    }
  }
}
