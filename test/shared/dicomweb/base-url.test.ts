/**
 * The URL that a client sees, through proxies, and what a hostile header field may not make of it.
 */
import { describe, expect, it } from 'vitest';
import { baseUrlOf } from '#shared/dicomweb/base-url.ts';

const base = (headers: Record<string, string> = {}, url = 'http://10.0.0.5:8080/dicomweb/studies'): string =>
  baseUrlOf(new Request(url, { headers }));

describe('baseUrlOf', () => {
  it('is the request’s own without proxies, port included', () => {
    expect(base()).toBe('http://10.0.0.5:8080/dicomweb');
    expect(base({}, 'https://archive.example/dicomweb/studies?x=1')).toBe('https://archive.example/dicomweb');
  });

  it.each<[string, Record<string, string>, string]>([
    ['X-Forwarded-Host with its port', { 'x-forwarded-host': 'pacs.example:8443' }, 'http://pacs.example:8443'],
    [
      'all of X-Forwarded',
      {
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'pacs.example',
        'x-forwarded-port': '8443',
        'x-forwarded-prefix': '/site/a/',
      },
      'https://pacs.example:8443/site/a',
    ],
    [
      'the default port, left out',
      { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'pacs.example', 'x-forwarded-port': '443' },
      'https://pacs.example',
    ],
    ['chains, of which the first is the client’s', { 'x-forwarded-host': 'a.example, b.example' }, 'http://a.example'],
    ['Forwarded', { forwarded: 'for=10.1.1.1;proto=https;host="pacs.example:444", for=x' }, 'https://pacs.example:444'],
    [
      'Forwarded before X-Forwarded',
      { forwarded: 'host=a.example', 'x-forwarded-host': 'b.example' },
      'http://a.example',
    ],
    ['IPv6', { 'x-forwarded-host': '[2001:db8::1]:8080' }, 'http://[2001:db8::1]:8080'],
    ['the port alone', { 'x-forwarded-port': '9000' }, 'http://10.0.0.5:9000'],
  ])('follows %s', (_, headers, expected) => expect(base(headers)).toBe(`${expected}/dicomweb`));

  it.each<Record<string, string>>([
    { 'x-forwarded-host': 'evil.example/path' },
    { 'x-forwarded-host': 'user@evil.example' },
    { 'x-forwarded-host': 'evil"example' },
    { 'x-forwarded-proto': 'javascript' },
    { 'x-forwarded-prefix': '//evil.example' },
    { 'x-forwarded-prefix': '/a?b' },
    { 'x-forwarded-prefix': '/a/../..' },
    { 'x-forwarded-prefix': '/./a' },
    { 'x-forwarded-host': 'pacs.example:99999' },
    { 'x-forwarded-host': 'pacs.example:0' },
    { 'x-forwarded-host': '[1:2]' },
    { 'x-forwarded-port': '0' },
    { 'x-forwarded-port': '99999' },
    { forwarded: 'host=a b' },
  ])('ignores %j', (headers) => expect(base(headers)).toBe('http://10.0.0.5:8080/dicomweb'));
});
