/**
 * The factory of test files is itself held to an independent reader: DCMTK's dcmdump.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeInstance } from './dicom-factory.ts';

const dcmdump = spawnSync('dcmdump', ['--version']).status === 0;
if (!dcmdump) console.warn('SKIPPED: dcmdump is not installed, so nothing independent checks the test factory');

describe.skipIf(!dcmdump)('the factory of test files, as DCMTK reads them', () => {
  it.each([
    ['implicit VR little endian', '1.2.840.10008.1.2'],
    ['explicit VR little endian', '1.2.840.10008.1.2.1'],
    ['explicit VR big endian', '1.2.840.10008.1.2.2'],
    ['deflated', '1.2.840.10008.1.2.1.99'],
    ['encapsulated', '1.2.840.10008.1.2.5'],
  ])('%s', (_name, transferSyntaxUid) => {
    const folder = mkdtempSync(join(tmpdir(), 'factory-'));
    try {
      const made = makeInstance({
        transferSyntaxUid,
        patientName: 'Factory^Test',
        extra: [
          {
            tag: 0x00400275,
            vr: 'SQ',
            value: [[{ tag: 0x00400009, vr: 'SH', value: 'step' }], []],
          },
          { tag: 0x00081140, vr: 'SQ', definedLength: true, value: [[{ tag: 0x00081155, vr: 'UI', value: '1.2.3' }]] },
        ],
      });
      writeFileSync(join(folder, 'a.dcm'), made.file);
      const dump = execFileSync('dcmdump', ['-q', join(folder, 'a.dcm')], { encoding: 'latin1' });
      expect(dump).toContain('[Factory^Test]');
      expect(dump).toContain(`[${made.ref.sopInstanceUid}]`);
      expect(dump).toContain('[1.2.3]');
      expect(dump).toContain('(7fe0,0010)');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
