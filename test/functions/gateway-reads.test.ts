/**
 * What a gateway may ask of the cloud's archive: only its own tenant's, only what is verified, in bounded pages; and a key means the
 * same on both sides of the wire.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGatewayService } from '#functions/gateway/service.ts';
import { keyPartOf } from '#shared/archive/keys.ts';
import { combineDateTime, fuzzyNameKey, matchKey } from '#shared/dicom/matching.ts';
import {
  holdingsResponse,
  instancesResponse,
  keyFromWire,
  keyToWire,
  readsResponse,
  searchResponse,
} from '#shared/gateway-read-api.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';

const study = freshUid();
const series = [freshUid(), freshUid()].toSorted();
const made = series.flatMap((seriesInstanceUid) =>
  [1, 2, 3].map((instanceNumber) =>
    makeInstance({ studyInstanceUid: study, seriesInstanceUid, instanceNumber, patientId: 'P-1' }),
  ),
);

let cloud: ArchiveFixture;
let tenant: string;
beforeAll(async () => {
  cloud = await makeArchive(made.map(({ file }) => file));
  tenant = cloud.tenant;
});
afterAll(() => cloud.close());

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const service = createGatewayService({
    archive: cloud.archive,
    grantUpload: async (key) => ({ url: `https://store.example/${key}`, headers: {} }),
    grantRead: async (key, expiresAtMs) => ({ url: `https://store.example/${key}?until=${expiresAtMs}`, headers: {} }),
    tenantOf: () => tenant,
    nowMs: () => 1_000,
    log: silentLogger,
  });
  return service(
    new Request(`http://cloud${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    }),
  );
}

const all = (level: 'study' | 'series' | 'instance', limit = 100, offset = 0) => ({ level, keys: [], limit, offset });

describe('POST /gateway/search', () => {
  it('answers as the index does', async () => {
    for (const level of ['study', 'series', 'instance'] as const) {
      const answer = searchResponse.parse(await (await post('/gateway/search', all(level))).json());
      expect(answer).toEqual(await cloud.archive.index.search(tenant, all(level)));
    }
    const key = { path: [0x00100020], vr: 'LO', text: 'P-2' };
    expect(await (await post('/gateway/search', { ...all('study'), keys: [key] })).json()).toEqual({
      matches: [],
      more: false,
    });
    const page = searchResponse.parse(await (await post('/gateway/search', all('instance', 4, 4))).json());
    expect([page.matches.length, page.more]).toEqual([2, false]);
  });

  it.each([
    ['a page that is too long', { ...all('study'), limit: 1_001 }],
    ['a level that is none', { ...all('study'), level: 'patient' }],
    ['a VR that is none', { ...all('study'), keys: [{ path: [0x00100020], vr: 'XX', text: '' }] }],
    ['a key of a lower level', { ...all('study'), keys: [{ path: [0x00080018], vr: 'UI', text: '1.2' }] }],
    ['a date that is none', { ...all('study'), keys: [{ path: [0x00080020], vr: 'DA', text: 'soon' }] }],
    [
      'a date and a time of different things',
      {
        ...all('study'),
        keys: [{ path: [0x00080020], vr: 'DA', text: '2024-', time: { tag: 0x00080031, text: '10-' } }],
      },
    ],
    [
      'too many keys',
      { ...all('study'), keys: Array.from({ length: 257 }, () => ({ path: [1], vr: 'LO', text: '' })) },
    ],
  ])('answers 400 to %s', async (_, body) => {
    expect((await post('/gateway/search', body)).status).toBe(400);
  });
});

describe('POST /gateway/holdings and /gateway/instances', () => {
  it('tell what there is of a study', async () => {
    const { packs } = holdingsResponse.parse(
      await (await post('/gateway/holdings', { studyInstanceUid: study })).json(),
    );
    expect(packs.map(({ packId }) => packId)).toEqual(cloud.packs.map(({ packId }) => packId).toSorted());
    expect(packs.reduce((sum, { instanceCount }) => sum + instanceCount, 0)).toBe(6);
    expect(await (await post('/gateway/holdings', { studyInstanceUid: '9.9' })).json()).toEqual({ packs: [] });

    const digests: string[] = [];
    let after: string | undefined;
    do {
      const request = { studyInstanceUid: study, limit: 4, ...(after === undefined ? {} : { after }) };
      const page = instancesResponse.parse(await (await post('/gateway/instances', request)).json());
      digests.push(...page.items.map(({ digest }) => digest));
      after = page.next;
    } while (after !== undefined);
    expect(digests.toSorted()).toEqual(made.map(({ digest }) => digest).toSorted());
    const one = instancesResponse.parse(await (await post('/gateway/instances', { ...made[4]!.ref, limit: 9 })).json());
    expect(one.items.map(({ digest }) => digest)).toEqual([made[4]!.digest]);
    expect((await post('/gateway/instances', { studyInstanceUid: study, limit: 501 })).status).toBe(400);
  });

  it('come compressed to whoever reads that, when they are long', async () => {
    const request = { studyInstanceUid: study, limit: 500 };
    await cloud.add(
      Array.from(
        { length: 40 },
        () => makeInstance({ studyInstanceUid: study, seriesInstanceUid: series[0]!, rows: 2, columns: 2 }).file,
      ),
    );
    const plain = await post('/gateway/instances', request);
    expect(plain.headers.get('content-encoding')).toBeNull();
    const packed = await post('/gateway/instances', request, { 'accept-encoding': 'gzip' });
    expect(packed.headers.get('content-encoding')).toBe('gzip');
    const unpacked = packed.body!.pipeThrough(
      new DecompressionStream('gzip') as ReadableWritablePair<Uint8Array, Uint8Array>,
    );
    expect(await new Response(unpacked).json()).toEqual(await plain.json());
  });
});

describe('POST /gateway/reads', () => {
  it('grants a pack and its manifest, for a while, once it is archived', async () => {
    const [pack] = cloud.packs;
    const other = { ...pack!, packId: '0197a000-0000-7000-8000-00000000abcd' };
    await cloud.archive.index.createPack({
      ...other,
      tenant,
      state: 'sealed',
      instanceCount: 1,
      lengthBytes: 9,
      sha256: 'ab'.repeat(32),
      createdAtMs: 1,
    });
    const { packs } = readsResponse.parse(await (await post('/gateway/reads', { packs: [pack, other] })).json());
    const stem = `https://store.example/${tenant}/${keyPartOf(study)}/${pack!.seriesInstanceUid}/${pack!.packId}`;
    expect(packs).toMatchObject([
      {
        kind: 'granted',
        packId: pack!.packId,
        pack: { url: `${stem}.zip?until=901000` },
        manifest: { url: `${stem}.manifest.zst?until=901000` },
        expiresAtMs: 901_000,
      },
      { kind: 'unknown', packId: other.packId },
    ]);
  });

  it('and everything else shows nothing of another tenant', async () => {
    tenant = 'somebody-else';
    try {
      expect(await (await post('/gateway/search', all('study'))).json()).toEqual({ matches: [], more: false });
      expect(await (await post('/gateway/holdings', { studyInstanceUid: study, tenant: cloud.tenant })).json()).toEqual(
        { packs: [] },
      );
      expect(await (await post('/gateway/instances', { studyInstanceUid: study, limit: 9 })).json()).toEqual({
        items: [],
      });
      const { packs } = readsResponse.parse(await (await post('/gateway/reads', { packs: [cloud.packs[0]] })).json());
      expect(packs).toEqual([{ kind: 'unknown', packId: cloud.packs[0]!.packId }]);
    } finally {
      tenant = cloud.tenant;
    }
  });
});

describe('an answer', () => {
  it.each([
    ['no list', { matches: {}, more: true }],
    ['a match that is no object', { matches: [['a']], more: true }],
    ['an attribute without a tag', { matches: [{ PatientID: { vr: 'LO' } }], more: true }],
    ['an attribute without a VR', { matches: [{ '00100020': { Value: ['x'] } }], more: true }],
    ['a value that is no list', { matches: [{ '00100020': { vr: 'LO', Value: 'x' } }], more: true }],
    ['nothing said of more', { matches: [] }],
  ])('with %s is none of the contract', (_, answer) => {
    expect(searchResponse.safeParse(answer).success).toBe(false);
  });
});

describe('a key on the wire', () => {
  it('means what it meant', () => {
    const dates = fc.constantFrom('20240131', '20240101-20240131', '-20240131', '20240101-', '');
    const times = fc.constantFrom('1015', '10-12', '-235959', '101530.5-', '');
    const text = fc.stringMatching(/^[A-Za-z0-9*?\\^=ÄÖ山 .]{0,20}$/);
    fc.assert(
      fc.property(dates, times, text, text, fc.constantFrom(undefined, 0, -330), (date, time, name, id, zone) => {
        const keys = combineDateTime(
          [
            matchKey([0x00080020], 'DA', date),
            matchKey([0x00080030], 'TM', time),
            matchKey([0x00100010], 'PN', name),
            fuzzyNameKey([0x00080090], name),
            matchKey([0x00400275, 0x00401001], 'SH', id),
          ],
          zone,
        );
        const wire = JSON.parse(JSON.stringify(keys.map(keyToWire)));
        expect(
          wire
            .map(keyFromWire)
            .map(({ path, vr, condition }: ReturnType<typeof keyFromWire>) => ({ path, vr, condition })),
        ).toEqual(keys.map(({ path, vr, condition }) => ({ path, vr, condition })));
      }),
    );
  });
});
