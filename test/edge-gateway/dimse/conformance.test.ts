/** The tables of CONFORMANCE.md against the code: a statement that is not true is worse than none. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  APPLICATION_CONTEXT_NAME,
  ContextResult,
  MAX_PRESENTATION_CONTEXTS,
} from '#edge-gateway/dimse/associate-pdu.ts';
import { MAX_COMMAND_BYTES } from '#edge-gateway/dimse/command-set.ts';
import { QueryStatus } from '#edge-gateway/dimse/identifier.ts';
import { informationModels } from '#edge-gateway/dimse/information-model.ts';
import { defaultDimseLimits as limits } from '#edge-gateway/dimse/limits.ts';
import { negotiate } from '#edge-gateway/dimse/negotiation.ts';
import { MAX_ASSOCIATE_PDU_BYTES, Rejects } from '#edge-gateway/dimse/pdu.ts';
import { Status } from '#edge-gateway/dimse/status.ts';
import { CIPHER_SUITES } from '#edge-gateway/dimse/tls.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { knownTransferSyntaxes } from '#shared/dicom/transfer-syntax.ts';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '#shared/dicom/uid.ts';
import { dimseStatusOf } from '#shared/errors.ts';
import { CT_IMAGE, EXPLICIT, VERIFICATION } from './raw-peer.ts';

const text = readFileSync(resolve(import.meta.dirname, '../../../edge-gateway/dimse/CONFORMANCE.md'), 'utf8');

interface Table {
  /** Of the section that it stands in. */
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

function tablesOf(markdown: string): Table[] {
  const tables: { heading: string; columns: string[]; rows: string[][] }[] = [];
  let heading = '';
  let isWithin = false;
  for (const line of markdown.split('\n')) {
    heading = /^#+ (.*)/.exec(line)?.[1] ?? heading;
    const cells = line.startsWith('|')
      ? line
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim())
      : undefined;
    const table = tables.at(-1);
    if (cells !== undefined && !isWithin) tables.push({ heading, columns: cells, rows: [] });
    else if (cells !== undefined && !/^[-: ]+$/.test(cells[0] ?? '')) table?.rows.push(cells);
    isWithin = cells !== undefined;
  }
  return tables;
}

const tables = tablesOf(text);

/** The one whose first column has this name. */
function table(firstColumn: string): readonly (readonly string[])[] {
  const found = tables.filter(({ columns }) => columns[0] === firstColumn);
  if (found.length !== 1) throw new Error(`${found.length} tables begin with ${firstColumn}`);
  return (found[0] as Table).rows;
}

const policy = {
  maxPduBytes: limits.maxPduBytes,
  maxOperations: limits.maxOperations,
  offersQueryRetrieve: true,
  offersStorageCommitment: true,
};

/** The transfer syntax with which a context is accepted; undefined: it is not, and `result` says why. */
function proposed(abstractSyntax: string, syntaxes: readonly string[]) {
  const negotiated = negotiate(
    {
      protocolVersion: 1,
      calledAeTitle: 'ARCHIPEL',
      callingAeTitle: 'TEST',
      applicationContextName: APPLICATION_CONTEXT_NAME,
      contexts: [{ id: 1, abstractSyntax, transferSyntaxes: syntaxes }],
      userInformation: {
        maxPduBytes: 0,
        implementationClassUid: '1.2',
        implementationVersionName: '',
        roles: [],
        extendedNegotiation: [],
        asynchronousOperations: { invoked: 0, performed: 0 },
      },
    },
    policy,
  );
  if (negotiated.kind === 'rejected') throw new Error(negotiated.why);
  const answer = negotiated.accept.contexts[0];
  return { negotiated, result: answer?.result, syntax: negotiated.contexts.get(1)?.transferSyntaxUid };
}

