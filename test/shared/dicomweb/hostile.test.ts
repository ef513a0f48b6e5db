/**
 * Hostile requests over a real socket: request lines, paths, queries and header fields that are meant to hurt. Each is answered, with 4xx
 * and a sentence where it asks for what cannot be; memory stays flat, and others are served all the while. Bodies are
 * hostile-bodies.test.ts.
 */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import { silentLogger } from '#shared/log.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { besideOthers, exchange, type RawAnswer } from './raw-http.ts';
import { post } from './storing.ts';
import { type StoringPlace, storingPlaces } from './storing-places.ts';

/** Generous: what the process does beside the attack counts as well. */
const MOST_GROWTH_MIB = 200;

let at: StoringPlace;
let host: HttpHost;
let made: MadeInstance;
let series: string;
let instance: string;
beforeAll(async () => {
  at = await storingPlaces[0]!.start();
  const service = at.service();
  host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
  made = makeInstance({ patientName: `${'a'.repeat(60)}^b`, rows: 16, columns: 16, frames: 3 });
  await post(service, '/studies', made.file, { 'content-type': 'application/dicom' });
  series = `/dicomweb/studies/${made.ref.studyInstanceUid}/series/${made.ref.seriesInstanceUid}`;
  instance = `${series}/instances/${made.ref.sopInstanceUid}`;
});
afterAll(async () => {
  await host?.close(0);
  await at?.[Symbol.asyncDispose]();
});

const get = (target: string, fields = ''): Promise<RawAnswer> =>
  exchange(host.port, `GET ${target} HTTP/1.1\r\nHost: archive.example\r\n${fields}\r\n`);

