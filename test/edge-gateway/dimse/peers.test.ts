/** Who may call: titles, addresses and ranges of both families, certificates, and what the settings let each of them do. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressMatcher,
  type Caller,
  createAdmission,
  hasSubject,
  type KnownAe,
  type PeerSettings,
  plainAddress,
} from '#edge-gateway/dimse/peers.ts';

const caller: Caller = {
  callingAeTitle: 'CT1',
  calledAeTitle: 'ARCHIPEL',
  address: '10.1.2.3',
  certificateSubjects: [],
};

function admit(change: Partial<Caller>, ct1: KnownAe | undefined, settings: Partial<PeerSettings> = {}) {
  const admission = createAdmission({
    calledAeTitles: 'any',
    unknownCallers: 'rejected',
    remoteAes: ct1 === undefined ? new Map() : new Map([['CT1', ct1]]),
    ...settings,
  })({ ...caller, ...change });
  if (admission.kind === 'admitted') return admission.rights;
  const { result, source, reason } = admission.reject;
  return [result, source, reason].join('/');
}

const all = { mayStore: true, mayQuery: true, mayRetrieve: true };

describe('a caller', () => {
  it.each<[string, Partial<Caller>, KnownAe | undefined, Partial<PeerSettings>, unknown]>([
    ['that is known', {}, {}, {}, all],
    ['that is known, at its address', {}, { addresses: ['10.1.2.3'] }, {}, all],
    ['that is known, in its network', {}, { addresses: ['192.168.0.0/16', '10.1.2.0/24'] }, {}, all],
    ['that is known, elsewhere', {}, { addresses: ['10.1.3.0/24'] }, {}, '1/1/3'],
    ['elsewhere, though strangers are welcome', {}, { addresses: ['::1'] }, { unknownCallers: 'accepted' }, '1/1/3'],
    ['that is unknown', { callingAeTitle: 'EVIL' }, {}, {}, '1/1/3'],
    ['that is unknown, where those are welcome', {}, undefined, { unknownCallers: 'accepted' }, all],
    ['without a title', { callingAeTitle: '' }, {}, {}, '1/1/3'],
    ['whose title differs in case', { callingAeTitle: 'ct1' }, {}, {}, '1/1/3'],
    ['that calls one of our titles', {}, {}, { calledAeTitles: ['OLDPACS', 'ARCHIPEL'] }, all],
    ['that calls somebody else', {}, {}, { calledAeTitles: ['OLDPACS'] }, '1/1/7'],
    ['unknown, that calls somebody else', {}, undefined, { calledAeTitles: ['OLDPACS'] }, '1/1/7'],
    [
      'that may only query',
      {},
      { mayStore: false, mayRetrieve: false },
      {},
      { ...all, mayStore: false, mayRetrieve: false },
    ],
    ['that must show a certificate, without', {}, { certificateSubjects: ['ct1.example'] }, {}, '1/1/3'],
    [
      'with the right certificate',
      { certificateSubjects: ['x', 'ct1.example'] },
      { certificateSubjects: ['ct1.example'] },
      {},
      all,
    ],
    [
      'with the certificate of another',
      { certificateSubjects: ['ct2.example'] },
      { certificateSubjects: ['ct1.example'] },
      {},
      '1/1/3',
    ],
    ['with any certificate, where none is asked for', { certificateSubjects: ['ct2.example'] }, {}, {}, all],
  ])('%s', (_, change, ct1, settings, expected) => {
    expect(admit(change, ct1, settings)).toEqual(expected);
  });
});

describe('an address', () => {
  it.each([
    [['10.0.0.0/8'], '10.255.1.2', true],
    [['10.0.0.0/8'], '11.0.0.1', false],
    [['10.0.0.0/8'], '::ffff:10.9.8.7', true],
    [['::ffff:10.0.0.0/104'], '10.9.8.7', true],
    [['::ffff:10.0.0.1'], '10.0.0.1', true],
    [['10.0.0.1'], '::FFFF:10.0.0.1', true],
    [['0.0.0.0/0'], '203.0.113.9', true],
    [['0.0.0.0/0'], '2001:db8::1', false],
    [['::/0'], '2001:db8::1', true],
    [['2001:db8:0:1::/64'], '2001:0db8:0000:0001:ffff::1', true],
    [['2001:db8:0:1::/64'], '2001:db8:0:2::1', false],
    [['fe80::1'], 'fe80::1%eth0', true],
    [['10.0.0.1'], '', false],
    [['10.0.0.1'], 'example', false],
    [[' 10.0.0.1 '], '10.0.0.1', true],
  ])('of %j: %s is %s', (entries, address, expected) => {
    expect(addressMatcher(entries)(address)).toBe(expected);
  });

  it.each([
    '',
    'ct1.example',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    '::ffff:10.0.0.0/24',
    '300.1.1.1',
  ])('cannot be written as %j', (entry) => {
    expect(() => addressMatcher([entry])).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  it('is in a range exactly when its first bits are those of the range', () => {
    const bits = fc.integer({ min: 0, max: 0xffffffff });
    const dotted = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
    fc.assert(
      fc.property(bits, bits, fc.integer({ min: 0, max: 32 }), fc.boolean(), (a, b, prefix, isMapped) => {
        const expected = prefix === 0 || a >>> (32 - prefix) === b >>> (32 - prefix);
        const address = isMapped ? `::ffff:${dotted(b)}` : dotted(b);
        expect(addressMatcher([`${dotted(a)}/${prefix}`])(address)).toBe(expected);
      }),
    );
  });

  it('is written as people know it', () => {
    expect(plainAddress('::ffff:10.0.0.1')).toBe('10.0.0.1');
    expect(plainAddress('fe80::1%2')).toBe('fe80::1');
    expect(plainAddress('::1')).toBe('::1');
  });
});

it('a certificate is known by its names: host names in any case, everything else letter by letter', () => {
  expect(hasSubject(['CT1.Example'], ['ct1.example'])).toBe(true);
  expect(hasSubject(['ct1'], ['CT1'])).toBe(false);
  expect(hasSubject(['urn:Device:1'], ['urn:device:1'])).toBe(false);
  expect(hasSubject(['*.example'], ['ct1.example'])).toBe(false);
  expect(hasSubject([], ['ct1.example'])).toBe(false);
});
