/**
 * The first thing that is seen: is everything safe in the cloud, and if not, why. One tone, one headline, and the sentences
 * that explain it, from what was gathered.
 */
import type { GatewayStatus } from './gateway-status.ts';
import { ago, bytes, counted, duration } from './words.ts';

export interface Verdict {
  /** safe: all is in the cloud. moving: on its way, as usual. waiting: it does not get there now. failing: act. */
  readonly tone: 'safe' | 'moving' | 'waiting' | 'failing';
  readonly headline: string;
  readonly because: readonly string[];
}

/** What is on its way for longer is not on its way as usual. */
const LONG_MS = 60 * 60_000;

export function verdictOf(status: Omit<GatewayStatus, 'verdict'>): Verdict {
  const { backlog, nowMs, alarms, warnings, packs } = status;
  const explained = [...alarms, ...warnings];
  if (status.health === 'failing') return { tone: 'failing', headline: 'Not accepting images', because: explained };
  const waitedMs = backlog.oldestAtMs === undefined ? 0 : nowMs - backlog.oldestAtMs;
  const extent =
    backlog.instances === 0
      ? []
      : [
          `${bytes(backlog.bytes)} in ${counted(backlog.packs, 'pack')}; the oldest arrived ${ago(waitedMs)}.${pace(status)}`,
        ];
  if (alarms.length > 0)
    return { tone: 'failing', headline: 'Something needs your attention', because: [...explained, ...extent] };
  if (backlog.instances === 0)
    return {
      tone: 'safe',
      headline: 'Everything is safe in the cloud',
      because: [`${counted(packs.archived.instances, 'image')} from here, each verified there.`, ...warnings],
    };
  const { cloudReachable, isUploadTime } = status.upload;
  const isHeldUp = !cloudReachable || (isUploadTime && waitedMs > LONG_MS);
  if (isHeldUp)
    return {
      tone: 'waiting',
      headline: `${counted(backlog.instances, 'image')} ${backlog.instances === 1 ? 'is' : 'are'} only here`,
      because: [...extent, ...warnings],
    };
  if (!isUploadTime)
    return {
      tone: 'moving',
      headline: `${counted(backlog.instances, 'image')} ${backlog.instances === 1 ? 'waits' : 'wait'} for the upload hours`,
      because: [...extent, `${hoursOf(status.upload)} Until then only urgent ones go.`, ...warnings],
    };
  return {
    tone: 'moving',
    headline: `${counted(backlog.instances, 'image')} on the way to the cloud`,
    because: [...extent, ...warnings],
  };
}

/** `Uploads run from 18:00 to 07:00.` */
export function hoursOf({ hours }: GatewayStatus['upload']): string {
  if (hours.length === 0) return 'Uploads run at all hours.';
  return `Uploads run from ${hours.map(({ from, to }) => `${from} to ${to}`).join(', from ')}.`;
}

/** How long the backlog takes at the present rate, where that can be said. */
function pace({ backlog, rate, upload }: Omit<GatewayStatus, 'verdict'>): string {
  const perSecond = rate.uploadedBytes - rate.receivedBytes;
  if (!upload.cloudReachable || !upload.isUploadTime || rate.uploadedBytes < 1_000) return '';
  if (perSecond <= 0) return ` More arrives than the line takes: ${bytes(rate.uploadedBytes)}/s go out.`;
  return ` At ${bytes(rate.uploadedBytes)}/s it takes about ${duration((backlog.bytes / perSecond) * 1000)}.`;
}
