/**
 * THE TABLE: every function of the cloud with its trigger, size and grants. `infra/local` mounts it on this machine;
 * `infra/cloud` turns it into CloudFormation. A function that is not here does not exist.
 */

export interface HttpTrigger {
  readonly kind: 'http';
  readonly methods: readonly string[];
  /** Path patterns: `:name` is one segment, a trailing `/*` is any rest. The first row that fits serves. */
  readonly paths: readonly string[];
}

export interface QueueTrigger {
  readonly kind: 'queue';
  readonly queue: 'pack-arrived';
  /** Messages that one call handles. */
  readonly batch: number;
  /** Tries before a message goes to the dead letters. */
  readonly maxReceiveCount: number;
  /** How long a message is hidden from others once it was received. */
  readonly visibilitySeconds: number;
}

/** Calls the function once for each tenant. */
export interface ScheduleTrigger {
  readonly kind: 'schedule';
  readonly everyMinutes: number;
}

export interface Grants {
  readonly index: 'none' | 'read' | 'write';
  readonly packs: 'none' | 'read' | 'write' | 'presign';
}

export interface FunctionRow {
  readonly name: 'search' | 'render' | 'volume' | 'retrieve' | 'store' | 'gateway' | 'ingest' | 'erase' | 'purge';
  readonly trigger: HttpTrigger | QueueTrigger | ScheduleTrigger;
  readonly memoryMb: number;
  readonly timeoutSeconds: number;
  /** Disk space of one call that need not outlive it. Default: what a function has anyway, 512. */
  readonly scratchMb?: number;
  readonly grants: Grants;
}

const read = ['GET', 'HEAD', 'OPTIONS'] as const;
const study = '/dicomweb/studies/:study';
const series = `${study}/series/:series`;
const instance = `${series}/instances/:instance`;

export const functions: readonly FunctionRow[] = [
  {
    name: 'search',
    trigger: {
      kind: 'http',
      methods: read,
      paths: [
        '/dicomweb',
        '/dicomweb/openapi.json',
        '/dicomweb/studies',
        '/dicomweb/series',
        '/dicomweb/instances',
        `${study}/series`,
        `${study}/instances`,
        `${series}/instances`,
      ],
    },
    memoryMb: 512,
    timeoutSeconds: 30,
    grants: { index: 'read', packs: 'none' },
  },
  {
    name: 'render',
    trigger: {
      kind: 'http',
      methods: read,
      paths: [
        ...[study, series, instance, `${instance}/frames/:frames`].flatMap((path) => [
          `${path}/rendered`,
          `${path}/thumbnail`,
        ]),
        '/dicomweb/wado',
      ],
    },
    memoryMb: 3008,
    timeoutSeconds: 60,
    grants: { index: 'read', packs: 'read' },
  },
  {
    name: 'volume',
    trigger: {
      kind: 'http',
      methods: read,
      // As the standard's editions spell them.
      paths: [study, series, instance].flatMap((path) =>
        ['renderedmpr', 'renderedMPR', 'rendered3d', 'rendered3D'].map((name) => `${path}/${name}`),
      ),
    },
    // Three volumes of 512 x 512 x 300 and what decodes them; with the memory come the processors.
    memoryMb: 7076,
    timeoutSeconds: 60,
    grants: { index: 'read', packs: 'read' },
  },
  {
    name: 'retrieve',
    trigger: { kind: 'http', methods: read, paths: ['/dicomweb/*'] },
    memoryMb: 1024,
    timeoutSeconds: 900,
    grants: { index: 'read', packs: 'read' },
  },
  {
    name: 'store',
    trigger: { kind: 'http', methods: ['POST'], paths: ['/dicomweb/studies', study] },
    memoryMb: 1769,
    timeoutSeconds: 900,
    scratchMb: 10_240,
    grants: { index: 'write', packs: 'write' },
  },
  {
    name: 'gateway',
    trigger: {
      kind: 'http',
      methods: ['POST'],
      paths: [
        '/gateway/uploads',
        '/gateway/uploads/parts',
        '/gateway/uploads/complete',
        '/gateway/uploads/status',
        '/gateway/search',
        '/gateway/holdings',
        '/gateway/instances',
        '/gateway/reads',
        '/gateway/deletions',
      ],
    },
    memoryMb: 512,
    timeoutSeconds: 30,
    grants: { index: 'write', packs: 'presign' },
  },
  {
    name: 'ingest',
    trigger: { kind: 'queue', queue: 'pack-arrived', batch: 1, maxReceiveCount: 5, visibilitySeconds: 1_800 },
    memoryMb: 1024,
    timeoutSeconds: 300,
    grants: { index: 'write', packs: 'write' },
  },
  {
    name: 'erase',
    trigger: { kind: 'http', methods: ['DELETE'], paths: [study, series, instance] },
    memoryMb: 512,
    timeoutSeconds: 300,
    grants: { index: 'write', packs: 'none' },
  },
  {
    name: 'purge',
    trigger: { kind: 'schedule', everyMinutes: 60 },
    memoryMb: 1024,
    timeoutSeconds: 900,
    grants: { index: 'write', packs: 'write' },
  },
];
