/**
 * The data dictionary and the Value Representations against the tables of PS3.6 and PS3.5, and against their generator.
 */
import { describe, expect, it } from 'vitest';
import { compactDictionary } from '#infra/generate-dictionary.ts';
import { indexedAttributes } from '#shared/archive/records.ts';
import dictionary from '#shared/dicom/dictionary.json' with { type: 'json' };
import { dictionaryVr, keywordOf, parseTag, Tag, tagKey, tagOf, tagText } from '#shared/dicom/tags.ts';
import { isVr, NO_VR, vrNames, vrNumber } from '#shared/dicom/vr.ts';

describe('the data dictionary', () => {
  it.each([
    [0x00100010, 'PN', 'PatientName'],
    [0x0020000d, 'UI', 'StudyInstanceUID'],
    [0x00080005, 'CS', 'SpecificCharacterSet'],
    [0x7fe00010, 'OW', 'PixelData'],
    [0x00280106, 'US', 'SmallestImagePixelValue'],
    [0x00283006, 'OW', 'LUTData'],
    [0x00041200, 'UL', 'OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity'],
    [0x60000010, 'US', 'OverlayRows'],
    [0x601e3000, 'OW', 'OverlayData'],
    [0x50060005, 'US', 'CurveDimensions'],
    [0x00203142, 'CS', 'SourceImageIDs'],
    [0xfffcfffc, 'OB', 'DataSetTrailingPadding'],
  ])('knows %i as %s %s', (tag, vr, keyword) => {
    expect(dictionaryVr(tag)).toBe(vr);
    expect(keywordOf(tag)).toBe(keyword);
  });

  it('knows group lengths and private creators by their place, and no other private element', () => {
    expect(dictionaryVr(0x00090000)).toBe('UL');
    expect(dictionaryVr(0x00080000)).toBe('UL');
    expect(dictionaryVr(0x00090010)).toBe('LO');
    expect(dictionaryVr(0x00091010)).toBeUndefined();
    expect(keywordOf(0x00090010)).toBeUndefined();
    expect(dictionaryVr(0x00087777)).toBeUndefined();
    expect(dictionaryVr(Tag.Item)).toBeUndefined();
  });

  it('finds tags by keyword and back', () => {
    for (const [group, elements] of Object.entries(dictionary)) {
      for (const text of elements.split(',')) {
        const tag = Number.parseInt(group + text.slice(0, 4), 16);
        const keyword = text.slice(6);
        expect(keywordOf(tag)).toBe(keyword);
        expect(keywordOf(tagOf(keyword) ?? -1)).toBe(keyword);
        expect(text.slice(4, 6)).toSatisfy((vr: string) => vr === 'xs' || isVr(vr));
      }
    }
    expect(tagOf('__proto__')).toBeUndefined();
    expect(tagOf('constructor')).toBeUndefined();
  });

  it('agrees with the tags that the code names, and with the indexed attributes', () => {
    for (const [keyword, tag] of Object.entries(Tag)) {
      if (tag >>> 16 !== 0xfffe) expect(keywordOf(tag)).toBe(keyword);
    }
    for (const { tag, keyword, vr } of indexedAttributes) {
      expect(keywordOf(tag)).toBe(keyword);
      expect(dictionaryVr(tag)).toBe(vr);
    }
  });

  it('reads tags as the web writes them', () => {
    expect(parseTag('0020000D')).toBe(Tag.StudyInstanceUID);
    expect(parseTag('0020000d')).toBe(Tag.StudyInstanceUID);
    expect(parseTag('StudyInstanceUID')).toBe(Tag.StudyInstanceUID);
    expect(parseTag('studyinstanceuid')).toBeUndefined();
    expect(parseTag('0020000')).toBeUndefined();
    expect(tagKey(0x0008103e)).toBe('0008103E');
    expect(tagKey(Tag.Item)).toBe('FFFEE000');
    expect(tagText(0x0008103e)).toBe('(0008,103E)');
  });

  it('is what the generator makes of its source', async () => {
    const source = (await import('dcmjs/dictionary' as string)) as { default: Parameters<typeof compactDictionary>[0] };
    expect(compactDictionary(source.default)).toEqual(dictionary);
  });
});

describe('Value Representations', () => {
  it('have numbers that their letters lead to', () => {
    for (const [number, name] of vrNames.entries()) {
      expect(vrNumber(name.charCodeAt(0), name.charCodeAt(1))).toBe(number);
    }
    for (const text of ['ZZ', 'us', '\0\0', '??', '@A', '[A']) {
      expect(vrNumber(text.charCodeAt(0), text.charCodeAt(1))).toBe(NO_VR);
    }
    expect(isVr('US')).toBe(true);
    expect(isVr('USX')).toBe(false);
  });
});
