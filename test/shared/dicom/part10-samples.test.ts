/**
 * The reader on real files: what it reads equals the samples' manifest, and each broken file gets the answer written down here.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Header, readHeaderRanged } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { isArchiveError } from '#shared/errors.ts';
import { sampleFiles, sampleManifest, samplesFolder } from '#test/support/samples.ts';

const root = samplesFolder();

async function headerOf(path: string): Promise<Header | string> {
  await using file = await open(path);
  const { size } = await file.stat();
  try {
    return await readHeaderRanged(async ({ offsetBytes, lengthBytes }) => {
      const { buffer, bytesRead } = await file.read(new Uint8Array(lengthBytes), 0, lengthBytes, offsetBytes);
      return buffer.subarray(0, bytesRead);
    }, size);
  } catch (error) {
    if (isArchiveError(error)) return error.code;
    throw error;
  }
}

describe.skipIf(root === undefined)('the headers of the samples', () => {
  it('say what their manifest says', async () => {
    const differences: string[] = [];
    for (const row of sampleManifest()) {
      const header = await headerOf(join(root ?? '', row.file ?? ''));
      if (typeof header === 'string') {
        if (!/broken/.test(row.file ?? '')) differences.push(`${row.file}: ${header}`);
        continue;
      }
      const { dataSet } = header;
      const found: Record<string, unknown> = {
        transfer_syntax_uid: header.transferSyntax.uid,
        rows: dataSet.number(Tag.Rows),
        cols: dataSet.number(Tag.Columns),
        frames: dataSet.ascii(Tag.NumberOfFrames),
        bits_allocated: dataSet.number(Tag.BitsAllocated),
        bits_stored: dataSet.number(Tag.BitsStored),
        pixel_representation: dataSet.number(Tag.PixelRepresentation),
        samples: dataSet.number(Tag.SamplesPerPixel),
        photometric: dataSet.ascii(Tag.PhotometricInterpretation),
        modality: dataSet.ascii(Tag.Modality),
      };
      for (const [column, value] of Object.entries(found)) {
        const wanted = row[column];
        if (wanted !== '' && wanted !== String(value))
          differences.push(`${row.file} ${column}: ${wanted}, not ${value}`);
      }
    }
    expect(differences).toEqual([]);
  });

  it('need tolerance only where something is wrong', async () => {
    const tolerant: Record<string, readonly string[]> = {};
    for (const row of sampleManifest()) {
      if (/broken/.test(row.file ?? '')) continue;
      const header = await headerOf(join(root ?? '', row.file ?? ''));
      if (typeof header !== 'string' && header.tolerated.length > 0) tolerant[row.file ?? ''] = header.tolerated;
    }
    expect(tolerant).toMatchInlineSnapshot(`
      {
        "dicomdir/DICOMDIR-nooffset": [
          "(0004,1220) has an item that claims to end behind the sequence",
        ],
        "modalities/color-palette/winter.dcm": [
          "(0008,0018) is there more than once; the first one counts",
        ],
        "modalities/mr/3.dcm": [
          "(0040,0250) is sent as UN although its Value Representation is known; the dictionary was followed",
        ],
        "modalities/rt/rtstruct.dcm": [
          "The 128-byte preamble is missing",
          "The prefix DICM is missing",
          "The File Meta Information is missing; the encoding was recognised from the data set",
        ],
        "transfer-syntaxes/rle/rtdose_rle.dcm": [
          "(0008,0012) is sent as UN although its Value Representation is known; the dictionary was followed",
        ],
        "transfer-syntaxes/rle/rtdose_rle_1frame.dcm": [
          "(0008,0012) is sent as UN although its Value Representation is known; the dictionary was followed",
        ],
      }
    `);
  });

  it('of broken files are definite answers', async () => {
    const answers: Record<string, string> = {};
    for (const path of [
      ...sampleFiles('broken', 'parsing'),
      ...sampleFiles('broken', 'pixels'),
      ...sampleFiles('generated', 'broken'),
    ]) {
      // biome-ignore format: a list
      const header = await headerOf(path);
      answers[path.slice(path.lastIndexOf('/') + 1)] =
        typeof header === 'string'
          ? header
          : [`${header.dataSet.elements.size} elements`, ...header.tolerated].join('; ');
    }
    expect(answers).toMatchInlineSnapshot(`
      {
        "CTImageStorage_bad_meta.dcm": "255 elements",
        "ExplVR_BigEndNoMeta.dcm": "24 elements; The 128-byte preamble is missing; The prefix DICM is missing; The File Meta Information is missing; the encoding was recognised from the data set",
        "ExplVR_LitEndNoMeta.dcm": "24 elements; The 128-byte preamble is missing; The prefix DICM is missing; The File Meta Information is missing; the encoding was recognised from the data set",
        "J2K_pixelrep_mismatch.dcm": "93 elements; (0009,0010) is sent as UN although its Value Representation is known; the dictionary was followed",
        "JLSL_RGB_ILV0.dcm": "11 elements; The 128-byte preamble is missing; The prefix DICM is missing; The File Meta Information Group Length (0002,0000) is missing",
        "JPEG2000-embedded-sequence-delimiter.dcm": "150 elements",
        "MR_small_bigendian.dcm": "71 elements",
        "MR_truncated.dcm": "71 elements",
        "SC_rgb_jpeg.dcm": "33 elements; The transfer syntax says explicit VR, but the data set is encoded in implicit VR",
        "UN_sequence.dcm": "1 elements",
        "badVR.dcm": "44 elements",
        "bad_sequence.dcm": "78 elements; (0018,9346) is sent as UN although its Value Representation is known; the dictionary was followed",
        "duplicate-tag.dcm": "3 elements; (0010,0020) is there more than once; the first one counts",
        "empty.dcm": "bad-dicom",
        "emri_small_jpeg_2k_lossless_too_short.dcm": "130 elements",
        "explicit_VR-UN.dcm": "46 elements; (0008,0005) is sent as UN although its Value Representation is known; the dictionary was followed",
        "header-noise-0.dcm": "46 elements; (0008,0033) stands behind an element with a higher tag; (0018,0050) has no Value Representation although the data set is encoded in explicit VR; (0018,0050) is cut short: the data end before it does",
        "header-noise-1.dcm": "bad-dicom",
        "header-noise-2.dcm": "2 elements; The File Meta Information Group Length (0002,0000) is wrong; (0008,0012) has no Value Representation although the data set is encoded in explicit VR; (0008,0012) is cut short: the data end before it does",
        "header-noise-3.dcm": "bad-dicom",
        "header-noise-4.dcm": "bad-dicom",
        "header-noise-5.dcm": "22 elements; The File Meta Information Group Length (0002,0000) is wrong; The Transfer Syntax UID (0002,0010) is missing; the encoding was recognised from the data set; (0002,0010) stands behind an element with a higher tag; (0008,0050) has no Value Representation although the data set is encoded in explicit VR; (0008,0050) has an odd length; (BF04,B504) is cut short: the data end before it does",
        "header-noise-6.dcm": "1 elements; (0002,0012) has an odd length; The File Meta Information Group Length (0002,0000) is wrong; (322E,C100) has no Value Representation although the data set is encoded in explicit VR; (322E,C100) is cut short: the data end before it does",
        "header-noise-7.dcm": "bad-dicom",
        "hostile-patient-name.dcm": "256 elements",
        "huge-matrix-claimed.dcm": "256 elements",
        "invalid-vr-length-test.dcm": "58 elements",
        "jpeg-renamed.dcm": "bad-dicom",
        "length-4GB.dcm": "2 elements",
        "meta-uid-differs-from-dataset-uid.dcm": "256 elements",
        "meta_missing_tsyntax.dcm": "1 elements; The Transfer Syntax UID (0002,0010) is missing; the encoding was recognised from the data set; (0001,0002) has an odd length",
        "million-frames-claimed.dcm": "257 elements",
        "nested-3000-levels.dcm": "limit-exceeded",
        "nested_priv_SQ.dcm": "1 elements; (0001,0002) has an odd length",
        "no-meta-length-test.dcm": "7 elements; The File Meta Information Group Length (0002,0000) is missing",
        "no-sop-instance-uid.dcm": "2 elements",
        "no_meta.dcm": "bad-dicom",
        "no_meta_group_length.dcm": "3 elements; The File Meta Information Group Length (0002,0000) is missing",
        "odd-length.dcm": "3 elements; (0010,0010) has an odd length",
        "preamble-only.dcm": "bad-dicom",
        "priv_SQ.dcm": "2 elements",
        "reportsi_with_empty_number_tags.dcm": "41 elements",
        "rtplan_truncated.dcm": "32 elements; (300A,012C) is cut short: the data end before it does",
        "same-sop-uid-other-content.dcm": "256 elements",
        "tags-out-of-order.dcm": "3 elements; (0008,0016) stands behind an element with a higher tag",
        "text.dcm": "bad-dicom",
        "truncated-at-19603.dcm": "256 elements",
        "truncated-at-37245.dcm": "256 elements",
        "truncated-at-392.dcm": "2 elements; (0008,0012) is cut short: the data end before it does",
        "truncated-at-3920.dcm": "236 elements; (0043,1028) is cut short: the data end before it does",
        "truncated-at-78.dcm": "bad-dicom",
        "uid-100-characters.dcm": "2 elements",
        "uid-path-traversal.dcm": "4 elements; (0020,000D) has an odd length",
        "unclosed-sequence.dcm": "3 elements; (0040,A730) is cut short: the data end before it does",
        "unknown-transfer-syntax.dcm": "256 elements",
        "unknown-vr.dcm": "3 elements; (0010,0010) has a Value Representation that does not exist",
        "zeros-4k.dcm": "bad-dicom",
      }
    `);
  });
});
