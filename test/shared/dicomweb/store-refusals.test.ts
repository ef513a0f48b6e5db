/**
 * What STOW-RS refuses, and how it says so: parts that are no instances, bodies that break off, requests that are none, and a
 * disk that is full. What was complete before is stored all the same.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchReceiver, InstanceBatch, InstanceReceiver, Outcome } from '#shared/archive/outcome.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { CT_IMAGE_STORAGE, makeInstance } from '#test/support/dicom-factory.ts';
import { TENANT } from '../../edge-gateway/cache/receiving.ts';
import { ask, problemOf } from './ask.ts';
import {
  answerOf,
  failedItem,
  multipartDicom,
  multipartOf,
  post,
  type StoreAnswer,
  storedItem,
  streamOf,
} from './storing.ts';
import { type StoringPlace, serviceOver, storingPlaces } from './storing-places.ts';

describe.each(storingPlaces)('at $place:', ({ start, startFull }) => {
  let at: StoringPlace;
  let service: Service;
  beforeAll(async () => {
    at = await start();
    service = at.service();
  });
  afterAll(() => at[Symbol.asyncDispose]());

  const store = async (parts: Parameters<typeof multipartOf>[0]): Promise<StoreAnswer> =>
    answerOf(await post(service, '/studies', multipartOf(parts)));

  describe('a part that is no instance', () => {
    it.each<[string, Record<string, string>, number]>([
      ['of another type', { 'Content-Type': 'image/jpeg' }, 415],
      ['that is a multipart body itself', { 'Content-Type': 'multipart/mixed; boundary=c' }, 415],
      ['in Base64', { 'Content-Type': 'application/dicom', 'Content-Transfer-Encoding': 'base64' }, 415],
      ['that is compressed', { 'Content-Type': 'application/dicom', 'Content-Encoding': 'gzip' }, 415],
    ])('%s is refused with a reason, the others are stored', async (_, headers, status) => {
      const made = makeInstance();
      const part = { headers, body: made.file };
      expect(await store([part])).toMatchObject({ status, stored: [], failed: [], unknown: [0xc000] });
      const other = makeInstance();
      const answer = await store([part, other.file]);
      expect(answer).toMatchObject({ status: 202, stored: [storedItem(other)], unknown: [0xc000] });
      expect(answer.warning).toMatch(/^299 \S+ ".*\."$/);
    });

    it.each<[string, Uint8Array]>([
      ['nothing', new Uint8Array()],
      ['text', Buffer.from('{"not": "DICOM"}'.repeat(50))],
      ['File Meta alone', makeInstance().file.subarray(0, makeInstance().dataSetOffsetBytes)],
      [
        'endless File Meta',
        Buffer.concat([
          Buffer.alloc(128),
          Buffer.from('DICM'),
          Buffer.alloc(2_000_000, Buffer.from([2, 0, 2, 0, 0x55, 0x49, 0, 0])),
        ]),
      ],
    ])('but %s is 400 if nothing else was sent, and does not keep others away', async (_, body) => {
      const alone = await store([body]);
      expect([alone.status, alone.stored]).toEqual([400, []]);
      const made = makeInstance();
      expect(await store([body, made.file])).toMatchObject({ status: 202, stored: [storedItem(made)] });
    });

    it('without a SOP Instance UID is refused under what is known of it', async () => {
      const made = makeInstance({ without: [0x00080018] });
      const answer = await store([made.dataSet]);
      expect(answer).toMatchObject({ status: 400, failed: [[CT_IMAGE_STORAGE, undefined, 0xc000]] });
    });

    it('whose UID is longer than File Meta can say is refused, and those behind it are stored', async () => {
      const transferSyntaxUid = '1.2.840.10008.1.2'; // of implicit VR: a UID in it may have any length
      const made = makeInstance({ transferSyntaxUid, sopInstanceUid: '1'.repeat(70_000) });
      const other = makeInstance();
      at.log.length = 0;
      const answer = await store([
        { headers: { 'Content-Type': 'application/dicom' }, body: made.dataSet },
        other.file,
      ]);
      expect(answer).toMatchObject({ status: 202, stored: [storedItem(other)] });
      expect(answer.failed.length + answer.unknown.length).toBe(1);
      // What a sender puts in place of a UID does not fill the log.
      expect(JSON.stringify(at.log).length).toBeLessThan(5_000);
    });

    it('that names a transfer syntax with more than a UID is refused', async () => {
      const made = makeInstance({ transferSyntaxUid: 'Doe^John' });
      expect(await store([made.file])).toMatchObject({ status: 409, failed: [failedItem(made, 0xc122)] });
    });
  });

  describe('a body that breaks off', () => {
    it('keeps what was complete, refuses the rest, and is 202', async () => {
      const [one, two] = [makeInstance(), makeInstance()];
      const whole = multipartOf([one.file, two.file]);
      const answer = await answerOf(await post(service, '/studies', whole.subarray(0, -'\r\n--b--\r\n'.length)));
      expect(answer).toMatchObject({ status: 202, stored: [storedItem(one)], failed: [failedItem(two, 0xc000)] });
      expect(answer.warning).toContain('ends within a part');
      await at.settled();
      expect(await at.archive.index.getInstance(TENANT, two.ref)).toBeUndefined();
      expect(await at.archive.index.getInstance(TENANT, one.ref)).toMatchObject({ digest: one.digest });
    });

    it('is 400 where nothing was complete', async () => {
      const made = makeInstance();
      const response = await post(service, '/studies', multipartOf([made.file]).subarray(0, -20));
      expect(await answerOf(response)).toMatchObject({ status: 400, failed: [failedItem(made, 0xc000)] });
    });

    it('in the middle of an instance because the sender has gone leaves nothing of it', async () => {
      const made = makeInstance({ rows: 64, columns: 64 });
      let pulls = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (pulls++ === 0) controller.enqueue(multipartOf([made.file]).subarray(0, 4000));
          else controller.error(new Error('reset'));
        },
      });
      expect((await post(service, '/studies', body)).status).toBe(400);
      expect(at.isIdle()).toBe(true);
    });

    it('at a part too many says so, and keeps those before', async () => {
      const few = at.service({ maximumStoreParts: 2 });
      const made = [makeInstance(), makeInstance(), makeInstance()];
      const answer = await answerOf(await post(few, '/studies', multipartOf(made.map(({ file }) => file))));
      expect(answer).toMatchObject({ status: 202, stored: made.slice(0, 2).map(storedItem), unknown: [0xc000] });
      expect(answer.warning).toContain('2 parts');
    });
  });

  describe('whatever is done to a body', () => {
    const whole = multipartOf([makeInstance().file, makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.5' }).file]);
    const json = Buffer.from(
      whole.toString('latin1').replaceAll('application/dicom', 'application/dicom+json; charset=utf-8'),
      'latin1',
    );
    const change = fc.record({
      at: fc.nat({ max: whole.length }),
      removed: fc.oneof(fc.constant(0), fc.nat({ max: 5 }), fc.nat({ max: 2000 })),
      added: fc.oneof(
        fc.uint8Array({ maxLength: 6 }),
        fc.constant(Buffer.from('\r\n--b\r\n')),
        fc.constant(Buffer.from('--b--')),
      ),
    });

    it('the answer is definite and nothing is left half received', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(whole, json),
          fc.array(change, { minLength: 1, maxLength: 4 }),
          fc.integer({ min: 1, max: 3000 }),
          async (original, changes, chunkBytes) => {
            let body = original;
            for (const { at: from, removed, added } of changes)
              body = Buffer.concat([body.subarray(0, from), added, body.subarray(from + removed)]);
            const type = original === json ? 'application/dicom+json' : 'application/dicom';
            const headers = { 'content-type': `multipart/related; type="${type}"; boundary=b` };
            const response = await post(service, '/studies', streamOf(body, chunkBytes), headers);
            expect([200, 202, 400, 409, 413, 415]).toContain(response.status);
            expect((await response.text()).length).toBeGreaterThan(2);
            expect(at.isIdle()).toBe(true);
          },
        ),
        { numRuns: 300 },
      );
      expect(at.log.filter(({ level }) => level >= 50)).toEqual([]);
    });
  });

  describe('more requests than a hospital sends at once', () => {
    it('are told to come again, and find room when others have ended', async () => {
      const made = makeInstance();
      const ends: (() => void)[] = [];
      const stalled = Array.from({ length: 64 }, () => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => void ends.push(() => controller.close()),
        });
        return post(service, '/studies', body);
      });
      const response = await post(service, '/studies', multipartOf([made.file]));
      expect([response.status, response.headers.has('retry-after')]).toEqual([503, true]);
      for (const end of ends) end();
      for (const one of await Promise.all(stalled)) expect(one.status).toBe(400);
      expect((await store([made.file])).status).toBe(200);
    });
  });

  describe('a request that is no request to store', () => {
    it.each([
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=b',
      'text/plain; multipart/related; type="application/dicom"; boundary=b',
      'text/plain, multipart/related; type="application/dicom"; boundary=b',
      'multipart/mixed; boundary=b',
      'multipart/related; type="application/zip"; boundary=b',
      'application/octet-stream',
      'multipart',
    ])('is 415, so that no page may send it unasked: %s', async (contentType) => {
      const response = await post(service, '/studies', multipartOf([makeInstance().file]), {
        'content-type': contentType,
      });
      expect([response.status, (await problemOf(response)).code]).toEqual([415, 'unsupported-media-type']);
    });

    it('is 415 without a Content-Type, which needs no leave of the archive either', async () => {
      const response = await post(service, '/studies', multipartOf([makeInstance().file]), {});
      expect(response.status).toBe(415);
    });

    it('is 415 with a Content-Encoding', async () => {
      const headers = { 'content-type': multipartDicom, 'content-encoding': 'gzip' };
      expect((await post(service, '/studies', multipartOf([makeInstance().file]), headers)).status).toBe(415);
    });

    it.each<[string, string, Uint8Array | undefined]>([
      ['without a boundary', 'multipart/related; type="application/dicom"', multipartOf([makeInstance().file])],
      [
        'with another boundary',
        'multipart/related; type="application/dicom"; boundary=c',
        multipartOf([makeInstance().file]),
      ],
      [
        'with too long a boundary',
        `multipart/related; type="application/dicom"; boundary=${'b'.repeat(257)}`,
        multipartOf([]),
      ],
      ['without parts', multipartDicom, Buffer.from('--b--\r\n')],
      ['without a body', multipartDicom, undefined],
    ])('is 400 %s', async (_, contentType, body) => {
      const response = await post(service, '/studies', body, { 'content-type': contentType });
      expect([response.status, (await problemOf(response)).detail]).toEqual([400, expect.stringMatching(/\.$/)]);
    });

    it('is 405 for other resources, which say so, and everywhere without a receiver', async () => {
      const made = makeInstance();
      for (const path of ['/series', '/instances', `/studies/1.2/series/1.3`, `/studies/1.2/metadata`]) {
        const response = await post(service, path, multipartOf([made.file]));
        expect([path, response.status, response.headers.get('allow')]).toEqual([path, 405, 'GET, HEAD, OPTIONS']);
      }
      for (const parts of [['search', 'retrieve', 'render'], ['store']] as const) {
        const one = parts[0] === 'store' ? at.service({ parts }) : serviceOver(at.archive, { parts });
        expect((await ask(one, '/studies', {}, 'OPTIONS')).headers.get('allow')).toBe(
          parts[0] === 'store' ? 'GET, HEAD, POST, OPTIONS' : 'GET, HEAD, OPTIONS',
        );
      }
    });

    it('is not let through a preflight but for pages that are named', async () => {
      const viewer = 'https://viewer.example';
      const asked = {
        origin: viewer,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type',
      };
      const refused = await ask(service, '/studies', asked, 'OPTIONS');
      expect([refused.headers.get('allow'), refused.headers.get('access-control-allow-origin')]).toEqual([
        'GET, HEAD, POST, OPTIONS',
        null,
      ]);
      const named = await ask(at.service({ allowedOrigins: [viewer] }), '/studies/1.2', asked, 'OPTIONS');
      expect(named.headers.get('access-control-allow-methods')).toBe('GET, HEAD, POST, OPTIONS');
      expect(named.headers.get('access-control-allow-headers')).toContain('Content-Type');
    });
  });

  describe('a receiver that has no room', () => {
    it('makes it 503 with Retry-After where nothing was stored', async () => {
      await using full = await startFull();
      const made = makeInstance();
      const response = await post(full.service(), '/studies', multipartOf([made.file, Buffer.from('garbage')]));
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, expect.stringMatching(/^\d+$/)]);
      expect(await answerOf(response)).toMatchObject({ failed: [failedItem(made, 0xa700)] });
    });

    /** The disk is full behind the first instance. */
    function filling(receiver: InstanceReceiver): InstanceReceiver {
      const noRoom: Outcome = { kind: 'refused', code: 'out-of-resources', reason: 'The disk is nearly full.' };
      let isFull = false;
      return {
        begin(incoming) {
          const sink = receiver.begin(incoming);
          const commit = isFull ? async () => noRoom : () => sink.commit();
          if (isFull) sink.abort();
          isFull = true;
          return { write: (bytes) => sink.write(bytes), commit, abort: () => sink.abort() };
        },
      };
    }

    it('makes it 202 where something was', async () => {
      const { receiver } = at;
      const batch = (tenant: string): InstanceBatch => {
        const inner = (receiver as BatchReceiver).batch(tenant);
        return { ...filling(inner), end: () => inner.end() };
      };
      const full = at.service({ receiver: 'batch' in receiver ? { batch } : filling(receiver) });
      const made = [makeInstance(), makeInstance()];
      const answer = await answerOf(await post(full, '/studies', multipartOf(made.map(({ file }) => file))));
      expect(answer).toMatchObject({
        status: 202,
        stored: [storedItem(made[0]!)],
        failed: [failedItem(made[1]!, 0xa700)],
      });
    });
  });
});
