/**
 * The status page as HTML: made complete on the server, readable on a phone and on a wall. A few lines of script swap its main
 * part for a fresh one; without scripts it reloads. No library, nothing from elsewhere, light and dark.
 */
import { createHash } from 'node:crypto';
import type { GatewayStatus } from './gateway-status.ts';
import { statusCards } from './status-cards.ts';
import { ago, escapeHtml } from './words.ts';

const style = `
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--text:#16191d;--faint:#626b77;--line:#e3e6ea;
--safe:#11703c;--safe-card:#e4f5ea;--moving:#0b5cad;--moving-card:#e5f0fc;--waiting:#8a5300;--waiting-card:#fdf1dc;--failing:#b3261e;--failing-card:#fde8e6;--in:#3b82c4;--out:#3fa36b}
@media(prefers-color-scheme:dark){:root{--page:#0f1215;--card:#181c21;--text:#e7eaee;--faint:#929ba7;--line:#2a3037;
--safe:#5fd38d;--safe-card:#12291c;--moving:#7ab8f5;--moving-card:#122436;--waiting:#f0b45c;--waiting-card:#2f230f;--failing:#ff8a80;--failing-card:#371715;--in:#5a9fdc;--out:#56bd85}}
html{font-size:clamp(100%,.65rem + .5vw,175%)}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
.frame{max-width:80rem;margin:0 auto;padding:1.25rem clamp(1rem,3vw,2.5rem) 2rem}
header,footer{display:flex;flex-wrap:wrap;gap:.25rem 1rem;justify-content:space-between;color:var(--faint);font-size:.9rem}
header h1{font:inherit;margin:0}header b{color:var(--text);font-size:1.05rem}
#lead{border-radius:1rem;padding:clamp(1.25rem,3vw,2.25rem);margin:1rem 0;background:var(--card)}
#lead.safe{background:var(--safe-card)}#lead.moving{background:var(--moving-card)}#lead.waiting{background:var(--waiting-card)}#lead.failing{background:var(--failing-card)}
#lead p{margin:.5rem 0 0;max-width:60rem}#lead strong{display:block;font-size:clamp(1.6rem,4.5vw,3rem);line-height:1.15;font-weight:650;letter-spacing:-.015em;text-wrap:balance}
.safe strong,.figure.safe,.tiles .safe b{color:var(--safe)}.moving strong{color:var(--moving)}.waiting strong,.waiting{color:var(--waiting)}.failing strong,.failing,.tiles .failing b{color:var(--failing)}
#lead.waiting,#lead.failing{color:var(--text)}
.cards{display:flex;flex-direction:column;gap:1rem}.main,.side{display:contents}.late{order:1}
@media(min-width:56rem){.cards{display:grid;grid-template-columns:minmax(0,2fr) minmax(17rem,1fr);align-items:start}.full{grid-column:1/-1}.main,.side{display:grid;gap:1rem}}
section{background:var(--card);border:1px solid var(--line);border-radius:.9rem;padding:1rem 1.25rem 1.1rem;min-width:0}
.hours i{font-style:normal}h2{font-size:.85rem;font-weight:600;color:var(--faint);margin:0 0 .6rem}
p{margin:.35rem 0 0;overflow-wrap:anywhere}small{display:block;font-size:.82rem;line-height:1.35}.n small{white-space:nowrap}.faint{color:var(--faint)}
.figure{font-size:1.5rem;font-weight:600;line-height:1.3;margin:0}.figure small{display:inline;font-size:.95rem;font-weight:400;color:var(--faint)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.5rem,1fr));gap:.75rem 1rem;list-style:none;margin:0;padding:0}
.tiles b{display:block;font-size:1.5rem;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}.tiles span{font-size:.9rem}.tiles small{color:var(--faint)}
.bar{display:block;width:100%;height:.6rem;border-radius:.3rem;margin:.6rem 0 .5rem}.track{fill:var(--line)}.used{fill:var(--in)}.mark{fill:var(--failing)}
.plot{display:block;width:100%;height:clamp(7rem,16vw,11rem)}.plot .received,.key.received{fill:var(--in);background:var(--in)}.plot .uploaded,.key.uploaded{fill:var(--out);background:var(--out)}
.plot path{vector-effect:non-scaling-stroke}.axis,.grid{stroke:var(--line);fill:none}.before{fill:var(--line);opacity:.35}
.hours{display:grid;grid-template-columns:repeat(4,1fr);color:var(--faint);font-size:.8rem;margin-top:.25rem}.hours span:last-child{display:flex;justify-content:space-between}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.25rem;font-size:.9rem}.key{display:inline-block;width:.7rem;height:.7rem;border-radius:.2rem;margin-right:.45rem}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:400;font-size:.82rem;color:var(--faint)}td,th{padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}td.n,th.n{text-align:right;padding-right:0;font-variant-numeric:tabular-nums}td:nth-child(2){white-space:nowrap}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--faint)}dd{margin:0;font-weight:600;overflow-wrap:anywhere}
a{color:var(--moving)}footer{margin-top:1.25rem}
`;

const script = `setInterval(async()=>{try{const t=await(await fetch('/status')).text();const m=new DOMParser().parseFromString(t,'text/html').querySelector('main');
if(m)document.querySelector('main').replaceWith(m)}catch{const p=document.getElementById('lead');p.className='failing';p.innerHTML='<strong>The gateway does not answer</strong><p>What is shown below is what it said last.</p>'}},3000)`;

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Nothing but the page's own style and script, and its own fresh copies. */
export const statusPagePolicy = [
  "default-src 'none'",
  `style-src ${hashOf(style)}`,
  `script-src ${hashOf(script)}`,
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export function statusPage(status: GatewayStatus): string {
  const title = `${escapeHtml(status.verdict.headline)} · ${escapeHtml(status.aeTitle)} · Archipel`;
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><noscript><meta http-equiv="refresh" content="10"></noscript><title>${title}</title><style>${style}</style></head>
<body><div class="frame">${mainPart(status)}</div><script>${script}</script></body></html>`;
}

function mainPart(status: GatewayStatus): string {
  const { verdict, aeTitle, version, nowMs, startedAtMs } = status;
  const because = verdict.because.map((sentence) => `<p>${escapeHtml(sentence)}</p>`).join('');
  return `<main><header><h1>Archipel gateway <b>${escapeHtml(aeTitle)}</b></h1><span>as of ${clock(nowMs)}</span></header>
<div id="lead" class="${verdict.tone}" role="status"><strong>${escapeHtml(verdict.headline)}</strong>${because}</div>
${statusCards(status)}
<footer><span>Version ${escapeHtml(version)}, started ${ago(nowMs - startedAtMs)}</span><span><a href="/status.json">status.json</a> · <a href="/metrics">metrics</a></span></footer></main>`;
}

/** In the gateway's time zone: the one that it works by. */
function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}
