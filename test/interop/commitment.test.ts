/**
 * Storage Commitment with Orthanc: it asks the whole system for instances and hears what became of them, and it is asked by
 * our own SCU. Both sides report on an association of their own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReferencedInstance } from '#edge-gateway/dimse/commitment-data-set.ts';
import { createCommitmentUser } from '#edge-gateway/dimse/commitment-user.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { silentLogger } from '#shared/log.ts';
import { nobody } from '#test/edge-gateway/commitment/commitment-site.ts';
import { MemoryReceiver } from '#test/edge-gateway/dimse/memory-receiver.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { send } from '#test/support/sender.ts';
import { AE_TITLE, freePorts, type System, startSystem, until } from '#test/support/system.ts';
import { hasPrograms } from './dcmtk.ts';
import { Orthanc } from './orthanc.ts';

interface OrthancReport {
  readonly Status: 'Pending' | 'Success' | 'Failure';
  readonly RemoteAET: string;
  readonly Success?: readonly { SOPClassUID: string; SOPInstanceUID: string }[];
  readonly Failures?: readonly { SOPClassUID: string; SOPInstanceUID: string; FailureReason: number }[];
}

const refOf = ({ sopClassUid, ref }: MadeInstance): ReferencedInstance => ({
  sopClassUid,
  sopInstanceUid: ref.sopInstanceUid,
});
const inOrthanc = ({ sopClassUid, sopInstanceUid }: ReferencedInstance) => ({
  SOPClassUID: sopClassUid,
  SOPInstanceUID: sopInstanceUid,
});
const unknown: ReferencedInstance = { sopClassUid: '1.2.840.10008.5.1.4.1.1.2', sopInstanceUid: '1.2.3.404' };

describe.skipIf(!hasPrograms('Orthanc'))('Storage Commitment with Orthanc', () => {
  let work: string;
  let system: System;
  let orthanc: Orthanc;
  let ourPort: number;
  const instances = Array.from({ length: 3 }, () => makeInstance());

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-commitment-'));
    const [dicomPort, port] = (await freePorts(2)) as [number, number];
    ourPort = port;
    orthanc = await Orthanc.start({
      modalities: {
        archipel: { aeTitle: AE_TITLE, port: dicomPort },
        user: { aeTitle: 'OURSCU', port: ourPort },
      },
    });
    system = await startSystem({
      folder: join(work, 'data'),
      environment: {
        ARCHIPEL_EDGE_DICOM_PORT: String(dicomPort),
        ARCHIPEL_EDGE_REMOTE_AES: `ORTHANC=127.0.0.1:${orthanc.dicomPort}`,
      },
    });
    expect(await send(dicomPort, instances)).toEqual([0, 0, 0]);
  });
  afterAll(async () => {
    await system?.stop();
    await orthanc?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  async function asked(references: readonly ReferencedInstance[]): Promise<OrthancReport> {
    const { Path } = await orthanc.post<{ Path: string }>('/modalities/archipel/storage-commitment', {
      DicomInstances: references.map(({ sopClassUid, sopInstanceUid }) => [sopClassUid, sopInstanceUid]),
    });
    let report: OrthancReport | undefined;
    await until('Orthanc to hear of its commitment', 60_000, async () => {
      report = await orthanc.get<OrthancReport>(Path);
      return report.Status !== 'Pending';
    });
    return report!;
  }

  it('asks us for what it sent and hears that it is safe, once it is in the cloud', async () => {
    const references = instances.map(refOf);
    const report = await asked(references);
    expect(report).toMatchObject({ Status: 'Success', RemoteAET: AE_TITLE });
    expect(new Set(report.Success)).toEqual(new Set(references.map(inOrthanc)));
    const { packs } = await system.status();
    expect(packs.archived.instances).toBe(instances.length);
  });

  it('hears which instances we do not have, or have as something else', async () => {
    const other = { ...refOf(instances[1]!), sopClassUid: '1.2.840.10008.5.1.4.1.1.4' };
    const report = await asked([refOf(instances[0]!), other, unknown]);
    expect(report.Status).toBe('Failure');
    expect(report.Success).toEqual([inOrthanc(refOf(instances[0]!))]);
    expect(new Set(report.Failures?.map((failure) => [failure.SOPInstanceUID, failure.FailureReason]))).toEqual(
      new Set([
        [other.sopInstanceUid, 0x0119],
        [unknown.sopInstanceUid, 0x0112],
      ]),
    );
  });

  it('is asked by us, and tells what it has', async () => {
    const [mine] = instances;
    await orthanc.post('/instances', mine!.file);
    const user = createCommitmentUser();
    const server = await createDimseServer({
      host: '127.0.0.1',
      port: ourPort,
      aeTitle: 'OURSCU',
      receiver: new MemoryReceiver(),
      storageCommitment: { intake: nobody, user },
      log: silentLogger,
    });
    try {
      const provider = {
        host: '127.0.0.1',
        port: orthanc.dicomPort,
        callingAeTitle: 'OURSCU',
        calledAeTitle: orthanc.aeTitle,
      };
      const safe = await user.requestCommitment(provider, [refOf(mine!)], 60_000);
      expect(safe).toMatchObject({ committed: [refOf(mine!)], failed: [] });
      const mixed = await user.requestCommitment(provider, [refOf(mine!), unknown], 60_000);
      expect(mixed).toMatchObject({ committed: [refOf(mine!)], failed: [{ ...unknown, failureReason: 0x0112 }] });
    } finally {
      user.close();
      await server.close();
    }
  });
});
