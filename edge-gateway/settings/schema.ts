/**
 * The settings file as a schema: every field with its bounds, its default, and the explanation that stands in the example
 * file. What a field means to the gateway is decided where it is used; what is read from here is EdgeSettings.
 */
import { z } from 'zod';
import * as value from './values.ts';

/** What people read about a field. */
export interface Explanation {
  /** What it is, in which unit, and what follows from a change. */
  readonly text: string;
  /** Shown in the example file where there is no default, or none that can be written. */
  readonly example?: unknown;
  /** Said instead of the default where it depends on other settings, or is nothing. */
  readonly defaultText?: string;
  /** What an installation starts with: stands in the example file without the comment sign. */
  readonly preset?: unknown;
}

export const explanations = z.registry<Explanation>();

/** A field of its own, also where two fields hold the same kind of value. */
function field<Field extends z.ZodType>(schema: Field, explanation: Explanation): Field {
  const own = schema.clone() as Field;
  explanations.add(own, explanation);
  return own;
}

/** A port of 0 is any free one: for tests. */
const port = value.wholeNumber(0, 65_535);
const remotePort = value.wholeNumber(1, 65_535);
const MAX_MEGABYTES = 100_000_000;

const OWN_TITLES = 'must be "any" or a list of AE titles such as ["ARCHIPEL", "STORE"]';
const ownTitles = value.listOf(value.aeTitle, 64).min(1, { error: OWN_TITLES });

const dicomTls = value.table({
  port: field(port.default(2762), { text: 'TCP port; 2762 is the one registered for DICOM over TLS.' }),
  keyFile: field(value.absolutePath, {
    text: "PEM file of the gateway's private key; readable by the user archipel only.",
    example: '/etc/archipel/tls/gateway.key',
  }),
  certificateFile: field(value.absolutePath, {
    text: "PEM file of the gateway's certificate, followed by those between it and its authority.",
    example: '/etc/archipel/tls/gateway.crt',
  }),
  authorityFile: field(value.absolutePath.optional(), {
    text: "PEM file of the authorities that sign the clients' certificates. Also used to check the AEs that the gateway calls by TLS; without it, those known to Node are trusted.",
    example: '/etc/archipel/tls/authority.crt',
    defaultText: 'none',
  }),
  clientCertificate: field(value.oneOf(['required', 'none']).default('required'), {
    text: '"required": who has no certificate of the authority cannot connect. "none": only encrypts; who calls is then known by title and address alone.',
  }),
});

const remoteAe = value.table({
  aeTitle: field(value.aeTitle, {
    text: 'AE title, up to 16 characters. Each stands once.',
    example: 'PACS',
  }),
  host: field(value.hostName, {
    text: 'Where it listens: for C-MOVE, routing and reports of storage commitment.',
    example: '10.1.2.3',
  }),
  port: field(remotePort, { text: 'TCP port on which it listens.', example: 104 }),
  addresses: field(value.listOf(value.addressRange, 64).default([]), {
    text: 'Addresses and ranges from which it may call; a call under its title from elsewhere is rejected. Empty: from anywhere.',
  }),
  tls: field(value.yesOrNo.default(false), { text: 'Whether the gateway calls it by TLS.' }),
  certificateSubjects: field(value.listOf(value.certificateName, 16).default([]), {
    text: 'Names (CN or SAN), one of which must be in the certificate it shows when it calls by TLS. Empty: any certificate of the authority.',
  }),
  mayStore: field(value.yesOrNo.default(true), { text: 'Whether it may send instances to the gateway (C-STORE).' }),
  mayQuery: field(value.yesOrNo.default(true), { text: 'Whether it may search (C-FIND).' }),
  mayRetrieve: field(value.yesOrNo.default(true), { text: 'Whether it may retrieve (C-MOVE, C-GET).' }),
  maxAssociations: field(value.wholeNumber(1, 1024).optional(), {
    text: 'Associations that it may have at once; more are rejected with "local limit exceeded".',
    example: 8,
    defaultText: "the gateway's own limits only",
  }),
});

const route = value.table({
  to: field(value.aeTitle, {
    text: 'AE title of the receiver; it must be among the remoteAes.',
    example: 'PACS',
  }),
  callingAeTitles: field(value.listOf(value.aeTitle, 64).optional(), {
    text: 'Only what came from one of these.',
    example: ['CT1', 'CT2'],
    defaultText: 'from anybody',
  }),
  modalities: field(value.listOf(value.modality, 64).optional(), {
    text: 'Only what has one of these modalities (0008,0060).',
    example: ['CT', 'MR'],
    defaultText: 'all',
  }),
});

const commitment = value.table({
  mode: field(value.oneOf(['cloud', 'edge']).default('cloud'), {
    text: 'When the gateway reports instances as committed. "cloud": when the cloud has verified them; a modality may have to wait for hours while the internet is down. "edge": when they were read again from this disk: at once, but this machine may still be the only one that has them.',
  }),
  retryHours: field(value.wholeNumber(1, 720).default(48), {
    text: 'Hours for which the gateway waits for instances that are not safe yet before it reports them as failed, and for which it tries to deliver a report to an AE that does not answer.',
  }),
});

