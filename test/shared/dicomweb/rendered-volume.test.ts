/**
 * Rendered MPR and Rendered 3D Volume Resources over a real archive: media types, parameters that cannot be, caching, what is read of the
 * store and what is not given while a part of it is out of reach.
 */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEraser } from '#shared/dicomweb/erase.ts';
import type { DicomwebOptions, Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';
import { middle, phantom, phantomSlices } from './volume-phantom.ts';

const window = [
  { tag: 0x00281050, vr: 'DS', value: '40' },
  { tag: 0x00281051, vr: 'DS', value: '400' },
];
const slices = phantomSlices({ extra: window });
const { studyInstanceUid, seriesInstanceUid } = slices[0]!.ref;
const volume = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}`;
const presentationState = makeInstance({ sopClassUid: '1.2.840.10008.5.1.4.1.1.11.6', modality: 'PR', pixels: 'none' });
const pool = createVolumePool({ threads: 2 });
/** Of the phantom in memory: two bytes to a voxel. */
const volumeBytes = 40 * 32 * 24 * 2;
let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([...slices.map(({ file }) => file), presentationState.file], { packSize: 9 });
  service = over();
});
afterAll(async () => {
  await pool.close();
  await fixture.close();
});

const over = (options: Partial<DicomwebOptions> = {}): Service => serviceOver(fixture, { volumes: pool, ...options });

/** The archive with its reads of packs counted, and kept waiting or refused where a test wants that. */
function watched(before: (key: string) => Promise<void> | void = () => {}) {
  const reads: string[] = [];
  const { packs, index } = fixture.archive;
  const archive: DicomwebOptions['archive'] = {
    index,
    packs: {
      ...packs,
      async read(key, range) {
        if (key.endsWith('.zip')) reads.push(key);
        if (key.endsWith('.zip')) await before(key);
        return packs.read(key, range);
      },
    },
  };
  return { reads, archive };
}

describe('media types', () => {
  it.each([
    ['*/*', 'image/jpeg'],
    ['image/png', 'image/png'],
    ['image/gif', 'image/gif'],
    ['image/webp', 'image/webp'],
    ['video/mp4, image/png;q=0.5', 'image/png'],
  ])('of a picture: %s is answered with %s', async (accept, type) => {
    const response = await ask(service, `${volume}/renderedmpr`, { accept });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, type]);
    expect(response.headers.get('content-location')).toBe(`${base}${volume}/renderedmpr`);
    const { width, height, format } = await sharp(await bytesOf(response)).metadata();
    expect([width, height, `image/${format}`]).toEqual([40, 48, type]);
  });

  it('give a picture as the one part, too', async () => {
    const response = await ask(service, `${volume}/renderedmpr`, { accept: 'multipart/related; type="image/jpeg"' });
    expect((await partsOf(response)).map(({ headers }) => headers['content-type'])).toEqual(['image/jpeg']);
  });

  it.each([
    ['renderedmpr', 'video/mp4'],
    ['rendered3d?swivelrange=90', 'video/mp4'],
    ['rendered3d?swivelrange=90', 'video/mpeg'],
    ['renderedmpr', 'application/dicom'],
    ['renderedmpr?renderedvolumetricmetadata=yes', 'image/jpeg'],
  ])('that cannot be are 406 with what can: %s as %s', async (path, accept) => {
    const problem = await problemOf(await ask(service, `${volume}/${path}`, { accept }));
    expect([problem.status, problem.code]).toEqual([406, 'not-acceptable']);
    expect(problem.detail).toMatch(/ask for:/);
  });

  it('of what moves: parts where a type of pictures is asked for, each place in an animation once', async () => {
    const path = `${volume}/renderedmpr?orientation=a&swivelrange=100&animationstepsize=20`;
    expect(await partsOf(await ask(service, path, { accept: 'image/jpeg' }))).toHaveLength(5);
    for (const accept of ['*/*', 'image/webp']) {
      const animation = await bytesOf(await ask(service, path, { accept }));
      expect((await sharp(animation, { animated: true }).metadata()).pages).toBe(5);
    }
  });

  it('take the names of the resources in any case', async () => {
    for (const name of ['renderedMPR', 'RENDEREDMPR', 'rendered3D', 'Rendered3d'])
      expect((await ask(service, `${volume}/${name}?viewport=8,8`, {})).status).toBe(200);
  });

  it('answer HEAD without reading a pack', async () => {
    const { reads, archive } = watched();
    const response = await ask(over({ archive }), `${volume}/renderedmpr`, {}, 'HEAD');
    expect([response.status, response.headers.get('content-type'), reads]).toEqual([200, 'image/jpeg', []]);
  });
});

describe('what would be rendered, in words', () => {
  const moduleOf = async (
    query: string,
    name = 'renderedmpr',
  ): Promise<Record<string, { vr: string; Value: unknown[] }>> => {
    const response = await ask(service, `${volume}/${name}?renderedvolumetricmetadata=yes&${query}`, {
      accept: 'application/dicom+json',
    });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/dicom+json']);
    return (await response.json()) as Record<string, { vr: string; Value: unknown[] }>;
  };

  it('has the camera of a named orientation, and the window of the data', async () => {
    expect(await moduleOf('orientation=a')).toEqual({
      '00281050': { vr: 'DS', Value: [40] },
      '00281051': { vr: 'DS', Value: [400] },
      '00281056': { vr: 'CS', Value: ['LINEAR'] },
      '00701603': { vr: 'FD', Value: [middle[0], middle[1] - 1, middle[2]] },
      '00701604': { vr: 'FD', Value: [...middle] },
      '00701605': { vr: 'FD', Value: [0, 0, 1] },
      '0070120D': { vr: 'CS', Value: ['AVERAGE_IP'] },
      '00720510': { vr: 'CS', Value: ['MPR'] },
    });
  });

  it('has the slab, the animation and the window that are asked for', async () => {
    const module = await moduleOf(
      'mprslab=12.5&renderingmethod=minimum_ip&swivelrange=180&animationrate=20&window=50,350,sigmoid',
    );
    expect(Object.fromEntries(Object.entries(module).map(([tag, { Value }]) => [tag, Value[0]]))).toMatchObject({
      '00281050': 50,
      '00281051': 350,
      '00281056': 'SIGMOID',
      '00701503': 12.5,
      '0070120D': 'MINIMUM_IP',
      '00701A03': 20,
      '00701A05': 6,
      '00701A06': 180,
    });
    const projected = await moduleOf('', 'rendered3d');
    expect([projected['00720510']!.Value, projected['0070120D']!.Value]).toEqual([['3D_RENDERING'], ['MAXIMUM_IP']]);
  });

  it('asked for again with it is the same picture', async () => {
    const module = await moduleOf('orientation=l');
    const of = (tag: string): string => module[tag]!.Value.join(',');
    const again = `viewpointposition=${of('00701603')}&viewpointlookat=${of('00701604')}&viewpointup=${of('00701605')}`;
    const [one, other] = await Promise.all(
      ['orientation=l', again].map(async (query) =>
        bytesOf(await ask(service, `${volume}/renderedmpr?${query}`, { accept: 'image/png' })),
      ),
    );
    expect(one!.equals(other!)).toBe(true);
  });

  it('reads no pixels', async () => {
    const { reads, archive } = watched();
    await ask(over({ archive }), `${volume}/renderedmpr?renderedvolumetricmetadata=yes`, {});
    expect(reads).toEqual([]);
  });
});

describe('parameters that cannot be', () => {
  it.each([
    ['orientation=oblique', /orientation is a, p, r, l, h or f/],
    ['orientation=a&viewpointposition=0,0,0', /orientation excludes/],
    ['orientation=a&viewpointup=0,0,1', /orientation excludes/],
    ['viewpointposition=1,2', /viewpointposition is three numbers/],
    ['viewpointposition=1,2,3,4', /three numbers/],
    ['viewpointlookat=1,2,NaN', /three numbers/],
    ['viewpointlookat=1,2,1e9', /three numbers/],
    ['viewpointposition=1,2,3&viewpointlookat=1,2,3', /one point/],
    ['viewpointposition=0,-1,0&viewpointlookat=0,0,0&viewpointup=0,2,0', /points where the camera looks/],
    ['viewpointup=0,0,0', /is a direction/],
    ['renderingmethod=volume_rendered', /Volume rendering is not done/],
    ['renderingmethod=mip', /renderingmethod is maximum_ip/],
    ['mprslab=0', /mprslab is the thickness/],
    ['mprslab=-3', /mprslab/],
    ['mprslab=1e9', /at most 10000/],
    ['swivelrange=400', /up to 360/],
    ['swivelrange=90&volumetriccurvepoint=1,2,3', /exclude each other/],
    ['volumetriccurvepoint=1,2,3&volumetriccurvepoint=3,4,5', /Curved lines and planes/],
    ['volumetriccurvepoint=1,2,3,4,5,6', /Curved lines and planes/],
    [`volumetriccurvepoint=${middle}`, /no way between/],
    ['animationstepsize=0', /animationstepsize is the distance/],
    ['animationrate=fast', /animationrate is pictures a second/],
    ['animationstepsize=0.001', /at most 1000 are made/],
    ['swivelrange=360&animationstepsize=0.01', /at most 1000 are made/],
    ['renderedvolumetricmetadata=maybe', /yes, or left out/],
    ['volumeinputreference=first', /UID of a series or of an instance/],
    ['volumeinputreference=3', /one of the instance in the path/],
    ['match=Acquisition', /attribute and its value/],
    ['AcquisitionNumber=x', /must be a number/],
    ['ReferencedImageSequence=1', /no sequence/],
    ['window=40', /window/],
    ['viewport=0,5', /viewport/],
    ['viewport=8192,8192', /at most 16777216 pixels/],
    ['viewport=10,10,30,0,20,20', /40 pixels wide and 48 high/],
    ['quality=0', /quality/],
  ])('%s', async (query, sentence) => {
    const problem = await problemOf(await ask(service, `${volume}/renderedmpr?${query}`, {}));
    expect([problem.status, problem.code]).toEqual([400, 'bad-request']);
    expect(problem.detail).toMatch(sentence);
  });

  it('of the whole volume are those that move through it', async () => {
    const problem = await problemOf(await ask(service, `${volume}/rendered3d?animationstepsize=2`, {}));
    expect([problem.status, problem.detail]).toEqual([
      400,
      expect.stringMatching(/moving through it is done by renderedmpr/),
    ]);
  });

  it('are named in a warning where nothing depends on them', async () => {
    const response = await ask(service, `${volume}/rendered3d?mprslab=5&quality=80&colour=red&presentationUID=1.2`, {
      accept: 'image/png',
    });
    expect(response.status).toBe(200);
    const warning = response.headers.get('warning');
    expect(warning).toMatch(/mprslab is for renderedmpr/);
    expect(warning).toMatch(/quality parameter is for JPEG/);
    expect(warning).toMatch(/colour, presentationUID/);
  });
});

describe('what is not there', () => {
  it.each([
    [`/studies/1.2.3/renderedmpr`, 404],
    [`${volume}/instances/1.2.3/renderedmpr`, 404],
    [`${volume}/renderedmpr?volumeinputreference=1.2.3`, 404],
    ['/studies/x%00/renderedmpr', 400],
  ])('%s is %i', async (path, status) => expect((await ask(service, path, {})).status).toBe(status));

  it('is a Volumetric Presentation State', async () => {
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = presentationState.ref;
    const problem = await problemOf(
      await ask(
        service,
        `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}/rendered3d`,
        {},
      ),
    );
    expect([problem.status, problem.detail]).toEqual([
      406,
      expect.stringMatching(/Presentation States are not applied/),
    ]);
  });

  it('is any volume where the deployment has no pool for them', async () => {
    const without = serviceOver(fixture);
    expect((await ask(without, `${volume}/renderedmpr`, {})).status).toBe(405);
    expect((await ask(without, `${volume}/renderedmpr`, {}, 'OPTIONS')).headers.get('allow')).toBe('OPTIONS');
  });
});

describe('a volume', () => {
  it('is read in a few large pieces, once for twenty who ask at a time and for whoever comes later', async () => {
    const { reads, archive } = watched();
    const own = over({ archive });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ask(own, `${volume}/renderedmpr?orientation=${'aplrhf'[i % 6]}&viewport=${20 + i},20`, {}),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(reads).toHaveLength(3); // as many as there are packs
    expect((await ask(own, `${volume}/rendered3d?orientation=l`, {})).status).toBe(200);
    expect(reads).toHaveLength(3);
  });

  it('goes for another one when there is no room for both, and comes again', async () => {
    const other = phantomSlices({ studyInstanceUid, extra: window });
    const { reads, archive } = watched();
    await fixture.add(other.map(({ file }) => file));
    const own = over({ archive, volumeCacheBytes: 1.5 * volumeBytes });
    const second = `/studies/${studyInstanceUid}/series/${other[0]!.ref.seriesInstanceUid}`;
    for (const at of [volume, second, volume]) expect((await ask(own, `${at}/renderedmpr`, {})).status).toBe(200);
    expect(reads).toHaveLength(9);
  });

  it('that is larger than all the room there is is 413', async () => {
    const problem = await problemOf(
      await ask(over({ volumeCacheBytes: volumeBytes - 1 }), `${volume}/renderedmpr`, {}),
    );
    expect([problem.status, problem.detail]).toEqual([413, expect.stringContaining(`${volumeBytes} bytes`)]);
  });

  it('has an entity tag by which nothing is read again', async () => {
    const path = `${volume}/renderedmpr?orientation=a`;
    const tag = (await ask(service, path, {})).headers.get('etag')!;
    const { reads, archive } = watched();
    const again = await ask(over({ archive }), path, { 'if-none-match': tag });
    expect([again.status, again.headers.get('etag'), reads]).toEqual([304, tag, []]);
    for (const [other, accept] of [
      [`${path}&mprslab=2`, '*/*'],
      [path, 'image/png'],
      [`${volume}/rendered3d?orientation=a`, '*/*'],
    ] as const)
      expect((await ask(service, other, { accept })).headers.get('etag')).not.toBe(tag);
  });

  it('is whole or 503 while a pack of it sleeps, with the time to come again', async () => {
    let asleep = '';
    const { packs, index } = fixture.archive;
    const sleeping = (): never => {
      throw new ArchiveError('unavailable', 'The pack sleeps.', { retryAfterSeconds: 77 });
    };
    const archive: DicomwebOptions['archive'] = {
      index,
      packs: {
        ...packs,
        head: async (key) => (key === asleep ? sleeping() : packs.head(key)),
        read: async (key, range) => (key === asleep ? sleeping() : packs.read(key, range)),
      },
    };
    const own = over({ archive });
    const { packId } = (await index.listPacks(fixture.tenant, { studyInstanceUid, seriesInstanceUid }))[1]!;
    asleep = `${fixture.tenant}/${studyInstanceUid}/${seriesInstanceUid}/${packId}.zip`;
    const response = await ask(own, `${volume}/renderedmpr`, {});
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '77']);
    asleep = '';
    expect((await ask(own, `${volume}/renderedmpr`, {})).status).toBe(200);
  });

  it('is not loaded for a client that has left, and is for the one who stays', async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { reads, archive } = watched(() => gate);
    const own = over({ archive });
    const leaving = new AbortController();
    const request = (signal?: AbortSignal): Promise<Response> =>
      own(new Request(`${base}${volume}/renderedmpr`, signal === undefined ? {} : { signal }));
    const left = request(leaving.signal);
    const alone = request(leaving.signal);
    while (reads.length === 0) await new Promise((resolve) => setImmediate(resolve));
    leaving.abort();
    await Promise.all([left, alone]);
    const before = reads.length;
    const staying = request();
    while (reads.length === before) await new Promise((resolve) => setImmediate(resolve));
    open();
    expect((await staying).status).toBe(200);
    expect(reads.length).toBe(before + 3);
  });

  it('is never what it was before a deletion or an arrival', async () => {
    const own = phantomSlices({ studyInstanceUid: freshUid(), extra: window });
    const ref = own[0]!.ref;
    const at = `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}`;
    await fixture.add(own.slice(2).map(({ file }) => file));
    const erasing = over({ eraser: createEraser(fixture.index, Date.now) });
    const lookAt = async (): Promise<unknown> => {
      const picture = await bytesOf(await ask(erasing, `${at}/renderedmpr?orientation=a`, { accept: 'image/png' }));
      return (await sharp(picture).metadata()).height;
    };
    expect(await lookAt()).toBe(44);
    await fixture.add(own.slice(0, 2).map(({ file }) => file));
    expect(await lookAt()).toBe(phantom.slices * 2);
    for (const { ref } of own.slice(0, 4)) {
      const response = await ask(erasing, `${at}/instances/${ref.sopInstanceUid}`, {}, 'DELETE');
      expect(response.status).toBe(204);
    }
    expect(await lookAt()).toBe(40);
  });
});

describe('an annotation', () => {
  it('is drawn, and changes the picture', async () => {
    const [plain, annotated] = await Promise.all(
      ['', '&annotation=patient,technique'].map(async (more) =>
        bytesOf(await ask(service, `${volume}/renderedmpr?viewport=300,300${more}`, { accept: 'image/png' })),
      ),
    );
    expect(plain!.equals(annotated!)).toBe(false);
  });
});
