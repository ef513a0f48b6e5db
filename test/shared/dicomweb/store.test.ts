/**
 * STOW-RS over a real receiver: what is stored, under which answer, and that the bytes are those that C-STORE would have brought.
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { freshUid, type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { rival, send, TENANT } from '../../edge-gateway/cache/receiving.ts';
import { ask, base, bytesOf } from './ask.ts';
import { partsOf } from './read-multipart.ts';
import {
  answerOf,
  failedItem,
  multipartDicom,
  multipartOf,
  post,
  type StoreAnswer,
  storedItem,
  streamOf,
  urlOf,
} from './storing.ts';
import { type StoringPlace, storingPlaces } from './storing-places.ts';

describe.each(storingPlaces)('at $place:', ({ start }) => {
  let at: StoringPlace;
  let service: Service;
  beforeAll(async () => {
    at = await start();
    service = at.service();
  });
  afterAll(() => at[Symbol.asyncDispose]());

  const store = async (parts: Parameters<typeof multipartOf>[0], path = '/studies'): Promise<StoreAnswer> =>
    answerOf(await post(service, path, multipartOf(parts)));

  /** The data set as WADO-RS gives it back; File Meta, whose length it says itself, is cut off. */
  async function retrieved(made: MadeInstance): Promise<Buffer> {
    const [part] = await partsOf(
      await ask(service, urlOf(made), { accept: 'multipart/related; type="application/dicom"; transfer-syntax=*' }),
    );
    const file = part!.body;
    expect(file.subarray(0, 128).every((byte) => byte === 0)).toBe(true);
    return file.subarray(144 + file.readUInt32LE(140));
  }

  async function expectStored(made: MadeInstance): Promise<void> {
    expect(Buffer.compare(await retrieved(made), made.dataSet)).toBe(0);
    expect(await at.archive.index.getInstance(TENANT, made.ref)).toMatchObject({
      digest: made.digest,
      transferSyntaxUid: made.transferSyntaxUid,
      sopClassUid: made.sopClassUid,
    });
  }

  describe('storing', () => {
    it('answers 200 with the URL of each instance, which works at once and gives the bytes that came', async () => {
      const study = { studyInstanceUid: freshUid() };
      const made = [
        makeInstance(study),
        makeInstance(study),
        makeInstance({ ...study, transferSyntaxUid: '1.2.840.10008.1.2.2' }),
      ];
      const answer = await store(made.map(({ file }) => file));
      expect(answer).toEqual({
        status: 200,
        studyUrl: `${base}/studies/${study.studyInstanceUid}`,
        stored: made.map(storedItem),
        failed: [],
        unknown: [],
        warning: '',
      });
      for (const one of made) await expectStored(one);
    });

    it('names no study where there are several', async () => {
      const answer = await store([makeInstance().file, makeInstance().file]);
      expect([answer.status, answer.studyUrl, answer.stored.length]).toEqual([200, undefined, 2]);
    });

    it('keeps no File Meta of the sender but what identifies', async () => {
      const made = makeInstance({ sourceAeTitle: 'SENDER' });
      await store([made.file]);
      const file = await bytesOf(await ask(service, urlOf(made), { accept: 'application/dicom' }));
      expect(file.subarray(0, 400).includes('SENDER')).toBe(false);
    });

    it('takes instances cut into any chunks', async () => {
      const chunkBytes = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 41, max: 5000 }));
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.constantFrom(
              '1.2.840.10008.1.2',
              '1.2.840.10008.1.2.1',
              '1.2.840.10008.1.2.1.99',
              '1.2.840.10008.1.2.5',
            ),
            { minLength: 1, maxLength: 4 },
          ),
          chunkBytes,
          async (syntaxes, size) => {
            const made = syntaxes.map((transferSyntaxUid) =>
              makeInstance({ transferSyntaxUid, rows: 16, columns: 16 }),
            );
            const response = await post(service, '/studies', streamOf(multipartOf(made.map(({ file }) => file)), size));
            expect((await answerOf(response)).stored).toEqual(made.map(storedItem));
            for (const one of made) await expectStored(one);
          },
        ),
        { numRuns: 20 },
      );
    });

    it('takes one that is too large to be held, alone in its request', async () => {
      const frames = 10;
      const pixels = randomBytes(frames * 1024 * 1024);
      const made = makeInstance({ rows: 1024, columns: 1024, frames, bitsAllocated: 8, pixels });
      const response = await post(service, '/studies', streamOf(made.file, 65_536), {
        'content-type': 'application/dicom',
      });
      expect((await answerOf(response)).stored).toEqual([storedItem(made)]);
      await at.settled();
      await expectStored(made);
    });

    it('again is 200 and stores nothing (medplum#10154, healthcare-dicom-dicomweb-adapter#54, #138)', async () => {
      const made = makeInstance();
      const first = await store([made.file, made.file]);
      expect([first.status, first.stored]).toEqual([200, [storedItem(made), storedItem(made)]]);
      expect(await store([made.file])).toMatchObject({ status: 200, stored: [storedItem(made)], warning: '' });
      expect(await at.archive.index.getVersions(TENANT, made.ref)).toHaveLength(1);
    });

    it('of other bytes under the same UID keeps both, and warns', async () => {
      const made = makeInstance();
      const other = rival(made, 'Other');
      await store([made.file]);
      const answer = await store([other.file]);
      expect(answer).toMatchObject({ status: 202, stored: [[...storedItem(made), 0xb00e]], failed: [] });
      expect(answer.warning).toContain('both are kept');
      const versions = await at.archive.index.getVersions(TENANT, made.ref);
      expect(versions.map(({ digest, state }) => [digest, state])).toEqual([
        [made.digest, 'current'],
        [other.digest, 'conflict'],
      ]);
    });

    it('gives JSON also to who accepts nothing that there is', async () => {
      const headers = { 'content-type': multipartDicom, accept: 'text/csv' };
      const response = await post(service, '/studies', multipartOf([makeInstance().file]), headers);
      expect((await answerOf(response)).status).toBe(200);
      const plain = await post(service, '/studies', multipartOf([makeInstance().file]), {
        ...headers,
        accept: 'application/json',
      });
      expect([plain.status, plain.headers.get('content-type')]).toEqual([200, 'application/json']);
    });
  });

  describe('storing to a study', () => {
    it('takes its instances and refuses those of others before they are stored', async () => {
      const studyInstanceUid = freshUid();
      const [mine, other] = [makeInstance({ studyInstanceUid }), makeInstance()];
      const answer = await store([other.file, mine.file], `/studies/${studyInstanceUid}`);
      expect(answer).toMatchObject({
        status: 202,
        studyUrl: `${base}/studies/${studyInstanceUid}`,
        stored: [storedItem(mine)],
        failed: [failedItem(other, 43_265)],
      });
      expect(answer.warning).toContain('Study Instance UID');
      await at.settled();
      expect(await at.archive.index.getInstance(TENANT, other.ref)).toBeUndefined();
    });

    it('is 409 where none is of it', async () => {
      const answer = await store([makeInstance().file], `/studies/${freshUid()}`);
      expect([answer.status, answer.stored, answer.failed.length]).toEqual([409, [], 1]);
    });
  });

  describe('sloppy senders', () => {
    const made = (): MadeInstance => makeInstance({ rows: 8, columns: 8 });
    const typed = (contentType: string) => ({ 'content-type': contentType });

    it.each([
      'multipart/related; type=application/dicom; boundary=b',
      'multipart/related; boundary=b',
      'multipart/related; boundary="b"; type="application/dicom; transfer-syntax=*"',
      'Multipart/Related;TYPE="Application/DICOM";BOUNDARY=b',
      'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50; boundary=b',
    ])('may write %s', async (contentType) => {
      const one = made();
      const response = await post(service, '/studies', multipartOf([one.file]), typed(contentType));
      expect((await answerOf(response)).stored).toEqual([storedItem(one)]);
      await expectStored(one);
    });

    it.each<[string, (file: Uint8Array) => Uint8Array]>([
      [
        'a program in the preamble',
        (file) => Buffer.concat([Buffer.from('MZ'.padEnd(128, '\x90'), 'latin1'), file.subarray(128)]),
      ],
      ['no preamble', (file) => file.subarray(128)],
      ['neither preamble nor prefix', (file) => file.subarray(132)],
      ['a preamble without prefix', (file) => Buffer.concat([file.subarray(0, 128), file.subarray(132)])],
    ])('may send a file with %s', async (_, change) => {
      const one = made();
      expect((await store([change(one.file)])).stored).toEqual([storedItem(one)]);
      await expectStored(one);
    });

    it.each(['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2'])(
      'may send a bare data set in %s',
      async (transferSyntaxUid) => {
        const one = makeInstance({ transferSyntaxUid });
        expect((await store([one.dataSet])).stored).toEqual([storedItem(one)]);
        await expectStored(one);
      },
    );

    it('may say in the media type how the pixels of a bare data set are compressed', async () => {
      const one = makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.5' });
      const headers = { 'Content-Type': 'application/dicom; transfer-syntax=1.2.840.10008.1.2.5' };
      expect((await store([{ headers, body: one.dataSet }])).stored).toEqual([storedItem(one)]);
      await expectStored(one);
    });

    it('may end lines with line feeds alone, and parts without saying their type or with a wrong length', async () => {
      const [one, two] = [made(), made()];
      const body = multipartOf(
        [
          { headers: {}, body: one.file },
          { headers: { 'Content-Length': '3' }, body: two.file },
        ],
        '--b--',
        '\n',
      );
      expect((await answerOf(await post(service, '/studies', body))).stored).toEqual([one, two].map(storedItem));
      for (const each of [one, two]) await expectStored(each);
    });

    it.each(['1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99'])(
      'may name another instance in File Meta: the data set counts (%s)',
      async (transferSyntaxUid) => {
        const [one, other] = [makeInstance({ transferSyntaxUid }), makeInstance({ transferSyntaxUid })];
        const meta = other.file.subarray(0, other.dataSetOffsetBytes);
        expect((await store([Buffer.concat([meta, one.dataSet])])).stored).toEqual([storedItem(one)]);
        await expectStored(one);
      },
    );

    it('may leave patient and study away, and hears what stands for the study', async () => {
      const one = makeInstance({ without: [0x00100010, 0x00100020, 0x0020000d, 0x0020000e] });
      const answer = await store([one.file]);
      expect(answer).toMatchObject({ status: 200, failed: [] });
      expect(answer.warning).toContain('no Study Instance UID');
      // To send it again does no harm either.
      expect(await store([one.file])).toMatchObject({ status: 200, stored: answer.stored });
    });

    it.each<[string, InstanceOptions]>([
      ['no value for Patient ID, which may be empty (dicom-server#3235, DICOMcloud#108)', { patientId: '' }],
      [
        'dates, codes and numbers that are none (dicom-server: the reason for its v2)',
        {
          extra: [
            { tag: 0x00080020, vr: 'DA', value: '2024-01-31' },
            { tag: 0x00080030, vr: 'TM', value: 'about noon' },
            { tag: 0x00080060, vr: 'CS', value: 'computed tomography, more or less' },
            { tag: 0x00100010, vr: 'PN', value: 'A^B^C^D^E^F^G' },
            { tag: 0x00200013, vr: 'IS', value: 'one' },
          ],
        },
      ],
      [
        'text that is padded with spaces and NULs',
        {
          extra: [
            { tag: 0x00100020, vr: 'LO', value: ' P1 \0\0' },
            { tag: 0x00080060, vr: 'CS', value: 'CT\0\0' },
          ],
        },
      ],
      [
        'attributes left out that its SOP Class demands (Type 1)',
        { without: [0x00080008, 0x00080060, 0x00200010, 0x00280010, 0x00280100, 0x00200013] },
      ],
      ['a private SOP Class', { sopClassUid: '1.2.826.0.1.3680043.10.1462.77', pixels: 'none' }],
    ])('may send %s', async (_, options) => {
      const one = makeInstance(options);
      expect(await store([one.file])).toMatchObject({ status: 200, stored: [storedItem(one)], failed: [] });
      await expectStored(one);
    });

    it.each(['\0', ' ', '\0\0 '])('may pad UIDs with %j, and finds them without', async (padding) => {
      const one = made();
      const padded = makeInstance({
        rows: 8,
        columns: 8,
        studyInstanceUid: one.ref.studyInstanceUid + padding,
        seriesInstanceUid: one.ref.seriesInstanceUid + padding,
        sopInstanceUid: one.ref.sopInstanceUid + padding,
      });
      expect((await store([padded.file], `/studies/${one.ref.studyInstanceUid}`)).stored).toEqual([storedItem(one)]);
      expect(await at.archive.index.getInstance(TENANT, one.ref)).toMatchObject({ digest: padded.digest });
    });

    it('hears in a Warning what is wrong with what is stored as it is, and no patient in it', async () => {
      const one = makeInstance({ patientName: 'Doe^Jane', pixels: 'none' });
      const cut = Buffer.from(one.file.subarray(0, -1));
      const response = await post(service, '/studies', multipartOf([cut]));
      const answer = await answerOf(response);
      expect(answer).toMatchObject({ status: 200, stored: [storedItem(one)] });
      expect(answer.warning).toContain('Stored as it is: ');
      expect(answer.warning).not.toContain('Doe');
    });
  });
});

describe('storing at a gateway', () => {
  it('of what C-STORE has brought is a duplicate too, and the other way round', async () => {
    await using at = await storingPlaces[0]!.start();
    const receiver = at.receiver as InstanceReceiver;
    const [one, two] = [makeInstance(), makeInstance()];
    await send(receiver, one);
    await post(at.service(), '/studies', multipartOf([one.file, two.file]));
    expect((await send(receiver, two)).kind).toBe('duplicate');
    for (const { ref } of [one, two]) expect(await at.archive.index.getVersions(TENANT, ref)).toHaveLength(1);
  });
});
