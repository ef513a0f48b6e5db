/**
 * Codestreams of made pictures, by our own encoders, whose work transcode.test.ts and DCMTK judge.
 */
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { attributesWith, EXPLICIT_LITTLE } from '../imaging/image-fixture.ts';

export const JPEG_LS = '1.2.840.10008.1.2.4.80';

/** Of one native frame, of 16 bits if not said otherwise. */
export async function codestreamOf(
  native: Uint8Array,
  attributes: Partial<ImageAttributes>,
  transferSyntaxUid: string = JPEG_LS,
): Promise<Uint8Array> {
  const { bytes } = await transcodeFrame({
    frame: native,
    fromTransferSyntaxUid: EXPLICIT_LITTLE,
    toTransferSyntaxUid: transferSyntaxUid,
    attributes: attributesWith(attributes),
  });
  return bytes;
}
