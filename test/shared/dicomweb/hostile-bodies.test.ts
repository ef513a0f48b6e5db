/**
 * Hostile bodies over a real socket, to a gateway's receiver and to the cloud's: multipart, JSON, XML and DICOM that are meant to hurt. Each has a
 * definite answer, memory stays flat, others are served all the while, and nothing is left half received. Header fields and paths are
 * hostile.test.ts.
 */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { constants, deflateRawSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import { silentLogger } from '#shared/log.ts';
import { CT_IMAGE_STORAGE, freshUid, joinBytes, makeInstance } from '#test/support/dicom-factory.ts';
import { besideOthers, exchange, type RawAnswer } from './raw-http.ts';
import { multipartOf, urlOf } from './storing.ts';
import { dataSetAt, type StoringPlace, storingPlaces } from './storing-places.ts';

const MIB = 1024 * 1024;
/** Metadata of 8 MiB take some ten times of it as objects, for a moment. */
const MOST_GROWTH_MIB = 300;

const related = (type: string): string => `multipart/related; type="${type}"; boundary=b`;
const DICOM = related('application/dicom');
const JSON_TYPE = related('application/dicom+json');
const XML_TYPE = related('application/dicom+xml');

/** A request with its body, and a length that may be a lie. */
async function* request(
  type: string,
  body: string | Uint8Array | Iterable<string | Uint8Array>,
  fields = 'Transfer-Encoding: chunked\r\n',
): AsyncGenerator<string | Uint8Array> {
  yield `POST /dicomweb/studies HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n${fields}\r\n`;
  const isChunked = fields.includes('chunked');
  for (const piece of typeof body === 'string' || body instanceof Uint8Array ? [body] : body) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece;
    yield isChunked ? joinBytes([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]) : bytes;
  }
  if (isChunked) yield '0\r\n\r\n';
}

function* times(count: number, piece: string | Uint8Array): Generator<string | Uint8Array> {
  for (let i = 0; i < count; i++) yield piece;
}

const part = (type: string, body: string, more = ''): string =>
  `--b\r\nContent-Type: ${type}\r\n${more}\r\n${body}\r\n--b--\r\n`;
const json = (body: string): string => part('application/dicom+json', body);
const model = (body: string): string => part('application/dicom+xml', `<NativeDicomModel>${body}</NativeDicomModel>`);
const attribute = (body: string): string => `<DicomAttribute tag="0040A730" vr="SQ">${body}</DicomAttribute>`;

const uids = (): string =>
  Object.entries({
    '00080016': CT_IMAGE_STORAGE,
    '00080018': freshUid(),
    '0020000D': freshUid(),
    '0020000E': freshUid(),
  })
    .map(([tag, uid]) => `"${tag}":{"vr":"UI","Value":["${uid}"]}`)
    .join(',');
const deepArrays = (count: number): string => `${'['.repeat(count)}${']'.repeat(count)}`;
const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join('');

/** A deflate stream of one piece of zeros again and again: a kilobyte for each mebibyte. */
function deflateBomb(head: Uint8Array, mebibytes: number): Uint8Array[] {
  const flushed = { finishFlush: constants.Z_FULL_FLUSH };
  const zeros = deflateRawSync(Buffer.alloc(MIB), flushed);
  return [
    deflateRawSync(head, flushed),
    ...(times(mebibytes, zeros) as Iterable<Uint8Array>),
    deflateRawSync(Buffer.alloc(0)),
  ];
}

/** A host over a place where instances are stored, for the tests of one group. */
function hosted(start: (typeof storingPlaces)[number]['start']) {
  const site = {} as { at: StoringPlace; host: HttpHost };
  beforeAll(async () => {
    site.at = await start();
    const service = site.at.service();
    site.host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger, bodyCheckMs: 300 });
  });
  afterAll(async () => {
    await site.host?.close(0);
    await site.at?.[Symbol.asyncDispose]();
  });
  /** Answers what it was answered; memory that grows, and others who are not served, fail the test. */
  const attack = async (chunks: AsyncIterable<string | Uint8Array>, endsAfter = false): Promise<RawAnswer> => {
    const { port } = site.host;
    const { result, cost } = await besideOthers(port, () => exchange(port, chunks, endsAfter));
    expect(cost.grownMiB).toBeLessThan(MOST_GROWTH_MIB);
    expect(cost.served).toBeGreaterThan(0);
    return result;
  };
  return { site, attack };
}

