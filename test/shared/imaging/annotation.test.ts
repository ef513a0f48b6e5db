/**
 * Text drawn into pictures without any font of the machine's.
 */
import { describe, expect, it } from 'vitest';
import { annotate } from '#shared/imaging/annotation.ts';
import { canBeDrawn, GLYPH_BOTTOM, GLYPH_TOP, glyphsOf } from '#shared/imaging/glyphs.ts';
import { iconFrame } from '#shared/imaging/icon.ts';
import { renderPicture } from '#shared/imaging/render.ts';

const box = glyphsOf('山')[0];

describe('glyphs', () => {
  it.each([
    ['printable ASCII', Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('')],
    ['Western European', 'ÄÖÜäöüßÀÂÇÈÉÊËÎÏÔÙÛàâçèéêëîïôùûŒœÆæÑñÁÍÓÚáíóúÅåØø¿¡'.replaceAll(/[¿¡]/g, '')],
    ['Eastern European', 'ĄĆĘŁŃÓŚŹŻąćęłńóśźżČĎĚŇŘŠŤŮŽčďěňřšťůžŐŰőűĂȘȚășțĐđŠŽ'],
    ['Nordic and Turkish', 'ÞþÐðĞğİıŞş'],
    ['Greek', 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώΐΰϊϋ'],
    ['Cyrillic', 'АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдеёжзийклмнопрстуфхцчшщъыьэюяІЇЄҐіїєґ'],
  ])('cover %s', (_name, text) => {
    const without = [...text].filter((letter) => !canBeDrawn(letter));
    expect(without).toEqual([]);
  });

  it('tell letters apart that only marks tell apart, and stay within their cell', () => {
    const shapes = ['a', 'ä', 'á', 'à', 'â', 'å', 'ą', 'i', 'í', 'ı', 'И', 'Й'].map((text) =>
      JSON.stringify(glyphsOf(text)),
    );
    expect(new Set(shapes).size).toBe(shapes.length);
    const rows = [...'ÄÅŐÇĄgjpqyÿŰ'].flatMap((letter) => glyphsOf(letter).flat());
    expect(rows.every(({ row, bits }) => row >= GLYPH_TOP && row <= GLYPH_BOTTOM && bits > 0 && bits < 32)).toBe(true);
  });

  it('draw full width and ligatures as plain letters, and what they do not have as an empty box', () => {
    expect(glyphsOf('Ｆｕｌｌ ﬁ')).toEqual(glyphsOf('Full fi'));
    expect(canBeDrawn('山田')).toBe(false);
    expect(glyphsOf('山田')).toEqual([box, box]);
    expect(glyphsOf('constructor')).toHaveLength(11);
  });
});

describe('an annotation', () => {
  const ground = { width: 128, height: 96, channels: 1 as const, pixels: new Uint8Array(128 * 96).fill(100) };

  it('is white with a dark rim in its corner, and leaves the rest and the given picture alone', () => {
    const drawn = annotate(ground, { topLeft: ['AB'], bottomLeft: [] });
    expect(new Set(ground.pixels)).toEqual(new Set([100]));
    expect(new Set(drawn.pixels)).toEqual(new Set([100, 0, 255]));
    const lower = drawn.pixels.subarray(128 * 20);
    expect(new Set(lower)).toEqual(new Set([100]));
  });

  it('is in all channels of a colour picture', () => {
    const pixels = new Uint8Array(3 * 64 * 64).fill(9);
    const drawn = annotate({ width: 64, height: 64, channels: 3, pixels }, { topLeft: [], bottomLeft: ['I'] });
    const white = drawn.pixels.reduce((sum, value) => sum + (value === 255 ? 1 : 0), 0);
    expect(white).toBe(3 * (3 + 5 + 3));
  });

  it('wraps what is too long, and does not leave the smallest picture', () => {
    const long = annotate(ground, { topLeft: ['W'.repeat(60)], bottomLeft: [] });
    const rowsWithInk = Array.from({ length: 96 }, (_, y) =>
      long.pixels.subarray(y * 128, (y + 1) * 128).includes(255),
    );
    expect(rowsWithInk.lastIndexOf(true)).toBeGreaterThan(24);
    const tiny = { width: 1, height: 1, channels: 1 as const, pixels: Uint8Array.of(5) };
    expect(annotate(tiny, { topLeft: ['x'.repeat(1000)], bottomLeft: Array(1000).fill('y') }).pixels).toHaveLength(1);
  });
});

describe('an icon', () => {
  it.each(['document', 'video', 'waveform', 'picture'] as const)(
    'of the shape %s is a picture like any other',
    async (shape) => {
      const { width, height, pixels } = await renderPicture(iconFrame('SR', shape));
      expect([width, height]).toEqual([200, 200]);
      expect(new Set(pixels).size).toBeGreaterThanOrEqual(4);
    },
  );
});
