/**
 * The table of transfer syntaxes against PS3.5 Annex A.
 */
import { describe, expect, it } from 'vitest';
import { knownTransferSyntaxes, transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { isUid } from '#shared/dicom/uid.ts';

describe('transfer syntaxes', () => {
  it('are each there once', () => {
    const uids = knownTransferSyntaxes.map(({ uid }) => uid);
    expect(new Set(uids).size).toBe(uids.length);
    expect(uids.every(isUid)).toBe(true);
  });

  it('say how data sets and pixels are encoded', () => {
    expect(transferSyntaxOf('1.2.840.10008.1.2')).toMatchObject({
      explicitVr: false,
      littleEndian: true,
      codec: 'native',
    });
    expect(transferSyntaxOf('1.2.840.10008.1.2.2')).toMatchObject({ explicitVr: true, littleEndian: false });
    expect(transferSyntaxOf('1.2.840.10008.1.2.1.99')).toMatchObject({ deflated: true, encapsulated: false });
    expect(transferSyntaxOf('1.2.840.10008.1.2.4.202')).toMatchObject({
      encapsulated: true,
      codec: 'htj2k',
      lossy: false,
      mediaType: 'image/jphc',
    });
    expect(transferSyntaxOf('1.2.840.10008.1.2.4.81')).toMatchObject({ codec: 'jpeg-ls', lossy: true });
    expect(transferSyntaxOf('1.2.840.10008.1.2.4.102.1')).toMatchObject({ codec: 'mpeg4', mediaType: 'video/mp4' });
  });

  it('encapsulate nothing but explicit VR little endian (PS3.5 §A.4)', () => {
    for (const syntax of knownTransferSyntaxes.filter(({ encapsulated }) => encapsulated)) {
      expect(syntax).toMatchObject({ explicitVr: true, littleEndian: true, deflated: false });
    }
  });

  it('that nobody knows count as encapsulated ones', () => {
    expect(transferSyntaxOf('1.2.3')).toMatchObject({
      uid: '1.2.3',
      encapsulated: true,
      explicitVr: true,
      codec: 'unknown',
    });
  });
});