const cache = value
  .table({
    retentionDays: field(value.wholeNumber(30, 60).default(30), {
      text: 'Days for which studies stay on this disk after they were last used; then their bytes may leave it. What the cloud has not verified never leaves the disk, whatever is set here.',
    }),
    reserveMegabytes: field(value.wholeNumber(16, MAX_MEGABYTES).default(1024), {
      text: 'Free space in MiB below which instances are answered "out of resources" (A700H): senders try again. Keep room for the index, and for what is being received.',
    }),
    rejectBelowMegabytes: field(value.wholeNumber(0, MAX_MEGABYTES).optional(), {
      text: 'Free space in MiB below which associations that are only for storage are rejected, before anything is sent.',
      example: 512,
      defaultText: 'half of reserveMegabytes',
    }),
    evictBelowMegabytes: field(value.wholeNumber(0, MAX_MEGABYTES).optional(), {
      text: 'Free space in MiB below which studies that the cloud has verified leave the disk before retentionDays, least recently used first. They are fetched again when somebody asks for them.',
      example: 4096,
      defaultText: 'four times reserveMegabytes',
    }),
    scrubDays: field(value.wholeNumber(0, 365).default(30), {
      text: 'Days in which every pack on the disk is read and checked once; what is damaged is mended from the cloud. 0: never. Fewer days find a failing disk earlier and keep it busier.',
    }),
  })
  .check((context) => {
    const { reserveMegabytes, rejectBelowMegabytes: reject, evictBelowMegabytes: evict } = context.value;
    const fault = (key: string, message: string) =>
      context.issues.push({ code: 'custom', message, path: [key], input: context.value });
    if (reject !== undefined && reject > reserveMegabytes)
      fault('rejectBelowMegabytes', `must not be more than reserveMegabytes, which is ${reserveMegabytes}`);
    if (evict !== undefined && evict < reserveMegabytes)
      fault('evictBelowMegabytes', `must not be less than reserveMegabytes, which is ${reserveMegabytes}`);
  });

const uploadHours = value
  .table({
    from: field(value.timeOfDay, {
      text: 'Local time of this machine, HH:MM.',
      example: '18:00',
    }),
    to: field(value.timeOfDay, {
      text: 'Local time, HH:MM; earlier than "from": on the next day.',
      example: '07:00',
    }),
  })
  .refine(({ from, to }) => from !== to, { error: 'must not be the same time as "from"', path: ['to'] });

const uploadPriority = value.table({
  callingAeTitle: field(value.aeTitle.optional(), {
    text: 'Only what came from this AE.',
    example: 'CT-ER',
    defaultText: 'from anybody',
  }),
  modality: field(value.modality.optional(), {
    text: 'Only what has this modality (0008,0060).',
    example: 'CT',
    defaultText: 'all',
  }),
  dimsePriority: field(value.oneOf(['high', 'medium', 'low']).optional(), {
    text: 'Only what was sent with this priority (C-STORE (0000,0700)).',
    example: 'high',
    defaultText: 'all',
  }),
  priority: field(value.oneOf(['stat', 'routine', 'low']), {
    text: '"stat" goes before everything and at all hours, "low" when nothing else waits.',
    example: 'stat',
  }),
});

const upload = value.table({
  parallel: field(value.wholeNumber(1, 32).default(3), {
    text: 'Packs on the wire at once. More fill a fast line with a long way better.',
  }),
  kilobytesPerSecond: field(value.wholeNumber(16, 10_000_000).optional(), {
    text: 'Limit of all uploads together, in kB/s (1000 bytes). 1250 leaves room on a line of 20 Mbit/s.',
    example: 1250,
    defaultText: 'as fast as the line',
  }),
  partMegabytes: field(value.wholeNumber(5, 1024).default(16), {
    text: 'Size in MiB of the parts of large packs; one that is cut off is sent again from its beginning.',
  }),
  multipartAboveMegabytes: field(value.wholeNumber(5, 4096).default(100), {
    text: 'Packs larger than this many MiB go in parts, and go on where they were cut off.',
  }),
  hours: field(value.listOf(uploadHours, 16).default([]), {
    text: 'When uploads run; without an entry always. What is "stat" goes at all hours. Outside of them everything is kept here, and is only here.',
  }),
  priorities: field(value.listOf(uploadPriority, 256).default([]), {
    text: 'What is uploaded first: the first rule all of whose conditions hold decides; without one the priority of the C-STORE does: HIGH is "stat", LOW is "low". One such instance makes all of its pack so; within a priority the newest goes first.',
  }),
});

