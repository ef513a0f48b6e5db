/**
 * The gateway's metrics for Prometheus: the one list of names with their help, what happens at the DIMSE door counted as it
 * happens, and the rest taken from the status when somebody asks. The runbook has a line for each. No patient data: labels
 * are states, codes and AE titles from the settings, so that strangers cannot make series.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { DimseEvent } from './dimse/events.ts';
import type { GatewayStatus } from './http/gateway-status.ts';

/** `counter` and `histogram` are fed by events; `gauge` and `total` (a counter that somebody else counts) by the status. */
interface Metric {
  readonly kind: 'counter' | 'histogram' | 'gauge' | 'total';
  readonly help: string;
  readonly labels?: readonly string[];
}

export const metricList = {
  info: { kind: 'gauge', help: '1, with the version as a label', labels: ['version'] },
  start_time_seconds: { kind: 'gauge', help: 'When the process began, Unix time' },
  healthy: { kind: 'gauge', help: '1 while images are accepted, 0 when the disk failed or is full' },
  alarms: { kind: 'gauge', help: 'Sentences on the status page that ask for a person' },
  packs: { kind: 'gauge', help: 'Packs by state', labels: ['state'] },
  instances: { kind: 'gauge', help: 'Instances by the state of their pack', labels: ['state'] },
  pack_bytes: { kind: 'gauge', help: 'Bytes of packs by state', labels: ['state'] },
  backlog_instances: { kind: 'gauge', help: 'Instances acknowledged and not verified by the cloud yet' },
  backlog_bytes: { kind: 'gauge', help: 'Bytes of packs that the cloud has not verified yet' },
  backlog_oldest_seconds: { kind: 'gauge', help: 'Age of the oldest pack that the cloud has not verified; 0: none' },
  stored_instances_total: { kind: 'total', help: 'Instances stored since the start, duplicates not counted' },
  stored_bytes_total: { kind: 'total', help: 'Bytes stored since the start, duplicates not counted' },
  uploaded_bytes_total: { kind: 'total', help: 'Bytes uploaded since the start' },
  upload_last_success_seconds: {
    kind: 'gauge',
    help: 'When the last upload succeeded, Unix time; 0: never since the start',
  },
  cloud_reachable: { kind: 'gauge', help: '1 while uploads go through, 0 while they fail' },
  upload_time: { kind: 'gauge', help: '1 within the upload hours, 0 outside of them' },
  clock_skew_seconds: { kind: 'gauge', help: "How far this machine's clock is behind the cloud's; negative: ahead" },
  recalled_packs_total: { kind: 'total', help: 'Packs fetched back from the cloud since the start' },
  recalled_bytes_total: { kind: 'total', help: 'Bytes fetched back from the cloud since the start' },
  recall_failures_total: { kind: 'total', help: 'Packs that could not be fetched back since the start' },
  recall_possible: { kind: 'gauge', help: '1 while the cloud answers those who wait for what is not here' },
  disk_free_bytes: { kind: 'gauge', help: 'Free space on the volume of the data folder' },
  disk_total_bytes: { kind: 'gauge', help: 'Size of the volume of the data folder' },
  disk_reserve_bytes: { kind: 'gauge', help: 'Free space below which images are refused' },
  cache_evictable_bytes: {
    kind: 'gauge',
    help: 'Bytes on this disk that the cloud has verified: they make room when it is needed',
  },
  cache_evicted_bytes_total: {
    kind: 'total',
    help: 'Bytes that left this disk since the start, all of them verified by the cloud',
  },
  disk_days_until_full: {
    kind: 'gauge',
    help: 'Days until images are refused if they come as in the last week and the cloud takes nothing more',
  },
  damaged_packs: { kind: 'gauge', help: 'Packs that changed on this disk and are not mended' },
  scrub_last_finished_seconds: {
    kind: 'gauge',
    help: 'When all packs had been read again the last time, Unix time; 0: not yet',
  },
  associations_total: {
    kind: 'counter',
    help: 'Associations accepted, and rejected with result/source/reason of PS3.8 Table 9-21',
    labels: ['result'],
  },
  dimse_connections: { kind: 'gauge', help: 'DIMSE connections at this moment' },
  association_ends_total: { kind: 'counter', help: 'Connections by how they ended', labels: ['end'] },
  connections_cut_total: { kind: 'counter', help: 'Connections cut without a word, and why', labels: ['why'] },
  stores_total: { kind: 'counter', help: 'C-STORE requests by outcome', labels: ['outcome'] },
  store_seconds: { kind: 'histogram', help: 'From the C-STORE request to its response' },
  finds_total: { kind: 'counter', help: 'C-FIND requests by level and status', labels: ['level', 'status'] },
  find_seconds: { kind: 'histogram', help: 'From the C-FIND request to its last response' },
  retrieves_total: { kind: 'counter', help: 'C-MOVE and C-GET requests by status', labels: ['operation', 'status'] },
  retrieved_instances_total: { kind: 'counter', help: 'Instances sent by C-MOVE and C-GET', labels: ['result'] },
  retrieve_seconds: { kind: 'histogram', help: 'From the C-MOVE or C-GET request to its last response' },
  commitment_requests_total: { kind: 'counter', help: 'Storage commitments asked for by status', labels: ['status'] },
  commitment_reports_total: { kind: 'counter', help: 'Commitment reports delivered or given up', labels: ['result'] },
  commitments_undecided: { kind: 'gauge', help: 'Storage commitments that wait for the cloud' },
  commitments_unreported: { kind: 'gauge', help: 'Storage commitments whose report is not delivered yet' },
  route_waiting_packs: { kind: 'gauge', help: 'Packs that wait to be routed, by destination', labels: ['to'] },
  route_waiting_seconds: { kind: 'gauge', help: 'Age of the oldest of them; 0: none', labels: ['to'] },
  route_refused_instances: {
    kind: 'gauge',
    help: 'Instances that a destination will not get, since the start',
    labels: ['to'],
  },
  resident_memory_bytes: { kind: 'gauge', help: 'Memory of the process' },
  event_loop_delay_seconds: {
    kind: 'gauge',
    help: 'How late the event loop was since the last scrape, 99th percentile',
  },
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof metricList;

export const METRIC_PREFIX = 'archipel_edge_';

export interface Metrics {
  readonly note: (event: DimseEvent) => void;
  /** In the text format of Prometheus. */
  text(status: GatewayStatus): Promise<string>;
  readonly contentType: string;
  close(): void;
}

const BUCKETS_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

type Labels = Readonly<Record<string, string>>;

export function createMetrics(): Metrics {
  const registry = new Registry();
  const metrics = new Map<string, Counter | Gauge | Histogram>();
  for (const [name, metric] of Object.entries<Metric>(metricList)) {
    const options = {
      name: METRIC_PREFIX + name,
      help: metric.help,
      labelNames: [...(metric.labels ?? [])],
      registers: [registry],
    };
    if (metric.kind === 'histogram') metrics.set(name, new Histogram({ ...options, buckets: BUCKETS_SECONDS }));
    else if (metric.kind === 'gauge') metrics.set(name, new Gauge(options));
    else metrics.set(name, new Counter(options));
  }
  const count = (name: MetricName, labels: Labels, by = 1): void => {
    const metric = metrics.get(name);
    if (metric instanceof Counter) metric.inc({ ...labels }, by);
  };
  const observe = (name: MetricName, ms: number): void => {
    const metric = metrics.get(name);
    if (metric instanceof Histogram) metric.observe(ms / 1000);
  };
  const loop = monitorEventLoopDelay({ resolution: 20 });
  loop.enable();

  return {
    contentType: registry.contentType,
    note(event) {
      switch (event.kind) {
        case 'association-accepted':
          return count('associations_total', { result: 'accepted' });
        case 'association-rejected': {
          const { result, source, reason } = event.reject;
          return count('associations_total', { result: `rejected ${result}/${source}/${reason}` });
        }
        case 'association-ended':
          return count('association_ends_total', { end: event.end });
        case 'connections-cut':
          return count('connections_cut_total', { why: event.why }, event.count);
        case 'store':
          observe('store_seconds', event.durationMs);
          return count('stores_total', { outcome: event.outcome });
        case 'find':
          observe('find_seconds', event.durationMs);
          return count('finds_total', { level: event.level, status: hex(event.status) });
        case 'retrieve': {
          const { completed, failed, warning } = event.counts;
          observe('retrieve_seconds', event.durationMs);
          count('retrieved_instances_total', { result: 'completed' }, completed + warning);
          count('retrieved_instances_total', { result: 'failed' }, failed);
          return count('retrieves_total', { operation: event.operation, status: hex(event.status) });
        }
        case 'commitment-requested':
          return count('commitment_requests_total', { status: hex(event.status) });
        case 'commitment-reported':
          return count('commitment_reports_total', { result: event.isDelivered ? 'delivered' : 'given up' });
      }
    },
    async text(status) {
      for (const [name, values] of Object.entries(valuesOf(status)))
        for (const [labels, value] of values) {
          const metric = metrics.get(name);
          if (metric instanceof Gauge) metric.set({ ...labels }, value);
          else if (metric instanceof Counter) {
            metric.reset();
            metric.inc(value);
          }
        }
      const set = (name: MetricName, value: number): void => (metrics.get(name) as Gauge).set(value);
      set('resident_memory_bytes', process.memoryUsage.rss());
      set('event_loop_delay_seconds', loop.percentile(99) / 1e9);
      loop.reset();
      return registry.metrics();
    },
    close: () => void loop.disable(),
  };
}

const hex = (status: number): string => `${status.toString(16).toUpperCase().padStart(4, '0')}H`;

type Values = readonly (readonly [Labels, number])[];

function cacheValues(
  { packs, evicted, daysUntilFull, scrub }: NonNullable<GatewayStatus['cache']>,
  one: (value: number) => Values,
): Partial<Record<MetricName, Values>> {
  return {
    cache_evictable_bytes: one(packs.evictable.bytes),
    cache_evicted_bytes_total: one(evicted.bytes),
    ...(daysUntilFull !== undefined && { disk_days_until_full: one(daysUntilFull) }),
    damaged_packs: one(scrub.damaged.length),
    scrub_last_finished_seconds: one((scrub.last?.finishedAtMs ?? 0) / 1000),
  };
}

/** What the status says, by metric. */
function valuesOf(status: GatewayStatus): Partial<Record<MetricName, Values>> {
  const one = (value: number): Values => [[{}, value]];
  const byState = (of: (total: GatewayStatus['packs']['open']) => number): Values =>
    Object.entries(status.packs).map(([state, total]) => [{ state }, of(total)] as const);
  const { backlog, upload, disk, nowMs, recall, commitments } = status;
  const byRoute = (of: (route: GatewayStatus['routes'][number]) => number): Values =>
    status.routes.map((route) => [{ to: route.aeTitle }, of(route)] as const);
  return {
    info: [[{ version: status.version }, 1]],
    start_time_seconds: one(status.startedAtMs / 1000),
    healthy: one(status.health === 'ok' ? 1 : 0),
    alarms: one(status.alarms.length),
    packs: byState((total) => total.packs),
    instances: byState((total) => total.instances),
    pack_bytes: byState((total) => total.bytes),
    backlog_instances: one(backlog.instances),
    backlog_bytes: one(backlog.bytes),
    backlog_oldest_seconds: one(backlog.oldestAtMs === undefined ? 0 : Math.max(0, nowMs - backlog.oldestAtMs) / 1000),
    stored_instances_total: one(status.stored.instances),
    stored_bytes_total: one(status.stored.bytes),
    uploaded_bytes_total: one(upload.bytesSent),
    upload_last_success_seconds: one((upload.lastSuccessAtMs ?? 0) / 1000),
    cloud_reachable: one(upload.cloudReachable ? 1 : 0),
    upload_time: one(upload.isUploadTime ? 1 : 0),
    ...(upload.clockSkewMs !== undefined && { clock_skew_seconds: one(upload.clockSkewMs / 1000) }),
    ...(recall && {
      recalled_packs_total: one(recall.packs),
      recalled_bytes_total: one(recall.bytes),
      recall_failures_total: one(recall.failures),
      recall_possible: one(recall.cloudAnswers ? 1 : 0),
    }),
    ...(commitments && {
      commitments_undecided: one(commitments.undecided),
      commitments_unreported: one(commitments.unreported),
    }),
    dimse_connections: one(status.connections),
    disk_free_bytes: one(disk.freeBytes),
    disk_total_bytes: one(disk.totalBytes),
    disk_reserve_bytes: one(disk.reserveBytes),
    route_waiting_packs: byRoute(({ waiting }) => waiting),
    route_waiting_seconds: byRoute(({ waitingSinceMs = nowMs }) => Math.max(0, nowMs - waitingSinceMs) / 1000),
    route_refused_instances: byRoute(({ refused }) => refused),
    ...(status.cache && cacheValues(status.cache, one)),
  };
}
