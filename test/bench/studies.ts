/**
 * Very many small studies in a server that is measured: by C-STORE, or written into a gateway's index beforehand, with packs that
 * are in the cloud, since what is measured is the index and not a disk full of small packs.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { connect } from '#edge-gateway/dimse/client.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { indexedAttributesOf } from '#shared/archive/instance-reader.ts';
import { newPackId } from '#shared/archive/keys.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, smallStudy } from './instances.ts';

/** Above it our index is filled beforehand. */
export const BY_STORE = 10_000;
const BATCH = 1_000;
const SENDERS = 4;

/** Stores so many small studies by C-STORE; resolves when the last is acknowledged. */
export async function storeStudies(port: number, studies: number): Promise<void> {
  let next = 0;
  const sender = async (): Promise<void> => {
    const association = await connect({
      host: '127.0.0.1',
      port,
      callingAeTitle: 'BENCH',
      calledAeTitle: 'ARCHIPEL',
      contexts: [{ abstractSyntax: CT_IMAGE_STORAGE, transferSyntaxes: [EXPLICIT_VR_LITTLE_ENDIAN] }],
    });
    for (let number = next++; number < studies; number = next++) {
      const { sopInstanceUid, dataSet } = smallStudy(number);
      const { status } = await association.store({
        sopClassUid: CT_IMAGE_STORAGE,
        sopInstanceUid,
        transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
        dataSet,
      });
      if (status !== 0) throw new Error(`a store was answered ${status.toString(16)}H`);
    }
    await association.release();
  };
  await Promise.all(Array.from({ length: SENDERS }, sender));
}

/** Fills the index of a gateway that is not running, with studies whose packs are in the cloud. */
export async function indexStudies(folder: string, studies: number): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: true });
  try {
    for (let next = 0; next < studies; next += BATCH) {
      const numbers = Array.from({ length: Math.min(BATCH, studies - next) }, (_, i) => next + i);
      const records = numbers.map(recordOf);
      await Promise.all(
        records.map((record) =>
          index.createPack({
            ...record,
            state: 'archived',
            instanceCount: 1,
            createdAtMs: 1,
            archivedAtMs: 2,
            evictedAtMs: 3,
          }),
        ),
      );
      await indexInstances(index, records);
    }
  } finally {
    await index.close();
  }
}

function recordOf(number: number): InstanceRecord {
  const { sopInstanceUid, dataSet } = smallStudy(number);
  const header = readHeader(dataSet, { transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN });
  return {
    tenant: 'default',
    studyInstanceUid: header.dataSet.ascii(0x0020000d) ?? '',
    seriesInstanceUid: header.dataSet.ascii(0x0020000e) ?? '',
    sopInstanceUid,
    sopClassUid: CT_IMAGE_STORAGE,
    transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
    digest: String(number).padStart(64, '0'),
    packId: newPackId(1_700_000_000_000 + number, randomBytes(10)),
    offsetBytes: 0,
    lengthBytes: dataSet.length,
    dataSetOffsetBytes: 0,
    state: 'current',
    attributes: indexedAttributesOf(header),
  };
}
