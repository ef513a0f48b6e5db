/**
 * Settings are checked as a whole: every fault is named at once, and defaults make a working gateway.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FILE_VARIABLE, variables } from '#edge-gateway/settings/variables.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { readLocalSettings } from '#infra/local/settings.ts';

describe('the gateway settings', () => {
  it('have working defaults on the loopback interface', () => {
    expect(readEdgeSettings({})).toMatchObject({
      host: '127.0.0.1',
      aeTitle: 'ARCHIPEL',
      dicomPort: 11112,
      httpPort: 8081,
      tenant: 'default',
      lanAccess: 'loopback',
      viewerFolder: undefined,
    });
  });

  it('name every fault at once', () => {
    const wrong = {
      ARCHIPEL_EDGE_AE_TITLE: 'SEVENTEEN LETTERS',
      ARCHIPEL_EDGE_DICOM_PORT: '70000',
      ARCHIPEL_EDGE_CLOUD_URL: 'ftp://x',
      ARCHIPEL_EDGE_TENANT: '../x',
      ARCHIPEL_EDGE_LAN_ACCESS: 'everybody',
    };
    for (const name of Object.keys(wrong))
      expect(() => readEdgeSettings(wrong)).toThrow(`
  ${name} is `);
  });

  it.each(['', '   ', 'A\\B', 'Å'])('refuse the AE title %j', (title) => {
    expect(() => readEdgeSettings({ ARCHIPEL_EDGE_AE_TITLE: title })).toThrow(/ARCHIPEL_EDGE_AE_TITLE/);
  });

  it('read the table of other AEs', () => {
    const { remoteAes } = readEdgeSettings({ ARCHIPEL_EDGE_REMOTE_AES: 'PACS=10.0.0.5:104, VIEW 2=[::1]:11112 ,' });
    expect([...remoteAes.keys()]).toEqual(['PACS', 'VIEW 2']);
    expect(remoteAes.get('PACS')).toMatchObject({ aeTitle: 'PACS', host: '10.0.0.5', port: 104, mayStore: true });
    expect(remoteAes.get('VIEW 2')).toMatchObject({ host: '::1', port: 11112, addresses: [] });
    expect(readEdgeSettings({}).remoteAes.size).toBe(0);
  });

  it.each(['PACS', 'PACS=host', 'PACS=host:0', 'PACS=host:70000', 'SEVENTEEN LETTERS=h:1', '=h:1', 'A=h:1,A=g:2'])(
    'refuse the table %j',
    (table) => {
      expect(() => readEdgeSettings({ ARCHIPEL_EDGE_REMOTE_AES: table })).toThrow(/ARCHIPEL_EDGE_REMOTE_AES/);
    },
  );

  it('trim the AE title, as the standard does', () => {
    expect(readEdgeSettings({ ARCHIPEL_EDGE_AE_TITLE: ' GATE ' }).aeTitle).toBe('GATE');
  });
});

it('every variable is in the README, and no other', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const named = [...readme.matchAll(/^\| `(ARCHIPEL_(?:EDGE_|LOG_)\w+)` \|/gm)].map((match) => match[1]);
  expect(named.sort()).toEqual([FILE_VARIABLE, ...Object.keys(variables)].sort());
});

describe('the one-machine settings', () => {
  it('name their faults', () => {
    expect(() => readLocalSettings({ ARCHIPEL_CLOUD_PORT: 'x', ARCHIPEL_VIEWER: 'maybe' })).toThrow(
      /CLOUD_PORT[\s\S]*VIEWER/,
    );
  });
});
