/**
 * Which SOP Classes are stored, and what they are called.
 */
import { describe, expect, it } from 'vitest';
import { isStorageAbstractSyntax, sopClassName } from '#shared/dicom/sop-class.ts';

describe('SOP Classes', () => {
  it.each([
    '1.2.840.10008.5.1.4.1.1.2',
    '1.2.840.10008.5.1.4.1.1.88.59',
    '1.2.840.10008.5.1.4.1.1.999.1',
    '1.2.840.10008.5.1.4.38.1',
    '1.2.840.10008.5.1.4.34.7',
    '1.2.840.10008.5.1.1.30',
    '1.2.840.113619.4.26',
    '1.3.12.2.1107.5.9.1',
    '1.2.826.0.1.3680043.2.1',
  ])('%s is stored', (uid) => expect(isStorageAbstractSyntax(uid)).toBe(true));

  it.each([
    '1.2.840.10008.1.1',
    '1.2.840.10008.1.2.1',
    '1.2.840.10008.1.3.10',
    '1.2.840.10008.1.20.1',
    '1.2.840.10008.3.1.2.3.3',
    '1.2.840.10008.5.1.1.9',
    '1.2.840.10008.5.1.4.1.2.2.1',
    '1.2.840.10008.5.1.4.1.1.200.4',
    '1.2.840.10008.5.1.4.31',
    '1.2.840.10008.5.1.4.34.6.3',
    '1.2.840.10008.5.1.4.38.2',
  ])('%s is not', (uid) => expect(isStorageAbstractSyntax(uid)).toBe(false));

  it('have names', () => {
    expect(sopClassName('1.2.840.10008.5.1.4.1.1.2')).toBe('CT Image Storage');
    expect(sopClassName('1.2.840.10008.1.1')).toBe('Verification');
    expect(sopClassName('1.2.3')).toBeUndefined();
    expect(sopClassName('__proto__')).toBeUndefined();
    expect(isStorageAbstractSyntax('__proto__')).toBe(true);
  });
});
