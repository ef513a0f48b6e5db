/**
 * `npm run bench [name …]`: measures, and prints ratios against peers or physical limits of the same run. Never asserts.
 */
const benches: Readonly<Record<string, () => Promise<{ run(): Promise<void> }>>> = {
  reader: () => import('./reader.ts'),
  append: () => import('./append.ts'),
  imaging: () => import('./imaging.ts'),
  'imaging-rendered': () => import('./imaging-rendered.ts'),
  'imaging-volume': () => import('./imaging-volume.ts'),
  'edge-store': () => import('./edge-store.ts'),
  'edge-query': () => import('./edge-query.ts'),
  'edge-retrieve': () => import('./edge-retrieve.ts'),
  'edge-wan': () => import('./edge-wan.ts'),
  web: () => import('./web.ts'),
  dynamo: () => import('./dynamo.ts'),
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in benches));
if (unknown.length > 0) {
  process.stderr.write(`There is no benchmark ${unknown.join(', ')}; there are ${Object.keys(benches).join(', ')}.\n`);
  process.exit(1);
}
for (const [name, load] of Object.entries(benches)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  process.stdout.write(`\n== ${name}\n`);
  await (await load()).run();
}
