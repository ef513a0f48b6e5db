/**
 * The parts of the status page below its headline, each a card: how far images have come, throughput, disk, cloud, and the AEs
 * that were heard from. Only shown, never decided; what is not in use has no card.
 */
import type { PackState } from '#shared/archive/records.ts';
import type { GatewayStatus } from './gateway-status.ts';
import { throughputPlot } from './throughput-plot.ts';
import { hoursOf } from './verdict.ts';
import { ago, bytes, count, counted, duration, escapeHtml } from './words.ts';

const stateNames: Readonly<Record<PackState, string>> = {
  open: 'arriving',
  sealed: 'waiting',
  sent: 'being verified',
  archived: 'safe in the cloud',
  rejected: 'rejected',
};

/** More are in /status.json. */
const MAX_PEERS = 24;

/** On a phone one below the other: what is `late` comes after what stands at the side of a wide screen. */
export function statusCards(status: GatewayStatus): string {
  const main = [throughputCard(status), peersCard(status), routesCard(status)];
  const side = [cloudCard(status), diskCard(status), commitmentsCard(status), connectCard(status)];
  return `<div class="cards">${instancesCard(status)}
<div class="main">${main.join('\n')}</div>
<div class="side">${side.join('\n')}</div></div>`;
}

function card(title: string, content: string, place: 'full' | 'late' | '' = ''): string {
  return `<section${place === '' ? '' : ` class="${place}"`}><h2>${title}</h2>${content}</section>`;
}

/** Share of a whole as a bar; marks are shares as well. */
function bar(share: number, mark: number | undefined): string {
  const used = (Math.min(1, Math.max(0, share)) * 100).toFixed(1);
  const line =
    mark === undefined || !(mark > 0 && mark < 1)
      ? ''
      : `<rect class="mark" x="${(mark * 100).toFixed(1)}" width="0.6" height="4"/>`;
  return `<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="4"/><rect class="used" width="${used}" height="4"/>${line}</svg>`;
}

function instancesCard({ packs }: GatewayStatus): string {
  const states: readonly PackState[] = ['open', 'sealed', 'sent', 'archived', 'rejected'];
  const tiles = states
    .filter((state) => state !== 'rejected' || packs.rejected.packs > 0)
    .map((state) => {
      const total = packs[state];
      const tone = state === 'archived' ? ' class="safe"' : state === 'rejected' ? ' class="failing"' : '';
      return `<li${tone}><b>${count(total.instances)}</b><span>${stateNames[state]}</span><small>${bytes(total.bytes)}</small></li>`;
    });
  return card('Images', `<ul class="tiles">${tiles.join('')}</ul>`, 'full');
}

function throughputCard({ minutes }: GatewayStatus): string {
  return card('24 hours', throughputPlot(minutes));
}

function diskCard({ disk, cache, nowMs }: GatewayStatus): string {
  const { freeBytes, totalBytes, reserveBytes } = disk;
  if (totalBytes === 0) return '';
  const shares = bar(1 - freeBytes / totalBytes, 1 - reserveBytes / totalBytes);
  return card(
    'Disk',
    `<p class="figure">${bytes(freeBytes)} <small>free of ${bytes(totalBytes)}</small></p>${shares}${cacheLines(cache, nowMs)}<p class="faint">Images are refused below ${bytes(reserveBytes)} of free space.</p>`,
  );
}

function cacheLines(cache: GatewayStatus['cache'], nowMs: number): string {
  if (cache === undefined) return '';
  const { packs, bytesPerDay, daysUntilFull, scrub } = cache;
  const days = daysUntilFull === undefined ? undefined : Math.floor(daysUntilFull);
  const forecast =
    days === undefined
      ? ''
      : `<p>${bytes(bytesPerDay)} a day come in: room for ${days > 365 ? 'more than a year' : counted(days, 'day')} without the cloud.</p>`;
  const checked =
    scrub.last === undefined ? '' : ` All of it was read and checked ${ago(nowMs - scrub.last.finishedAtMs)}.`;
  return `${forecast}<p class="faint">${bytes(packs.evictable.bytes)} of it are safe in the cloud and make room when it is needed.${checked}</p>`;
}

