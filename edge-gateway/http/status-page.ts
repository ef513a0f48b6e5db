/**
 * The status page as HTML: made complete on the server, then kept fresh by a few lines of script that fetch the same
 * page again and swap its main part. No library, nothing from elsewhere, light and dark.
 */
import type { PackState } from '#shared/archive/records.ts';
import type { GatewayStatus } from './gateway-status.ts';

const stateNames: Readonly<Record<PackState, string>> = {
  open: 'arriving',
  sealed: 'waiting for upload',
  sent: 'sent, being verified',
  archived: 'safe in the cloud',
  rejected: 'rejected by the cloud',
};

const style = `
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#c62828;--mid:#b26a00}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff7b72;--mid:#e3a34a}}
body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem}
h1{font-size:1.2rem;margin:.2rem 0 1rem}h2{font-size:1rem;margin:1.5rem 0 .3rem}
.big{font-size:2rem;font-weight:600;line-height:1.2}.good{color:var(--good)}.bad{color:var(--bad)}.mid{color:var(--mid)}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .2rem;border-bottom:1px solid var(--line);text-align:left;font-weight:400}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{opacity:.7;font-size:.85rem}
ul{padding-left:1.2rem}p{margin:.3rem 0}.bar{height:.6rem;border-radius:.3rem;background:var(--line);overflow:hidden}.bar i{display:block;height:100%;background:var(--good)}
`;

const script = `setInterval(async()=>{try{const t=await(await fetch('/status')).text();const m=new DOMParser().parseFromString(t,'text/html').querySelector('main');
if(m)document.querySelector('main').replaceWith(m)}catch{const p=document.getElementById('lead');p.textContent='The gateway does not answer';p.className='big bad'}},2000)`;

export function statusPage(status: GatewayStatus): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${escapeHtml(status.aeTitle)} · Archipel gateway</title><style>${style}</style></head>
<body><h1>Archipel gateway <b>${escapeHtml(status.aeTitle)}</b></h1>${mainPart(status)}<script>${script}</script></body></html>`;
}

function mainPart(status: GatewayStatus): string {
  const { backlog, disk, upload, nowMs } = status;
  const [tone, lead] =
    status.health === 'failing'
      ? ['bad', 'Not accepting images']
      : backlog.instances === 0
        ? ['good', 'Everything is in the cloud']
        : [
            'mid',
            `${count(backlog.instances)} ${backlog.instances === 1 ? 'instance' : 'instances'} not in the cloud yet`,
          ];
  const since =
    backlog.oldestAtMs === undefined
      ? ''
      : `<p>${bytes(backlog.bytes)} in ${count(backlog.packs)} packs, the oldest from ${ago(nowMs - backlog.oldestAtMs)}.</p>`;
  const problems =
    status.problems.length === 0
      ? ''
      : `<h2>What is wrong</h2><ul>${status.problems.map((p) => `<li class="bad">${escapeHtml(p)}</li>`).join('')}</ul>`;
  const states: readonly PackState[] = ['open', 'sealed', 'sent', 'archived', 'rejected'];
  const rows = states
    .filter((state) => state !== 'rejected' || status.packs.rejected.packs > 0)
    .map((state) => {
      const total = status.packs[state];
      return `<tr><td>${stateNames[state]}</td><td class="n">${count(total.instances)}</td><td class="n">${count(total.packs)}</td><td class="n">${bytes(total.bytes)}</td></tr>`;
    });
  const used = disk.totalBytes === 0 ? 0 : Math.round((1 - disk.freeBytes / disk.totalBytes) * 100);
  return `<main><p id="lead" class="big ${tone}">${lead}</p>${since}${problems}
<h2>Instances</h2><table><tr><th></th><th class="n">instances</th><th class="n">packs</th><th class="n">size</th></tr>${rows.join('')}</table>
<h2>Cloud</h2><p class="${upload.cloudReachable ? 'good' : 'bad'}">${upload.cloudReachable ? 'reachable' : 'not reachable'} <span style="color:initial;opacity:.7">${escapeHtml(status.cloudUrl)}</span></p>
<p>${upload.lastSuccessAtMs === undefined ? 'Nothing was uploaded since the start' : `Last upload ${ago(nowMs - upload.lastSuccessAtMs)}`}, ${bytes(upload.bytesSent)} sent since the start.</p>
<h2>Disk</h2><div class="bar"><i style="width:${used}%"></i></div><p>${bytes(disk.freeBytes)} free of ${bytes(disk.totalBytes)}; refuses images below ${bytes(disk.reserveBytes)}.</p>
<h2>Modalities send to</h2><p>AE title <b>${escapeHtml(status.aeTitle)}</b>, port <b>${status.dicomPort}</b></p>
${status.viewer ? '<h2>Images</h2><p><a href="/">Open the viewer</a></p>' : ''}
<p style="opacity:.7">Version ${escapeHtml(status.version)}, started ${ago(nowMs - status.startedAtMs)}.</p></main>`;
}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const count = (n: number): string => n.toLocaleString('en');

function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}