export const settingsFile = value.table({
  dataFolder: field(value.absolutePath.optional(), {
    text: 'Folder of everything the gateway keeps: packs, index, queues. On a disk of its own, with room for the studies of retentionDays. One gateway works on one folder.',
    defaultText: '"data/edge" in the working directory',
    preset: '/var/lib/archipel/edge-gateway',
  }),
  host: field(value.hostName.default('127.0.0.1'), {
    text: 'Address on which DICOM and HTTP listen. "127.0.0.1" is this machine only; "0.0.0.0" is every network that the machine is in.',
  }),
  tenant: field(value.tenantName.default('default'), {
    text: 'Name of the archive in the cloud: a-z, 0-9 and -. It is part of where everything is stored: choose it once, before the first instance.',
  }),
  cloudUrl: field(value.httpUrl.default('http://127.0.0.1:8080'), {
    text: 'Where the cloud archive answers.',
  }),
  logLevel: field(value.oneOf(['debug', 'info', 'warn', 'error', 'silent']).default('info'), {
    text: 'How much is logged. No level logs patients; "debug" logs every association.',
  }),
  httpPort: field(port.default(8081), {
    text: 'TCP port of the status page, /health, /metrics, DICOMweb and the viewer.',
  }),
  lanAccess: field(value.oneOf(['loopback', 'open']).default('loopback'), {
    text: 'Who sees images by HTTP, since nobody is asked who they are. "loopback": programs on this machine. "open": everybody who reaches the port.',
  }),
  viewerFolder: field(value.absolutePath.optional(), {
    text: "Folder of the OHIF viewer's built pages.",
    example: '/opt/archipel/viewer',
    defaultText: 'none: no viewer here',
  }),
  aeTitle: field(value.aeTitle.default('ARCHIPEL'), {
    text: "The gateway's own AE title, up to 16 characters.",
  }),
  dicomPort: field(port.default(11_112), { text: 'TCP port for DICOM without TLS.' }),
  maxFindResults: field(value.wholeNumber(1, 10_000_000).default(100_000), {
    text: 'Answers to one C-FIND; a query that matches more ends with "out of resources" (A700H).',
  }),
  calledAeTitles: field(z.union([z.literal('any'), ownTitles], { error: OWN_TITLES }).default('any'), {
    text: 'Titles by which callers may address the gateway: "any", or a list; calls by another are rejected. Many modalities are set up carelessly.',
  }),
  unknownCallers: field(value.oneOf(['accepted', 'rejected']).optional(), {
    text: 'What happens to AEs that are not among the remoteAes: "accepted" or "rejected".',
    example: 'rejected',
    defaultText: '"accepted" while host is this machine only, "rejected" otherwise',
  }),
  maxAssociations: field(value.wholeNumber(1, 1024).default(64), {
    text: 'Associations at once; more are rejected with "local limit exceeded", and callers try again.',
  }),
  maxAssociationsPerAddress: field(value.wholeNumber(1, 1024).default(32), {
    text: 'Associations at once from one address, so that one machine cannot take all of them.',
  }),
  dicomTls: field(dicomTls.optional(), {
    text: 'A second DICOM port, with TLS by BCP 195. Without this table there is none.',
  }),
  commitment: field(commitment.prefault({}), {
    text: 'Storage commitment: what the gateway promises to modalities that ask.',
  }),
  cache: field(cache.prefault({}), { text: 'What stays on the disk, and what happens when it fills.' }),
  upload: field(upload.prefault({}), { text: 'How packs go to the cloud.' }),
  remoteAes: field(value.listOf(remoteAe, 1024).default([]), {
    text: 'Other AEs: who may call, and where C-MOVE, routes and reports of storage commitment go. One table each.',
  }),
  routes: field(value.listOf(route, 256).default([]), {
    text: 'What is sent on to other AEs when it has arrived. One table each; all conditions that are given must hold.',
  }),
});

export type SettingsFile = z.output<typeof settingsFile>;

/** A fault between fields that are right each by itself. */
export interface CrossFault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** @param file those top fields that are right by themselves */
export function crossFaults(file: Partial<SettingsFile>): CrossFault[] {
  const faults: CrossFault[] = [];
  const titles = new Map<string, number>();
  for (const [i, { aeTitle }] of (file.remoteAes ?? []).entries()) {
    const first = titles.get(aeTitle);
    if (first === undefined) titles.set(aeTitle, i);
    else faults.push({ path: ['remoteAes', i, 'aeTitle'], message: `names ${aeTitle} twice; each AE stands once` });
  }
  if (file.remoteAes !== undefined)
    for (const [i, { to }] of (file.routes ?? []).entries())
      if (!titles.has(to))
        faults.push({ path: ['routes', i, 'to'], message: 'must be the aeTitle of one of the remoteAes' });
  const ports: [string[], number | undefined][] = [
    [['httpPort'], file.httpPort],
    [['dicomPort'], file.dicomPort],
    [['dicomTls', 'port'], file.dicomTls?.port],
  ];
  for (const [i, [path, port]] of ports.entries()) {
    const other = ports.slice(0, i).find(([, taken]) => taken === port);
    if (port === undefined || port === 0 || other === undefined) continue;
    faults.push({ path, message: `must not be the port that ${other[0].join('.')} has` });
  }
  if (file.dicomTls?.clientCertificate === 'required' && file.dicomTls.authorityFile === undefined)
    faults.push({
      path: ['dicomTls', 'authorityFile'],
      message: 'must be given while clientCertificate is "required": it says whose certificates count',
    });
  return faults;
}