describe('the conformance statement', () => {
  it('names the SOP classes that are offered, and no others', () => {
    const classes = table('SOP class').map(([, uid]) => uid ?? '');
    const stated = classes.filter((uid) => /^[\d.]+$/.test(uid));
    const offered = [VERIFICATION, STORAGE_COMMITMENT, ...informationModels.keys()];
    expect([...stated].sort()).toEqual([...offered].sort());
    for (const uid of [...stated, CT_IMAGE, '1.2.3.4.5.6'])
      expect([uid, proposed(uid, [EXPLICIT]).result]).toEqual([uid, ContextResult.Acceptance]);
    for (const row of table('SOP class')) expect([row[0], row[3]]).toEqual([row[0], 'yes']);
    expect(proposed('1.2.840.10008.5.1.4.31', [EXPLICIT]).result).toBe(ContextResult.AbstractSyntaxNotSupported);
  });

  it('names the transfer syntaxes of each service', () => {
    const known = knownTransferSyntaxes.map(({ uid }) => uid);
    const accepted = (uid: string) => known.filter((syntax) => proposed(uid, [syntax]).syntax === syntax).sort();
    const stated = new Map(table('for').map(([service, syntaxes]) => [service, (syntaxes ?? '').split(', ')]));
    expect(accepted(VERIFICATION)).toEqual(stated.get('Verification'));
    for (const uid of [...informationModels.keys(), STORAGE_COMMITMENT])
      expect(accepted(uid)).toEqual(stated.get('Query/Retrieve, Storage Commitment'));
    expect(stated.get('Storage')).toEqual(['any']);
    expect(accepted(CT_IMAGE)).toHaveLength(known.length);
  });

  it('states the policies of associations as they are', () => {
    const seconds = (ms: number) => `${ms / 1000} s`;
    const grouped = (n: number) => n.toLocaleString('en-US');
    const { operations, accept } = proposed(VERIFICATION, [EXPLICIT]).negotiated;
    expect(Object.fromEntries(table('policy').map(([policy, value]) => [policy, value]))).toEqual({
      'Application context': APPLICATION_CONTEXT_NAME,
      'Implementation Class UID': IMPLEMENTATION_CLASS_UID,
      'Implementation Version Name': '`ARCHIPEL_` and the version',
      'Maximum P-DATA-TF length offered': `${grouped(accept.userInformation.maxPduBytes)} bytes`,
      'Longest A-ASSOCIATE-RQ taken': `${grouped(MAX_ASSOCIATE_PDU_BYTES)} bytes`,
      'Presentation contexts of one association': String(MAX_PRESENTATION_CONTEXTS),
      'Longest command set taken': `${grouped(MAX_COMMAND_BYTES)} bytes`,
      'Associations at once': `${limits.maxAssociations} (\`maxAssociations\`)`,
      'Associations at once from one address': `${limits.maxAssociationsPerAddress} (\`maxAssociationsPerAddress\`)`,
      'Connections without an association yet': `${limits.maxWaiting}, from one address as many as associations`,
      'Operations that a requestor may invoke at once': String(operations),
      'Operations that we invoke at once': String(accept.userInformation.asynchronousOperations?.performed),
      'ARTIM: time for the association request': seconds(limits.artimMs),
      'TLS handshake': seconds(limits.handshakeTimeoutMs),
      'Time without a message': seconds(limits.idleTimeoutMs),
      'Time without progress within a message, or while the peer does not read': seconds(limits.stallTimeoutMs),
      'Time for a running store when the gateway closes': seconds(limits.closeDeadlineMs),
    });
    expect(IMPLEMENTATION_VERSION_NAME).toMatch(/^ARCHIPEL_/);
  });

  it('names every reject that is sent', () => {
    const stated = table('rejected').map(([, ...codes]) => codes.join('/'));
    const sent = Object.values(Rejects).map(({ result, source, reason }) => `${result}/${source}/${reason}`);
    expect(stated.sort()).toEqual(sent.sort());
  });

  it('names every status of a query or retrieval, and none that there is not', () => {
    const stated = tables
      .filter(({ columns }) => columns[0] === 'status')
      .flatMap(({ heading, rows }) => rows.map(([status]) => ({ heading, status: status ?? '' })));
    const hex = (status: number) => `${status.toString(16).toUpperCase().padStart(4, '0')}H`;
    const own = [...Object.values(Status), ...Object.values(QueryStatus)].map(hex);
    const all = new Set(stated.map(({ status }) => status));
    expect(own.filter((status) => !all.has(status))).toEqual([]);
    const possible = new Set([...own, ...Object.values(dimseStatusOf).map(hex)]);
    const isOfNormalized = (heading: string) => heading.includes('Commitment');
    expect(stated.filter(({ heading, status }) => !possible.has(status) && !isOfNormalized(heading))).toEqual([]);
  });

  it('states the defaults of the settings', () => {
    const settings = readEdgeSettings({});
    const stated = Object.fromEntries(table('setting').map(([name, value]) => [name?.replaceAll('`', ''), value]));
    for (const name of [
      'aeTitle',
      'dicomPort',
      'calledAeTitles',
      'maxAssociations',
      'maxAssociationsPerAddress',
      'maxFindResults',
    ] as const)
      expect([name, stated[name]]).toEqual([name, String(settings[name])]);
    expect([settings.maxAssociations, settings.maxAssociationsPerAddress]).toEqual([
      limits.maxAssociations,
      limits.maxAssociationsPerAddress,
    ]);
    expect(settings.dicomTls).toBeUndefined();
    expect(stated['dicomTls.port']).toMatch(/^2762;/);
    expect(stated.unknownCallers).toMatch(/^accepted while `host` is this machine only, rejected otherwise$/);
    expect(settings.unknownCallers).toBe('accepted');
    expect(readEdgeSettings({ ARCHIPEL_EDGE_HOST: '0.0.0.0' }).unknownCallers).toBe('rejected');
  });

  it('names the cipher suites', () => {
    const stated = table('cipher suite');
    expect(stated.map(([suite]) => suite)).toEqual([...CIPHER_SUITES]);
    for (const [suite, version] of stated) expect(version).toBe(suite?.startsWith('TLS_') ? '1.3' : '1.2');
  });
});

const STORAGE_COMMITMENT = '1.2.840.10008.1.20.1';