/** A problem with a sentence, and nothing of this machine in it. */
function expectRefusal({ status, type, body, head }: RawAnswer): void {
  expect(status, head).toBeGreaterThanOrEqual(400);
  expect(status, body).toBeLessThan(500);
  expect(type).toBe('application/problem+json');
  const problem = JSON.parse(body) as { status: number; detail: string };
  expect(problem.status).toBe(status);
  expect(problem.detail).toMatch(/^[A-Z].{20,}[.;]?.*$/s);
  expect(body).not.toMatch(/root:|node_modules|\/tmp\/|at \w+ \(/);
}

/** In the place of a UID; all that a router, a file system or JavaScript could take for something else. */
const noUids = [
  ...['..', '.', '%2e%2e', '%2E.', '%252e%252e', '..%2f..%2fetc%2fpasswd', '%2fetc%2fpasswd', '..%5c..%5cwindows'],
  ...['%c0%ae%c0%ae', '%ff%fe', '%', '%zz', '%u002e', '1.2%00', '%00', '1.2%0d%0aX-Injected:%20yes', '1.2%0a', '%7f'],
  ...['1'.repeat(65), '1.'.repeat(150), 'a'.repeat(300), '1.2%20', '%20', '1..2', '.1', '1.', '-1', '1.2*', '%2a', '%3f'],
  ...['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'CON', 'NUL.zip', '%E2%80%AE1.2', '%EF%BC%91.2', '1.2;x=y'],
  ...["1'%20OR%20'1'='1", '1.2%22', '%3Cscript%3E', '$%7B7*7%7D', '%7B%7B7*7%7D%7D', '~', '1.2%2F..', '1%2c2', '0x10'],
]; // biome-ignore format: a list

describe('a path with what is no UID', () => {
  const places: readonly [string, (text: string) => string][] = [
    ['a study', (text) => `/dicomweb/studies/${text}`],
    ['a study’s metadata', (text) => `/dicomweb/studies/${text}/metadata`],
    ['a series', (text) => `/dicomweb/studies/1.2/series/${text}`],
    ['an instance', (text) => `/dicomweb/studies/1.2/series/1.3/instances/${text}`],
    ['frames', (text) => `/dicomweb/studies/1.2/series/1.3/instances/${text}/frames/1`],
    ['bulk data', (text) => `${instance}/bulkdata/${text}`],
    ['a deeper path', (text) => `/dicomweb/studies/1.2/${text}/${text}/${text}`],
  ];
  it.each(places)('as %s is 400 or 404, whatever it is', async (_, pathOf) => {
    for (const text of noUids) {
      const answer = await get(pathOf(text), 'Accept: */*\r\n');
      // Dots without escapes are taken out of a path before anybody reads it: what is left may be the list of studies.
      if (['..', '.', '%2e%2e', '%2E.'].includes(text) && [200, 406].includes(answer.status)) continue;
      expectRefusal(answer);
      expect([400, 404, 406], text).toContain(answer.status);
      expect(answer.head.toLowerCase(), text).not.toContain('\r\nx-injected');
    }
  });

  it('leads to no file, and makes none (pynetdicom#823, #1092, dcm4che#1582, dcm4chee#4987)', async () => {
    const around = (): string[] => readdirSync(tmpdir()).filter((name) => !name.startsWith('archipel-'));
    const before = around();
    const up = '%2e%2e%2f'.repeat(12);
    for (const target of [
      `/dicomweb/studies/${up}etc%2fpasswd`,
      `${instance}/bulkdata/${up}etc%2fpasswd`,
      `/${up}etc%2fpasswd`,
    ]) {
      expectRefusal(await get(target));
    }
    expect(around()).toEqual(before);
  });
});

describe('a request line', () => {
  it.each<[string, string]>([
    ['another site’s', 'GET http://elsewhere.example/secret HTTP/1.1'],
    ['of two slashes', 'GET //dicomweb/studies HTTP/1.1'],
    ['of no path', 'GET ?x HTTP/1.1'],
    ['of a drive', 'GET C:\\dicomweb HTTP/1.1'],
    ['of 20,000 characters', `GET /dicomweb/studies?a=${'x'.repeat(20_000)} HTTP/1.1`],
    ['of 100,000 characters', `GET /dicomweb/${'x/'.repeat(50_000)} HTTP/1.1`],
    ['of 4,000 segments', `GET /dicomweb/studies${'/1.2'.repeat(4000)} HTTP/1.1`],
    ['of an unknown method', 'BREW /dicomweb/studies HTTP/1.1'],
    ['of a method that is not had', 'PATCH /dicomweb/studies HTTP/1.1'],
    ['of TRACE', 'TRACE /dicomweb/studies HTTP/1.1'],
    ['of no HTTP', 'hello'],
    ['of HTTP/2', 'PRI * HTTP/2.0'],
    ['of a NUL', 'GET /dicomweb/\0studies HTTP/1.1'],
    ['of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ])('%s is refused', async (_, line) => {
    expectRefusal(await exchange(host.port, `${line}\r\nHost: a\r\n\r\n`));
  });
});

describe('header fields', () => {
  const many = (count: number, text: string): string => Array.from({ length: count }, () => text).join(',');
  it.each<[string, string, string]>([
    ['an Accept of 5,000 characters', '/dicomweb/studies', `Accept: ${many(500, 'a/b;q=0.1')}\r\n`],
    [
      'an Accept of quotes without end',
      '/dicomweb/studies',
      `Accept: multipart/related; type="${'\\"'.repeat(1500)}\r\n`,
    ],
    ['an Accept of what is not', '/dicomweb/studies', `Accept: ${many(300, 'text/x;q=1')}\r\n`],
    [
      'an Accept of a syntax without end',
      'INSTANCE',
      `Accept: multipart/related; type="application/dicom"; transfer-syntax=${'1.'.repeat(1800)}\r\n`,
    ],
    [
      'a range behind the end',
      'INSTANCE/bulkdata/7FE00010',
      'Accept: application/octet-stream\r\nRange: bytes=999999-\r\n',
    ],
    ['two lengths', '/dicomweb/studies', 'Content-Length: 1\r\nContent-Length: 2\r\n'],
    ['a negative length', '/dicomweb/studies', 'Content-Length: -1\r\n'],
    ['a length and chunks', '/dicomweb/studies', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'],
    ['an unknown transfer coding', '/dicomweb/studies', 'Transfer-Encoding: cow\r\n'],
    ['40 KiB of one field', '/dicomweb/studies', `X: ${'x'.repeat(40_960)}\r\n`],
    ['10,000 fields', '/dicomweb/studies', 'X-Y: z\r\n'.repeat(10_000)],
    ['a name with a space', '/dicomweb/studies', 'X Y: z\r\n'],
    ['a NUL', '/dicomweb/studies', 'X: a\0b\r\n'],
    ['a bare carriage return', '/dicomweb/studies', 'X: a\rX-Injected: b\r\n'],
  ])('with %s are refused', async (_, path, fields) => {
    expectRefusal(await get(path.replace('INSTANCE', instance), fields));
  });

  it.each<[string, string]>([
    ['a thousand ranges', `Range: bytes=${many(1000, '0-0')}\r\n`],
    ['ranges that overlap', `Range: bytes=${many(2000, '0-')}\r\n`],
    ['a range of numbers without end', `Range: bytes=${'9'.repeat(10_000)}-${'9'.repeat(10_000)}\r\n`],
    ['a range of another unit', 'Range: lines=1-2\r\n'],
    ['2,000 tags', `If-None-Match: ${many(2000, '"x"')}\r\n`],
    ['5,000 codings', `Accept-Encoding: ${many(5000, 'x')}\r\n`],
    ['codings that exclude all', 'Accept-Encoding: identity;q=0, *;q=0\r\n'],
    ['cookies', `Cookie: ${'a=b; '.repeat(5000)}\r\n`],
  ])('with %s cost nothing: the whole is given', async (_, fields) => {
    const { result, cost } = await besideOthers(host.port, () =>
      get(`${instance}/bulkdata/7FE00010`, `Accept: application/octet-stream\r\n${fields}`),
    );
    expect(result.status, result.body).toBe(200);
    expect(result.body).toHaveLength(16 * 16 * 3 * 2);
    expect(cost.grownMiB).toBeLessThan(MOST_GROWTH_MIB);
  });

  it.each<[string, string]>([
    ['Host', 'X-Forwarded-Host: evil.example"><script>\r\n'],
    ['Forwarded', 'Forwarded: host="evil.example/\\r\\nX-Injected: y";proto=javascript\r\n'],
    ['X-Forwarded-Prefix', 'X-Forwarded-Prefix: /..//evil\r\n'],
    ['X-Forwarded-Proto', 'X-Forwarded-Proto: javascript\r\n'],
    ['X-Forwarded-Port', 'X-Forwarded-Port: 99999999999\r\n'],
  ])('with a %s that is none build no URL', async (_, fields) => {
    const { status, body, head } = await get(`${series}/instances`, fields);
    expect(status).toBe(200);
    expect(head).not.toMatch(/\r\nx-injected/i);
    const json = JSON.parse(body.slice(body.indexOf('['), body.lastIndexOf(']') + 1));
    expect(json[0]['00081190'].Value[0]).toBe(`http://archive.example${instance}`);
  });

  it('of a proxy that lies about its host do not reach another header field', async () => {
    const { head } = await get('/dicomweb/studies?nonsense%0d%0aX-Injected:y=%0d%0aX-Injected:%20y');
    expect(head).toMatch(/\r\nwarning: 299 /i);
    expect(head).not.toMatch(/\r\nx-injected/i);
  });
});

describe('a query', () => {
  it.each([
    ...['limit=-1', 'limit=1e9', 'limit=99999999999999', 'limit=0x10', 'limit=%00', 'offset=-1', 'offset=NaN', 'offset=1.5'],
    ...['fuzzymatching=maybe', 'StudyInstanceUID=..', "StudyInstanceUID=1'--", `StudyInstanceUID=${'1'.repeat(65)}`],
    ...['StudyDate=yesterday', 'StudyDate=20240101-20230101-20220101', 'StudyTime=99', 'TimezoneOffsetFromUTC=%2B9999'],
    `StudyInstanceUID=${'1.2,'.repeat(3000)}x`,
  ])('of %s is refused', async (query) => {
    expectRefusal(await get(`/dicomweb/studies?${query}`));
  }); // biome-ignore format: a list

  it.each<[string, string]>([
    ['wild cards that would go back and back', `PatientName=${'*?'.repeat(4000)}z`],
    ['wild cards between letters', `PatientName=${'*a'.repeat(4000)}*z`],
    ['stars alone', `PatientName=${'*'.repeat(8000)}`],
    ['a regular expression', `PatientName=${encodeURIComponent('(a+)+$')}`],
    ['fuzzy words', `fuzzymatching=true&PatientName=${'a%20'.repeat(2000)}`],
    ['a name without end', `PatientName=${'%C3%A9'.repeat(2000)}`],
    ['thousands of keys', Array.from({ length: 2500 }, (_, i) => `k${i}=`).join('&')],
    ['one key thousands of times', 'PatientName=a&'.repeat(1000)],
    ['thousands of fields', `includefield=${'00100010,'.repeat(1500)}`],
    ['a path without end', `${'00400275.'.repeat(1500)}00400009=x`],
    ['names that JavaScript knows', '__proto__=x&constructor=y&hasOwnProperty=z&toString=a'],
    ['SQL', `PatientID=${encodeURIComponent("'; DROP TABLE study; --")}`],
    ['NULs', 'PatientName=%00%00&PatientID=%00'],
    ['thousands of UIDs', `StudyInstanceUID=${'1.2,'.repeat(3000)}1.2`],
    ['no characters', 'PatientName=%ff%fe%c0%80'],
  ])('of %s is answered, others are served, and nothing grows', async (_, query) => {
    const { result, cost } = await besideOthers(host.port, () => get(`/dicomweb/studies?${query}`));
    expect([200, 400, 413], result.body).toContain(result.status);
    if (result.status !== 200) expectRefusal(result);
    expect(result.head).not.toContain('DROP');
    expect(cost.grownMiB).toBeLessThan(MOST_GROWTH_MIB);
    expect(cost.served).toBeGreaterThan(0);
  });

  it('of keys in names of their own changes no prototype', async () => {
    await get('/dicomweb/studies?__proto__.polluted=1&constructor.prototype.polluted=1&__proto__[polluted]=1');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect((await get('/dicomweb/studies')).status).toBe(200);
  });
});

describe('a list of frames', () => {
  it.each([
    ...['0', '-1', '1-3', '1e3', '1.5', ',', '1,', '%31%2c', '1%00', 'NaN', 'Infinity', '0x1', '99999999999', '4', '1,2,3,4', '٣'],
    `${'1,'.repeat(7000)}0`,
    '9'.repeat(8000),
  ])('of %s is refused', async (list) => {
    const answer = await get(`${instance}/frames/${encodeURI(list)}`, 'Accept: */*\r\n');
    expectRefusal(answer);
  }); // biome-ignore format: a list

  it('of one frame 2,000 times is given without being held', async () => {
    const { result, cost } = await besideOthers(host.port, () =>
      get(`${instance}/frames/1${',1'.repeat(2000)}`, 'Accept: */*\r\n'),
    );
    expect(result.status).toBe(200);
    expect(cost.grownMiB).toBeLessThan(MOST_GROWTH_MIB);
  });
});

describe('a picture', () => {
  it.each([
    ...['viewport=99999999,99999999', 'viewport=-1,-1', 'viewport=NaN,NaN', 'viewport=1', `viewport=${'1,'.repeat(2000)}1`],
    ...['window=1', 'window=a,b,linear', 'window=1,0,linear', 'window=1,2,__proto__', 'quality=0', 'quality=101', 'quality=x'],
    ...['iccprofile=__proto__', 'annotation=../../etc/passwd', `annotation=${'patient,'.repeat(1000)}x`, 'viewport=8,8,0,0,1e9,1e9'],
  ])('with %s is refused, or drawn as it is', async (query) => {
    const { result, cost } = await besideOthers(host.port, () =>
      get(`${instance}/frames/1/rendered?${query}`, 'Accept: image/png\r\n'),
    );
    if (result.status !== 200) expectRefusal(result);
    expect(cost.grownMiB).toBeLessThan(MOST_GROWTH_MIB);
  }); // biome-ignore format: a list
});
