/**
 * Loaded into a gateway's process before anything else (node --import): its clock is wrong by what a file says, in
 * milliseconds, and jumps when the file changes. Only the wall clock; the monotonic one is the machine's.
 */
import { readFileSync } from 'node:fs';

const file = process.env.ARCHIPEL_TEST_CLOCK_FILE;
const RealDate = Date;
const realNow = Date.now.bind(Date);
let offsetMs = 0;

function look(): void {
  try {
    offsetMs = Number(readFileSync(file ?? '', 'utf8')) || 0;
  } catch {
    // No file: the clock is right.
  }
}

if (file !== undefined) {
  look();
  setInterval(look, 50).unref();
  const shiftedNow = (): number => realNow() + offsetMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args: unknown[]) =>
      Reflect.construct(target, args.length === 0 ? [shiftedNow()] : args) as object,
    get: (target, name) => (name === 'now' ? shiftedNow : (Reflect.get(target, name) as unknown)),
  });
}
