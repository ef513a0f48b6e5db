/** A gateway's status as its page shows it, in the moods that people meet. */
import type { GatewayStatus } from '#edge-gateway/http/gateway-status.ts';
import { verdictOf } from '#edge-gateway/http/verdict.ts';

const NOW_MS = Date.UTC(2026, 0, 2, 9, 30);
const GB = 1e9;

type Parts = Partial<Omit<GatewayStatus, 'verdict'>>;

const none = { packs: 0, instances: 0, bytes: 0 };
const archived = { packs: 1_843, instances: 214_507, bytes: 108.4 * GB };

export const upload: GatewayStatus['upload'] = {
  lastSuccessAtMs: NOW_MS - 40_000,
  lastError: undefined,
  bytesSent: 15.6 * GB,
  cloudReachable: true,
  isUploadTime: true,
  hours: [],
  kilobytesPerSecond: undefined,
  clockSkewMs: 200,
};

/** What everything is like on a good day, changed by `parts`. */
export function statusLike(parts: Parts = {}): GatewayStatus {
  const status: Omit<GatewayStatus, 'verdict'> = {
    health: 'ok',
    alarms: [],
    warnings: [],
    aeTitle: 'ARCHIPEL',
    dicomPort: 11_112,
    cloudUrl: 'https://archive.example',
    version: '0.1.0',
    startedAtMs: NOW_MS - 12 * 86_400_000,
    nowMs: NOW_MS,
    packs: { open: none, sealed: none, sent: none, archived, rejected: none },
    backlog: { ...none, oldestAtMs: undefined },
    stored: { instances: 31_204, bytes: 15.6 * GB },
    rate: { receivedBytes: 0, uploadedBytes: 0 },
    minutes: [],
    upload,
    disk: { freeBytes: 412 * GB, totalBytes: 1_000 * GB, reserveBytes: 10 * GB },
    connections: 0,
    peers: [],
    routes: [],
    viewer: true,
    ...parts,
  };
  return { ...status, verdict: verdictOf(status) };
}

/** A working day in minutes, half of it before the start of work. */
export function dayOfMinutes(): GatewayStatus['minutes'] {
  return Array.from({ length: 1_440 }, (_, i) => {
    const isWork = i > 500 && i < 1_200;
    const wave = 1 + Math.sin(i / 37) * 0.6 + Math.sin(i / 7) * 0.3;
    const receivedBytes = isWork ? Math.max(0, wave * 3e7) : i % 97 === 0 ? 2e7 : 0;
    const lag = i - 25;
    const uploadedBytes = lag > 500 && lag < 1_260 ? Math.min(2.8e7, Math.max(0, wave * 2.7e7)) : 0;
    return { receivedBytes, uploadedBytes };
  });
}

const peer = {
  address: '10.20.1.17',
  isSecure: false,
  firstHeardAtMs: NOW_MS - 86_400_000,
  lastHeardAtMs: NOW_MS - 90_000,
  associations: 14,
  rejections: 0,
  lastRejection: undefined,
  stores: 5_120,
  storedBytes: 2.7 * GB,
  failedStores: 0,
  lastStoreAtMs: NOW_MS - 90_000,
  queries: 0,
  retrievals: 0,
  commitments: 0,
};

export const peers: GatewayStatus['peers'] = [
  { ...peer, callingAeTitle: 'CT1' },
  {
    ...peer,
    callingAeTitle: 'MR_SOUTH',
    address: '10.20.1.31',
    isSecure: true,
    lastHeardAtMs: NOW_MS - 420_000,
    stores: 1_980,
    failedStores: 2,
  },
  {
    ...peer,
    callingAeTitle: 'US-PORTABLE-3',
    address: '10.20.4.9',
    lastHeardAtMs: NOW_MS - 1_300_000,
    associations: 0,
    stores: 0,
    storedBytes: 0,
    rejections: 6,
    lastRejection: { atMs: NOW_MS - 1_300_000, why: 'the calling AE title is not in the settings' },
  },
];

const waiting = { packs: 41, instances: 3_120, bytes: 1.62 * GB };

export const goodDay = (): GatewayStatus => statusLike({ minutes: dayOfMinutes(), peers });

export const onTheWay = (): GatewayStatus =>
  statusLike({
    minutes: dayOfMinutes(),
    peers,
    packs: {
      open: { packs: 3, instances: 210, bytes: 0.11 * GB },
      sealed: waiting,
      sent: none,
      archived,
      rejected: none,
    },
    backlog: { packs: 44, instances: 3_330, bytes: 1.73 * GB, oldestAtMs: NOW_MS - 6 * 60_000 },
    rate: { receivedBytes: 6e5, uploadedBytes: 4.1e6 },
  });

export const cableOut = (): GatewayStatus =>
  statusLike({
    minutes: dayOfMinutes(),
    peers,
    packs: { open: none, sealed: waiting, sent: none, archived, rejected: none },
    backlog: { ...waiting, oldestAtMs: NOW_MS - 3 * 3_600_000 },
    warnings: ['Upload: The cloud could not be reached (connection refused).'],
    upload: {
      ...upload,
      lastSuccessAtMs: NOW_MS - 3 * 3_600_000,
      lastError: 'The cloud could not be reached (connection refused).',
      bytesSent: 9 * GB,
      cloudReachable: false,
    },
  });

export const diskFailed = (): GatewayStatus =>
  statusLike({
    health: 'failing',
    alarms: ['A write to the disk failed: nothing is accepted any more. Check the disk, then restart the gateway.'],
    peers,
  });

const fewPacks = { packs: 12, bytes: 4 * GB };

/** With every part in use. */
export const everything = (): GatewayStatus =>
  statusLike({
    ...onTheWay(),
    upload: {
      ...upload,
      hours: [{ from: '18:00', to: '07:00' }],
      isUploadTime: false,
      kilobytesPerSecond: 1_250,
      clockSkewMs: 240_000,
    },
    warnings: ["The clock of this machine is 4 min behind the cloud's; set it up to keep time by NTP."],
    cache: {
      freeBytes: 412 * GB,
      totalBytes: 1_000 * GB,
      marks: { evictBelowBytes: 40 * GB, reserveBytes: 10 * GB, rejectBelowBytes: 5 * GB },
      packs: { onDisk: fewPacks, evictable: { packs: 1_800, bytes: 106 * GB }, evicted: fewPacks },
      bytesPerDay: 21 * GB,
      daysUntilFull: 24.2,
      evicted: fewPacks,
      scrub: {
        running: undefined,
        last: {
          startedAtMs: NOW_MS - 22 * 86_400_000,
          finishedAtMs: NOW_MS - 9 * 86_400_000,
          checkedPacks: 1_843,
          checkedBytes: 108 * GB,
        },
        damaged: [],
      },
    },
    dicomTlsPort: 2762,
    recall: { packs: 31, bytes: 1.9 * GB, failures: 1, cloudAnswers: true },
    commitments: { undecided: 7, unreported: 2, troubles: [] },
    routes: [
      {
        aeTitle: 'PACS',
        waiting: 0,
        waitingSinceMs: undefined,
        refused: 0,
        lastError: undefined,
        lastSuccessAtMs: NOW_MS - 70_000,
      },
      {
        aeTitle: 'AI-LUNG',
        waiting: 14,
        waitingSinceMs: NOW_MS - 40 * 60_000,
        refused: 3,
        lastError: 'Nobody listens at this address.',
        lastSuccessAtMs: NOW_MS - 44 * 60_000,
      },
    ],
  });
