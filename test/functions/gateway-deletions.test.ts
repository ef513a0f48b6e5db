/**
 * What a gateway is told of deletions: all of them, each at least once, in pages, of its own tenant alone, and nothing of a patient.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGatewayService } from '#functions/gateway/service.ts';
import { deleteInstances } from '#shared/archive/deletion.ts';
import { type Deletion, deletionsResponse } from '#shared/gateway-deletions-api.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';

const uids = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const made = [1, 2, 3, 4, 5].map((instanceNumber) =>
  makeInstance({ ...uids, instanceNumber, patientName: 'Canary^Bird' }),
);
const MINUTE_MS = 60_000;

let cloud: ArchiveFixture;
let tenant: string;
let nowMs: number;
beforeEach(async () => {
  cloud = await makeArchive(made.map(({ file }) => file));
  tenant = cloud.tenant;
  nowMs = Date.UTC(2025, 0, 1);
});
afterEach(() => cloud.close());

const post = (body: unknown, path = 'deletions'): Promise<Response> =>
  createGatewayService({
    archive: cloud.archive,
    grantUpload: async () => ({ url: 'https://store.example/', headers: {} }),
    grantRead: async () => ({ url: 'https://store.example/', headers: {} }),
    tenantOf: () => tenant,
    nowMs: () => nowMs,
    log: silentLogger,
  })(
    new Request(`http://cloud/gateway/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  );

/** Everything from the cursor on, and the cursor behind it. */
async function told(from?: string, limit = 2): Promise<{ deletions: Deletion[]; cursor: string }> {
  const deletions: Deletion[] = [];
  let cursor = from;
  for (;;) {
    const response = await post({ limit, ...(cursor === undefined ? {} : { cursor }) });
    const page = deletionsResponse.parse(await response.json());
    expect(page.deletions.length).toBeLessThanOrEqual(limit);
    deletions.push(...page.deletions);
    cursor = page.cursor;
    if (!page.more) return { deletions, cursor };
  }
}
const remove = (i: number, atMs: number) => deleteInstances(cloud.index, cloud.tenant, made[i]!.ref, () => atMs);
const uidsOf = ({ deletions }: { deletions: Deletion[] }): string[] => deletions.map((one) => one.sopInstanceUid);
const uid = (i: number): string | undefined => made[i]?.ref.sopInstanceUid;

describe('POST /gateway/deletions', () => {
  it('tells what was deleted, page by page, without attributes', async () => {
    expect(await told()).toMatchObject({ deletions: [] });
    for (const i of [2, 0, 4]) await remove(i, nowMs + i);
    for (const limit of [1, 2, 3, 100]) expect(uidsOf(await told(undefined, limit))).toEqual([uid(0), uid(2), uid(4)]);
    const text = await (await post({ limit: 9 })).text();
    expect(text).not.toContain('Canary');
    expect(text).not.toContain('attributes');
  });

  it('tells later what was written late: the cursor stays behind the present', async () => {
    await remove(0, nowMs);
    nowMs += 10 * MINUTE_MS;
    const { cursor } = await told();
    // Begun before the answer, written after it.
    await remove(1, nowMs - MINUTE_MS);
    await remove(2, nowMs);
    expect(uidsOf(await told(cursor))).toEqual([uid(1), uid(2)]);
    nowMs += 10 * MINUTE_MS;
    const after = await told(cursor);
    expect(uidsOf(after)).toEqual([uid(1), uid(2)]);
    expect(uidsOf(await told(after.cursor))).toEqual([]);
  });

  it('tells also what is deleted when the clock was set back', async () => {
    const { cursor } = await told();
    nowMs -= 60 * MINUTE_MS;
    const back = await told(cursor);
    nowMs += MINUTE_MS;
    await remove(0, nowMs);
    expect(uidsOf(await told(back.cursor))).toEqual([uid(0)]);
  });

  it('answers 400 to a cursor that is none, and tells nothing of another tenant', async () => {
    await remove(0, nowMs);
    for (const cursor of ['', 'x', '{}', '{"fromMs":"1"}', '{"fromMs":0,"after":"x"}'])
      expect([cursor, (await post({ limit: 9, cursor })).status]).toEqual([cursor, 400]);
    expect((await post({ limit: 1_001 })).status).toBe(400);
    tenant = 'somebody-else';
    expect(await told()).toMatchObject({ deletions: [] });
  });
});

describe('a pack that was given up', () => {
  it('is not held any more, and taken for archived by who announces it again', async () => {
    const [pack] = cloud.packs;
    const { sha256, lengthBytes } = (await cloud.index.getPack(tenant, pack!))!;
    await cloud.index.updatePack(tenant, pack!, ['archived'], { purgedAtMs: nowMs });
    const announced = { packs: [{ ...pack, sha256, lengthBytes, instanceCount: 5 }] };
    expect(await (await post(announced, 'uploads')).json()).toMatchObject({ packs: [{ kind: 'archived' }] });
    expect(await (await post({ packs: [pack] }, 'uploads/status')).json()).toMatchObject({
      packs: [{ kind: 'archived' }],
    });
    expect(await (await post({ packs: [pack] }, 'reads')).json()).toEqual({
      packs: [{ kind: 'purged', packId: pack?.packId }],
    });
    const { studyInstanceUid } = uids;
    expect(await (await post({ studyInstanceUid }, 'holdings')).json()).toEqual({ packs: [] });
  });
});
