/**
 * Where the module of a worker thread lies: beside the module that starts it, under the ending that both have. Sources run
 * as they are (`.ts`), a bundle keeps all of its modules in one folder (`.mjs`).
 */

/**
 * @param name of the module, without its ending
 * @param besideUrl `import.meta.url` of a module in the same folder
 */
export function workerModule(name: string, besideUrl: string): URL {
  return new URL(`./${name}${besideUrl.slice(besideUrl.lastIndexOf('.'))}`, besideUrl);
}
