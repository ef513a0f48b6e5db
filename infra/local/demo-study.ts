/**
 * The study that `npm run demo` sends when it is given no folder: a CT of the phantom's head, as a scanner would make it.
 */
import { randomUUID } from 'node:crypto';
import type { Vr } from '#shared/dicom/data-set.ts';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { tagKey } from '#shared/dicom/tags.ts';
import { newUid } from '#shared/dicom/uid.ts';
import { PHANTOM_MATRIX, PHANTOM_PIXEL_MM, phantomPosition, phantomSlice } from './phantom.ts';

const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';
const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';

export interface DemoInstance {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  readonly dataSet: Uint8Array;
}

export interface DemoStudy {
  readonly studyInstanceUid: string;
  readonly count: number;
  /** Made when asked for: index from 0. */
  instance(index: number): DemoInstance;
}

export function createDemoStudy(count: number, nowMs: number): DemoStudy {
  const [studyInstanceUid, seriesInstanceUid, frameOfReferenceUid] = [randomUUID(), randomUUID(), randomUUID()].map(
    newUid,
  ) as [string, string, string];
  const iso = new Date(nowMs).toISOString();
  const date = iso.slice(0, 10).replaceAll('-', '');
  const time = iso.slice(11, 19).replaceAll(':', '');
  return {
    studyInstanceUid,
    count,
    instance(index) {
      const sopInstanceUid = newUid(randomUUID());
      const z = phantomPosition(index, count);
      const corner = (-PHANTOM_MATRIX / 2 + 0.5) * PHANTOM_PIXEL_MM;
      const header = dataSet([
        [0x00080008, 'CS', 'ORIGINAL', 'PRIMARY', 'AXIAL'],
        [0x00080016, 'UI', CT_IMAGE_STORAGE],
        [0x00080018, 'UI', sopInstanceUid],
        [0x00080020, 'DA', date],
        [0x00080021, 'DA', date],
        [0x00080022, 'DA', date],
        [0x00080023, 'DA', date],
        [0x00080030, 'TM', time],
        [0x00080031, 'TM', time],
        [0x00080032, 'TM', time],
        [0x00080033, 'TM', time],
        [0x00080050, 'SH', `DEMO${date.slice(2)}${time}`],
        [0x00080060, 'CS', 'CT'],
        [0x00080070, 'LO', 'Archipel'],
        [0x00080090, 'PN', { Alphabetic: 'Demo^Referrer' }],
        [0x00081030, 'LO', 'Head CT (phantom)'],
        [0x0008103e, 'LO', 'Head 1.0'],
        [0x00100010, 'PN', { Alphabetic: 'Phantom^Head' }],
        [0x00100020, 'LO', 'DEMO-HEAD'],
        [0x00100030, 'DA', '19700101'],
        [0x00100040, 'CS', 'O'],
        [0x00180015, 'CS', 'HEAD'],
        [0x00180050, 'DS', 200 / count],
        [0x00180060, 'DS', 120],
        [0x00185100, 'CS', 'HFS'],
        [0x0020000d, 'UI', studyInstanceUid],
        [0x0020000e, 'UI', seriesInstanceUid],
        [0x00200010, 'SH', '1'],
        [0x00200011, 'IS', 1],
        [0x00200012, 'IS', 1],
        [0x00200013, 'IS', index + 1],
        [0x00200032, 'DS', corner, corner, z],
        [0x00200037, 'DS', 1, 0, 0, 0, 1, 0],
        [0x00200052, 'UI', frameOfReferenceUid],
        [0x00201040, 'LO', ''],
        [0x00201041, 'DS', z],
        [0x00280002, 'US', 1],
        [0x00280004, 'CS', 'MONOCHROME2'],
        [0x00280010, 'US', PHANTOM_MATRIX],
        [0x00280011, 'US', PHANTOM_MATRIX],
        [0x00280030, 'DS', PHANTOM_PIXEL_MM, PHANTOM_PIXEL_MM],
        [0x00280100, 'US', 16],
        [0x00280101, 'US', 16],
        [0x00280102, 'US', 15],
        [0x00280103, 'US', 1],
        [0x00281050, 'DS', 40],
        [0x00281051, 'DS', 120],
        [0x00281052, 'DS', 0],
        [0x00281053, 'DS', 1],
        [0x00281054, 'LO', 'HU'],
      ]);
      const encoded = encodeDataSet(header, { explicitVr: true, littleEndian: true });
      const pixels = phantomSlice(index, count);
      return {
        sopClassUid: CT_IMAGE_STORAGE,
        sopInstanceUid,
        transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
        dataSet: Buffer.concat([encoded, pixelDataHeader(pixels.byteLength), new Uint8Array(pixels.buffer)]),
      };
    },
  };
}

function dataSet(rows: readonly (readonly [number, Vr, ...JsonValue[]])[]): DicomJson {
  return Object.fromEntries(
    rows.map(([tag, vr, ...values]): [string, JsonElement] => [
      tagKey(tag),
      values[0] === '' ? { vr } : { vr, Value: values },
    ]),
  );
}

/** (7FE0,0010) OW with its length, explicit VR little endian (PS3.5 §7.1.2). */
function pixelDataHeader(lengthBytes: number): Uint8Array {
  const header = Buffer.from([0xe0, 0x7f, 0x10, 0x00, 0x4f, 0x57, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32LE(lengthBytes, 8);
  return header;
}
