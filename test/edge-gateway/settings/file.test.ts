/**
 * The settings file is checked as a whole: each fault with its path, its line, what is there and what to write; variables
 * go before the file; what is right arrives in the units that the gateway works with.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { edgeSettingsOf, readEdgeSettings } from '#edge-gateway/settings.ts';

const MIB = 1024 * 1024;

function complaintOf(toml: string, environment: Readonly<Record<string, string>> = {}): string {
  try {
    edgeSettingsOf(toml, environment);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('the settings were accepted');
}

describe('a settings file', () => {
  it('sets every part, in the units of the gateway', () => {
    const settings = edgeSettingsOf(`
      dataFolder = "/data"
      host = "0.0.0.0"
      aeTitle = " GATE "
      calledAeTitles = ["GATE", "STORE"]
      [commitment]
      mode = "edge"
      [cache]
      retentionDays = 45
      reserveMegabytes = 100
      evictBelowMegabytes = 300
      [upload]
      kilobytesPerSecond = 500
      partMegabytes = 8
      [[upload.hours]]
      from = "18:00"
      to = "07:00"
      [[upload.priorities]]
      callingAeTitle = "CT-ER"
      priority = "stat"
      [[remoteAes]]
      aeTitle = "PACS"
      host = "fd00::5"
      port = 104
      addresses = ["10.0.0.0/8", "fd00::5"]
      mayRetrieve = false
      [[routes]]
      to = "PACS"
      modalities = ["CT"]
    `);
    expect(settings).toMatchObject({
      dataFolder: '/data',
      aeTitle: 'GATE',
      calledAeTitles: ['GATE', 'STORE'],
      unknownCallers: 'rejected',
      commitment: { mode: 'edge', retryHours: 48 },
      cache: { retentionDays: 45, reserveBytes: 100 * MIB, rejectBelowBytes: 50 * MIB, evictBelowBytes: 300 * MIB },
      upload: {
        parallel: 3,
        kilobytesPerSecond: 500,
        partBytes: 8 * MIB,
        hours: [{ from: '18:00', to: '07:00' }],
      },
    });
    expect(settings.upload.priorities).toEqual([{ callingAeTitle: 'CT-ER', priority: 'stat' }]);
    expect(settings.routes).toEqual([{ to: 'PACS', modalities: ['CT'] }]);
    expect(settings.remoteAes.get('PACS')).toEqual({
      aeTitle: 'PACS',
      host: 'fd00::5',
      port: 104,
      addresses: ['10.0.0.0/8', 'fd00::5'],
      tls: false,
      certificateSubjects: [],
      mayStore: true,
      mayQuery: true,
      mayRetrieve: false,
      maxAssociations: undefined,
    });
  });

  it('names all faults at once, with line, value and what to write', () => {
    const complaint = complaintOf(
      [
        'aeTitel = "X"',
        'cloudUrl = "ftp://x"',
        '[cache]',
        'retentionDays = 7',
        'evictBelowMegabytes = 3',
        '[[remoteAes]]',
        'aeTitle = "PACS"',
        'host = "h"',
        'port = 104',
        '[[remoteAes]]',
        'aeTitle = "OTHER"',
        'host = "h:104"',
        '[[upload.hours]]',
        'from = "7:00"',
        'to = "08:00"',
        '[commitment]',
        'mode = 3',
      ].join('\n'),
      { ARCHIPEL_EDGE_DICOM_PORT: '70000' },
    );
    for (const sentence of [
      'line 1: aeTitel is no setting; did you mean aeTitle?',
      'line 2: cloudUrl is "ftp://x"; it must be an http or https URL',
      'line 4: cache.retentionDays is 7; it must be a whole number from 30 to 60',
      'line 5: cache.evictBelowMegabytes is 3; it must not be less than reserveMegabytes, which is 1024',
      'line 12: remoteAes[2].host is "h:104"; it must be a host name or an address, without a port',
      'line 10: remoteAes[2].port is missing; it must be a whole number from 1 to 65535',
      'line 14: upload.hours[1].from is "7:00"; it must be a time of day such as "07:30" or "18:00"',
      'line 17: commitment.mode is 3; it must be "cloud" or "edge"',
      'ARCHIPEL_EDGE_DICOM_PORT is 70000; it must be a whole number from 0 to 65535',
    ])
      expect(complaint.split('\n')).toContain(`  ${sentence}`);
  });

  it.each([
    ['[[routes]]\nto = "PACS"', 'line 2: routes[1].to is "PACS"; it must be the aeTitle of one of the remoteAes'],
    ['httpPort = 104\ndicomPort = 104', 'line 2: dicomPort is 104; it must not be the port that httpPort has'],
    ['[cache]\nrejectBelowMegabytes = 2000', 'it must not be more than reserveMegabytes, which is 1024'],
    ['[[upload.hours]]\nfrom = "08:00"\nto = "08:00"', 'line 3: upload.hours[1].to is "08:00"; it must not be'],
    ['cache = 3', 'line 1: cache is 3; it must be a table'],
    ['dataFolder = "relative"', 'dataFolder is "relative"; it must be an absolute path'],
    ['dataFolder = "/data\\nUser=root"', 'it must be an absolute path without quotes and control characters'],
    ['dataFolder = "/data\\u0000"', 'it must be an absolute path without quotes and control characters'],
    ['calledAeTitles = []', 'it must be "any" or a list'],
    [
      '[dicomTls]\nkeyFile = "/nowhere/k"\ncertificateFile = "/nowhere/c"',
      'line 2: dicomTls.keyFile names /nowhere/k, which cannot be read (ENOENT)',
    ],
    [
      '[dicomTls]\nkeyFile = "/k"\ncertificateFile = "/c"',
      'line 1: dicomTls.authorityFile is missing; it must be given',
    ],
    ['unrelatedThing = 1', 'line 1: unrelatedThing is no setting; here stand dataFolder, host,'],
    ['a = 3\nb = = 4', 'line 2, column 5: is no TOML'],
  ])('refuses %j', (toml, sentence) => {
    expect(complaintOf(toml)).toContain(sentence);
  });

  it('names an AE that stands twice', () => {
    const ae = '[[remoteAes]]\naeTitle = "A"\nhost = "h"\nport = 1\n';
    expect(complaintOf(ae + ae)).toContain('line 6: remoteAes[2].aeTitle names A twice');
  });

  it('gives way to variables, also within its tables', () => {
    const settings = edgeSettingsOf('httpPort = 1\n[upload]\nparallel = 5\npartMegabytes = 8', {
      ARCHIPEL_EDGE_HTTP_PORT: '2',
      ARCHIPEL_EDGE_PARALLEL_UPLOADS: '7',
    });
    expect(settings).toMatchObject({ httpPort: 2, upload: { parallel: 7, partBytes: 8 * MIB } });
  });

  it('is found by its variable, and its absence is said', () => {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-'));
    const file = join(folder, 'edge-gateway.toml');
    try {
      expect(() => readEdgeSettings({ ARCHIPEL_EDGE_SETTINGS: file })).toThrow(`${file} cannot be read (ENOENT)`);
      writeFileSync(file, 'aeTitle = "FILED"');
      expect(readEdgeSettings({ ARCHIPEL_EDGE_SETTINGS: file }).aeTitle).toBe('FILED');
      writeFileSync(file, 'aeTitle = ""');
      expect(() => readEdgeSettings({ ARCHIPEL_EDGE_SETTINGS: file })).toThrow(`in ${file} or in the environment`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is read or refused with words, whatever it holds', () => {
    const key = fc.constantFrom(
      'host',
      'cache',
      'upload',
      'remoteAes',
      'routes',
      'hours',
      '__proto__',
      'constructor',
      'x',
    );
    const tables = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom('1', '"a"', '-1.5', 'true', '1979-05-27', '[]', '[1]'),
        fc
          .array(fc.tuple(key, tie('value')), { maxLength: 3 })
          .map(
            (entries) => `{ ${[...new Map(entries)].map(([name, value]) => `${name} = ${String(value)}`).join(', ')} }`,
          ),
      ),
    })).value;
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, tables), { selector: ([name]) => name, maxLength: 4 }), (entries) => {
        const toml = entries.map(([name, value]) => `${name} = ${String(value)}`).join('\n');
        try {
          edgeSettingsOf(toml);
        } catch (error) {
          expect((error as Error).message).toMatch(/^The gateway's settings are wrong/);
        }
      }),
    );
  });
});