describe('a hostile body', () => {
  const { site, attack } = hosted(storingPlaces[0]!.start);

  it.each<[string, number[], () => AsyncIterable<string | Uint8Array>]>([
    ['without a boundary in it', [400], () => request(DICOM, times(1000, 'x'.repeat(1000)))],
    ['without its last boundary', [400], () => request(DICOM, `--b\r\nContent-Type: application/dicom\r\n\r\nabc`)],
    ['of multipart in multipart', [400, 415], () => request(DICOM, part('multipart/related; boundary=c', '--c\r\n\r\nx\r\n--c--'))],
    ['of a million tiny parts', [400, 415], () => request(DICOM, times(2000, '--b\r\n\r\nx\r\n'.repeat(500)))],
    ['of header fields without end', [400], () => request(DICOM, ['--b\r\n', ...times(1000, 'X: y\r\n'.repeat(100))])],
    ['of one header field without end', [400], () => request(DICOM, ['--b\r\nX: ', ...times(100, 'x'.repeat(1000))])],
    ['of a boundary without end', [400], () => request(`multipart/related; type="application/dicom"; boundary=${'b'.repeat(10_000)}`, '--b')],
    ['of an empty boundary', [400], () => request('multipart/related; type="application/dicom"; boundary=""', '----')],
    ['of a type without end', [415], () => request(`multipart/related; type="${'a/b;'.repeat(5000)}"; boundary=b`, '--b--')],
    ['that is a form', [415], () => request('multipart/form-data; boundary=b', part('application/dicom', 'x'))],
    ['that is text', [415], () => request('text/plain', '[{}]')],
    ['that is compressed', [415], () => request('application/dicom', gzipSync(Buffer.alloc(MIB)), 'Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n')],
    ['that is ZIP', [400, 415], () => request('application/zip', 'PK\x03\x04')],
    ['of ZIP called DICOM', [400], () => request('application/dicom', `PK\x03\x04${'\0'.repeat(1000)}`)],
    ['of nothing', [400], () => request('application/dicom', [])],
    ['of 64 MiB of zeros', [400], () => request('application/dicom', times(64, new Uint8Array(MIB)))],
    ['of JSON 100,000 deep', [400], () => request(JSON_TYPE, json(deepArrays(100_000)))],
    ['of JSON with items 5,000 deep', [400], () => request(JSON_TYPE, json(`[{${uids()},${'"0040A730":{"vr":"SQ","Value":[{'.repeat(5000)}${'}]}'.repeat(5000)}}]`))],
    ['of JSON with a million values', [413], () => request(JSON_TYPE, json(`[{${uids()},"00080008":{"vr":"CS","Value":[${'1,'.repeat(1_200_000)}1]}}]`))],
    ['of JSON with a prototype', [400], () => request(JSON_TYPE, json(`[{${uids()},"__proto__":{"vr":"LO","Value":["x"]},"constructor":{}}]`))],
    ['of JSON with numbers without end', [400], () => request(JSON_TYPE, json(`[{${uids()},"00280010":{"vr":"US","Value":[${'9'.repeat(1000)}]}}]`))],
    ['of JSON with 1e999', [400], () => request(JSON_TYPE, json(`[{${uids()},"00280010":{"vr":"UV","Value":[1e999]}}]`))],
    ['of JSON that names files', [400], () => request(JSON_TYPE, json(`[{${uids()},"00420011":{"vr":"OB","BulkDataURI":"file:///etc/passwd"}}]`))],
    ['of JSON that names another host', [400], () => request(JSON_TYPE, json(`[{${uids()},"00420011":{"vr":"OB","BulkDataURI":"http://169.254.169.254/latest/"}}]`))],
    ['of a billion laughs', [400], () => request(XML_TYPE, part('application/dicom+xml', `<!DOCTYPE x [<!ENTITY l0 "l">${laughs}]><NativeDicomModel>&l9;</NativeDicomModel>`))],
    ['of XML that names files', [400], () => request(XML_TYPE, part('application/dicom+xml', '<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>'))],
    ['of XML 50,000 deep', [400], () => request(XML_TYPE, model(`${'<DicomAttribute tag="0040A730" vr="SQ"><Item>'.repeat(50_000)}`))],
    ['of XML with 260,000 items', [400, 413], () => request(XML_TYPE, model(attribute('<Item/>'.repeat(260_000))))],
    ['of XML with number 999999999', [400], () => request(XML_TYPE, model('<DicomAttribute tag="00080008" vr="CS"><Value number="999999999">x</Value></DicomAttribute>'))],
    ['of XML with 100,000 XML attributes', [400], () => request(XML_TYPE, part('application/dicom+xml', `<NativeDicomModel ${Array.from({ length: 100_000 }, (_, i) => `a${i}=""`).join(' ')}/>`))],
    ['of XML in UTF-16', [400], () => request(XML_TYPE, part('application/dicom+xml', Buffer.from('\ufeff<NativeDicomModel/>', 'utf16le').toString('latin1')))],
    ['of XML that is too long', [413], () => request(XML_TYPE, ['--b\r\nContent-Type: application/dicom+xml\r\n\r\n<NativeDicomModel><!--', ...times(20, ' '.repeat(MIB))])],
  ])('%s is refused, with a sentence', async (_, statuses, chunks) => {
    const answer = await attack(chunks());
    expect(statuses, answer.body.slice(0, 300)).toContain(answer.status);
    if (answer.type === 'application/problem+json') {
      expect((JSON.parse(answer.body) as { detail: string }).detail).toMatch(/^[A-Z].{20,}\.$/);
      expect(answer.body).not.toMatch(/node_modules|\/tmp\/|at \w+ \(/);
    } else expect(answer.head).toMatch(/\r\nwarning: 299 .*"[A-Z].{20,}"/i);
    await site.at.settled();
    expect(site.at.isIdle()).toBe(true);
  }); // biome-ignore format: a table
});

describe.each(storingPlaces)('a hostile body at $place', ({ place, start }) => {
  const { site, attack } = hosted(start);

  it.each<[string, string]>([
    ['that is shorter than its 8 GB (CVE-2026-5440)', 'Content-Length: 8589934592\r\n'],
    ['that is shorter than its chunk', 'X: y\r\nTransfer-encoding:  chunked\r\n'],
  ])('%s takes no memory, and is answered or cut', async (_, fields) => {
    const body = multipartOf([makeInstance().file], '').subarray(0, -10);
    const chunks = request(DICOM, body, fields.includes('chunked') ? 'X: y\r\n' : fields);
    const { status } = await attack(chunks, true);
    expect([0, 400]).toContain(status);
    await site.at.settled();
  });

  it('that trickles is cut, and what came of it is not stored', async () => {
    const made = makeInstance({ rows: 64, columns: 64 });
    async function* slowly(): AsyncGenerator<string | Uint8Array> {
      const body = multipartOf([made.file]);
      yield `POST /dicomweb/studies HTTP/1.1\r\nHost: a\r\nContent-Type: ${DICOM}\r\nContent-Length: ${body.length}\r\n\r\n`;
      for (const byte of body) {
        yield Uint8Array.of(byte);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    expect([0, 400]).toContain((await attack(slowly())).status);
    await site.at.settled();
    expect(await dataSetAt(site.at, made.ref)).toBeUndefined();
    expect(site.at.isIdle()).toBe(true);
  });

  it('of deflated zeros, 512 MiB of them, is stored or refused without being inflated into memory (fo-dicom#2165, io-dicom#35)', async () => {
    const made = makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.1.99', pixels: 'none' });
    const plain = makeInstance({ pixels: 'none', sopInstanceUid: made.ref.sopInstanceUid });
    const header = Buffer.from([0xe0, 0x7f, 0x10, 0x00, 0x4f, 0x57, 0, 0, 0, 0, 0, 0x20]);
    const head = Buffer.concat([plain.dataSet, header]);
    const file = [made.file.subarray(0, made.dataSetOffsetBytes), ...deflateBomb(head, 512)];
    const answer = await attack(request('application/dicom', file));
    expect(answer.status).toBeGreaterThanOrEqual(200);
    expect(answer.status, answer.body).toBeLessThan(500);
    const path = new URL(urlOf(plain)).pathname;
    // What is stored is read the same way in both.
    const asked = place === 'the cloud' ? ['/metadata'] : ['/metadata', '/frames/1', '/rendered', ''];
    for (const what of asked) {
      const answer = await attack(
        (async function* () {
          yield `GET ${path}${what} HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n`;
        })(),
      );
      expect(answer.status, `${what} ${answer.body.slice(0, 300)}`).not.toBe(500);
    }
  });

  const preambles: [string, Buffer][] = Object.entries({
    PE: 'MZ\x90\x00\x03',
    ELF: '\x7fELF\x02\x01\x01',
    'Mach-O': '\xcf\xfa\xed\xfe',
    'a shell script': '#!/bin/sh\nexec id\n',
    JSON: '{"Plugins":["/tmp/x.so"],"x":"',
    ZIP: 'PK\x03\x04\x14\x00',
    HTML: '<html><script>alert(1)</script><!--',
    PDF: '%PDF-1.7\n1 0 obj\n',
  }).map(([name, magic]) => [name, Buffer.concat([Buffer.from(magic, 'latin1'), Buffer.alloc(128)]).subarray(0, 128)]);
  it.each(preambles)(
    'that begins as %s is stored without that, and its data set as it came (CVE-2019-11687, CVE-2023-33466)',
    async (_, preamble) => {
      const made = makeInstance();
      const file = Buffer.concat([preamble, made.file.subarray(128)]);
      expect((await attack(request(DICOM, multipartOf([file])))).status).toBe(200);
      const path = new URL(urlOf(made)).pathname;
      const answer = await exchange(
        site.host.port,
        `GET ${path} HTTP/1.1\r\nHost: a\r\nAccept: application/dicom; transfer-syntax=*\r\n\r\n`,
      );
      const bytes = Buffer.from(answer.body, 'latin1');
      expect(answer.head).toMatch(/\r\ncontent-type: application\/dicom/i);
      expect(answer.head).toMatch(/\r\nx-content-type-options: nosniff/i);
      const start = bytes.indexOf('DICM', 0, 'latin1') - 128;
      expect(bytes.subarray(start, start + 128).equals(Buffer.alloc(128))).toBe(true);
      expect(bytes.includes(Buffer.from(made.dataSet))).toBe(true);
    },
  );

  it.each(['../../../../tmp/archipel-pwned', '/etc/archipel-pwned', '..\\..\\pwned', 'a\0b', 'CON', '1.2/../../x', 'é', '9'.repeat(300)])(
    'with the UID %j makes no file of that name anywhere (io-dicom#55, DICOMHawk#114)',
    async (uid) => {
      const around = (): string[] => readdirSync(tmpdir()).filter((name) => /pwned/.test(name));
      const made = makeInstance({ studyInstanceUid: uid, seriesInstanceUid: uid, sopInstanceUid: `${freshUid()}${uid.length > 100 ? '' : uid}` });
      const answer = await attack(request(DICOM, multipartOf([made.file])));
      expect(answer.status).toBeLessThan(500);
      expect(around()).toEqual([]);
      await site.at.settled();
    },
  ); // biome-ignore format: a list reads better

  it('in many pieces at once leaves room for others', async () => {
    const bodies = Array.from({ length: 40 }, (_, i) =>
      exchange(
        site.host.port,
        request(
          i % 2 === 0 ? JSON_TYPE : XML_TYPE,
          times(200, '--b\r\nContent-Type: application/dicom+xml\r\n\r\n<NativeDicomModel>'),
        ),
      ),
    );
    const answers = await Promise.all(bodies);
    for (const { status } of answers) expect([400, 413, 503]).toContain(status);
    const good = makeInstance();
    expect((await attack(request(DICOM, multipartOf([good.file])))).status).toBe(200);
    expect(await dataSetAt(site.at, good.ref)).toEqual(Buffer.from(good.dataSet));
  });
});
