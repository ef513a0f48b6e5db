/**
 * What the benchmarks send: CT instances as files in a folder for each sender, a multi-frame of any size, and many small
 * studies as data sets.
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { encodeFileMeta } from '#shared/dicom/part10.ts';

export const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';
export const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const ENHANCED_CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2.1';
const MATRIX = 512;
const FRAME_BYTES = MATRIX * MATRIX * 2;

const pixels = Buffer.alloc(FRAME_BYTES);
for (let i = 0; i < pixels.length; i += 2) pixels.writeUInt16LE((i * 2_654_435_761) & 0xfff, i);

/** The length of one of `writeInstances`' files, in bytes. */
export const instanceBytes = ctInstance('2.25.77', '2.25.77.1', 1).length;

/** CT instances of 0.5 MB for so many senders, a folder and a series each; answers the folders. */
export function writeInstances(
  folder: string,
  senders: number,
  instances: number,
  studyInstanceUid = '2.25.77',
): string[] {
  return Array.from({ length: senders }, (_, sender) => {
    const below = join(folder, `${sender}`);
    mkdirSync(below, { recursive: true });
    for (let i = sender; i < instances; i += senders)
      writeFileSync(
        join(below, `${i}.dcm`),
        ctInstance(studyInstanceUid, `${studyInstanceUid}.${senders}.${sender}`, i),
      );
    return below;
  });
}

/** One file of a multi-frame of about so many bytes; answers its path. */
export function writeMultiFrame(path: string, bytes: number, studyInstanceUid = '2.25.79'): string {
  const frames = Math.max(1, Math.round(bytes / FRAME_BYTES));
  const sopInstanceUid = `${studyInstanceUid}.1.1`;
  const file = openSync(path, 'w');
  try {
    const head = [
      meta(ENHANCED_CT_IMAGE_STORAGE, sopInstanceUid),
      ...imageElements({
        sopClassUid: ENHANCED_CT_IMAGE_STORAGE,
        sopInstanceUid,
        studyInstanceUid,
        seriesInstanceUid: `${studyInstanceUid}.1`,
        number: 1,
        frames,
      }),
      pixelHeader(frames * FRAME_BYTES),
    ];
    writeSync(file, Buffer.concat(head));
    for (let frame = 0; frame < frames; frame++) writeSync(file, pixels);
  } finally {
    closeSync(file);
  }
  return path;
}

/** A data set of a study of its own, without pixels: a study list has many of them. */
export function smallStudy(number: number): { sopInstanceUid: string; dataSet: Buffer; patientId: string } {
  const studyInstanceUid = `2.25.80.${number + 1}`;
  const sopInstanceUid = `${studyInstanceUid}.1.1`;
  const patientId = `BENCH${String(number).padStart(7, '0')}`;
  const day = String(20_200_101 + (number % 28) + 100 * (Math.floor(number / 28) % 12));
  const dataSet = Buffer.concat([
    element('08001600', 'UI', CT_IMAGE_STORAGE),
    element('08001800', 'UI', sopInstanceUid),
    element('08002000', 'DA', day),
    element('08005000', 'SH', `A${number}`),
    element('08006000', 'CS', number % 3 === 0 ? 'MR' : 'CT'),
    element('10001000', 'PN', `BENCH${number % 997}^NUMBER`),
    element('10002000', 'LO', patientId),
    element('20000d00', 'UI', studyInstanceUid),
    element('20000e00', 'UI', `${studyInstanceUid}.1`),
    element('20001300', 'IS', '1'),
  ]);
  return { sopInstanceUid, dataSet, patientId };
}

function ctInstance(studyInstanceUid: string, seriesInstanceUid: string, number: number): Buffer {
  const sopInstanceUid = `${seriesInstanceUid}.${number}`;
  return Buffer.concat([
    meta(CT_IMAGE_STORAGE, sopInstanceUid),
    ...imageElements({ sopClassUid: CT_IMAGE_STORAGE, sopInstanceUid, studyInstanceUid, seriesInstanceUid, number }),
    pixelHeader(FRAME_BYTES),
    pixels,
  ]);
}

function meta(sopClassUid: string, sopInstanceUid: string): Uint8Array {
  return encodeFileMeta({ sopClassUid, sopInstanceUid, transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN });
}

function imageElements(of: {
  sopClassUid: string;
  sopInstanceUid: string;
  studyInstanceUid: string;
  seriesInstanceUid: string;
  number: number;
  frames?: number;
}): Buffer[] {
  const us = (value: number) => Buffer.from([value & 0xff, value >> 8]);
  return [
    element('08001600', 'UI', of.sopClassUid),
    element('08001800', 'UI', of.sopInstanceUid),
    element('08002000', 'DA', '20260102'),
    element('08006000', 'CS', 'CT'),
    element('10001000', 'PN', 'BENCH^C-STORE'),
    element('10002000', 'LO', 'BENCH'),
    element('20000d00', 'UI', of.studyInstanceUid),
    element('20000e00', 'UI', of.seriesInstanceUid),
    element('20001300', 'IS', `${of.number + 1}`),
    element('28000200', 'US', us(1)),
    element('28000400', 'CS', 'MONOCHROME2'),
    ...(of.frames === undefined ? [] : [element('28000800', 'IS', `${of.frames}`)]),
    element('28001000', 'US', us(MATRIX)),
    element('28001100', 'US', us(MATRIX)),
    element('28000001', 'US', us(16)),
    element('28000101', 'US', us(12)),
    element('28000201', 'US', us(11)),
    element('28000301', 'US', us(0)),
  ];
}

function pixelHeader(lengthBytes: number): Buffer {
  const header = Buffer.from('e07f10004f57000000000000', 'hex');
  header.writeUInt32LE(lengthBytes, 8);
  return header;
}

/** Explicit VR little endian, short form; the tag as it is encoded. */
function element(tag: string, vr: string, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  const padding = Buffer.from(bytes.length % 2 === 0 ? '' : vr === 'UI' ? '\0' : ' ');
  const head = Buffer.concat([Buffer.from(tag, 'hex'), Buffer.from(vr), Buffer.alloc(2)]);
  head.writeUInt16LE(bytes.length + padding.length, 6);
  return Buffer.concat([head, bytes, padding]);
}