function cloudCard({ upload, cloudUrl, nowMs, rate, recall }: GatewayStatus): string {
  const { cloudReachable, lastSuccessAtMs, bytesSent, hours, isUploadTime, kilobytesPerSecond } = upload;
  const last =
    lastSuccessAtMs === undefined
      ? 'Nothing was uploaded since the start'
      : `Last upload ${ago(nowMs - lastSuccessAtMs)}`;
  const now = rate.uploadedBytes >= 1000 ? `, now ${bytes(rate.uploadedBytes)}/s` : '';
  const limits = [
    ...(hours.length === 0 ? [] : [`${hoursOf(upload)}${isUploadTime ? '' : ' Now only urgent ones go.'}`]),
    ...(kilobytesPerSecond === undefined ? [] : [`At most ${bytes(kilobytesPerSecond * 1000)}/s.`]),
  ];
  const fetched =
    recall === undefined || recall.packs + recall.failures === 0
      ? ''
      : `<p>Fetched back: ${counted(recall.packs, 'pack')}, ${bytes(recall.bytes)}${recall.failures === 0 ? '' : `; ${count(recall.failures)} failed`}.</p>`;
  return card(
    'Cloud',
    `<p class="figure ${cloudReachable ? 'safe' : 'waiting'}">${cloudReachable ? 'reachable' : 'not reachable'}</p><p>${last}; ${bytes(bytesSent)} sent since the start${now}.</p>${limits.length === 0 ? '' : `<p>${escapeHtml(limits.join(' '))}</p>`}${fetched}<p class="faint">${escapeHtml(cloudUrl)}</p>`,
  );
}

function routesCard({ routes, nowMs }: GatewayStatus): string {
  if (routes.length === 0) return '';
  const rows = routes.map(({ aeTitle, waiting, waitingSinceMs, refused, lastError, lastSuccessAtMs }) => {
    const trouble = lastError === undefined ? '' : `<small class="waiting">${escapeHtml(lastError)}</small>`;
    const since =
      waitingSinceMs === undefined || waiting === 0
        ? ''
        : `<small class="faint">since ${duration(nowMs - waitingSinceMs)}</small>`;
    const lost = refused === 0 ? '' : `<small class="failing">${counted(refused, 'image')} refused</small>`;
    return `<tr><td><b>${escapeHtml(aeTitle)}</b>${trouble}${lost}</td><td>${lastSuccessAtMs === undefined ? '' : ago(nowMs - lastSuccessAtMs)}</td><td class="n">${count(waiting)}${since}</td></tr>`;
  });
  return card(
    'Sent on to',
    `<table><thead><tr><th>AE title</th><th>last</th><th class="n">packs waiting</th></tr></thead><tbody>${rows.join('')}</tbody></table>`,
    'late',
  );
}

function commitmentsCard({ commitments }: GatewayStatus): string {
  if (commitments === undefined) return '';
  const { undecided, unreported } = commitments;
  if (undecided + unreported === 0) return '';
  return card(
    'Storage commitment',
    `<dl><dt>waiting for the cloud</dt><dd>${count(undecided)}</dd><dt>to be reported</dt><dd>${count(unreported)}</dd></dl>`,
  );
}

function peersCard({ peers, nowMs }: GatewayStatus): string {
  if (peers.length === 0) return card('Heard from', '<p class="faint">Nobody has called since the start.</p>', 'late');
  const rows = peers.slice(0, MAX_PEERS).map((peer) => {
    const { callingAeTitle, address, isSecure, lastHeardAtMs, stores, storedBytes, lastRejection } = peer;
    const isRefused = lastRejection !== undefined && lastRejection.atMs === lastHeardAtMs;
    const trouble =
      lastRejection === undefined
        ? ''
        : `<small class="${isRefused ? 'failing' : 'faint'}">refused ${ago(nowMs - lastRejection.atMs)}: ${escapeHtml(lastRejection.why)}</small>`;
    const failed = peer.failedStores === 0 ? '' : `<small class="waiting">${count(peer.failedStores)} failed</small>`;
    const title = callingAeTitle === '' ? '(no title)' : callingAeTitle;
    return `<tr><td><b>${escapeHtml(title)}</b><small class="faint">${escapeHtml(address)}${isSecure ? ' · TLS' : ''}</small>${trouble}</td><td>${ago(nowMs - lastHeardAtMs)}</td><td class="n">${count(stores)}${failed}<small class="faint">${storedBytes === 0 ? '' : bytes(storedBytes)}</small></td></tr>`;
  });
  const more =
    peers.length > MAX_PEERS ? `<p class="faint">and ${counted(peers.length - MAX_PEERS, 'more AE')}</p>` : '';
  return card(
    'Heard from',
    `<table><thead><tr><th>AE title</th><th>last</th><th class="n">images</th></tr></thead><tbody>${rows.join('')}</tbody></table>${more}`,
    'late',
  );
}

function connectCard({ aeTitle, dicomPort, dicomTlsPort, viewer }: GatewayStatus): string {
  const link = viewer ? '<p><a href="/">Open the viewer</a></p>' : '';
  return card(
    'Modalities send to',
    `<dl><dt>AE title</dt><dd>${escapeHtml(aeTitle)}</dd><dt>Port</dt><dd>${dicomPort}</dd>${dicomTlsPort === undefined ? '' : `<dt>Port for TLS</dt><dd>${dicomTlsPort}</dd>`}</dl>${link}`,
  );
}
