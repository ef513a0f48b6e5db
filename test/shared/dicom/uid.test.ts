/**
 * What is a UID, and the UIDs that Archipel makes.
 */
import { describe, expect, it } from 'vitest';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, isUid, newUid } from '#shared/dicom/uid.ts';

describe('UIDs', () => {
  it.each(['1', '1.2.840.10008.1.2', '2.25.329800735698586629295641978511506172918', `1.${'2'.repeat(62)}`, '1.02.3'])(
    '%s is one',
    (text) => expect(isUid(text)).toBe(true),
  );
  it.each(['', '.', '1.', '.1', '1..2', '../1', '1.2/3', '1.2 ', '1.2\0', '1.a', `1.${'2'.repeat(63)}`, '1\n', '１.2'])(
    '%j is none',
    (text) => expect(isUid(text)).toBe(false),
  );
  it('are made of UUIDs as PS3.5 §B.2 shows it', () => {
    expect(newUid('f81d4fae-7dec-11d0-a765-00a0c91e6bf6')).toBe('2.25.329800735698586629295641978511506172918');
    expect(newUid('00000000-0000-0000-0000-000000000000')).toBe('2.25.0');
    expect(isUid(newUid('ffffffff-ffff-ffff-ffff-ffffffffffff'))).toBe(true);
  });
  it('name this implementation', () => {
    expect(isUid(IMPLEMENTATION_CLASS_UID)).toBe(true);
    expect(IMPLEMENTATION_VERSION_NAME.length).toBeLessThanOrEqual(16);
  });
});
