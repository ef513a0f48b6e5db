/**
 * `npm run test:faults -- --rounds N --seed S`: the fault suite, as long as wanted. Without options it is the short round of CI.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seed: { type: 'string' } } });
const environment = { ...process.env };
if (values.rounds !== undefined) environment.ARCHIPEL_FAULT_ROUNDS = values.rounds;
if (values.seed !== undefined) environment.ARCHIPEL_FAULT_SEED = values.seed;
const child = spawn('vitest', ['run', '--project', 'faults', '--project', 'faults-alone'], {
  stdio: 'inherit',
  env: environment,
  shell: process.platform === 'win32',
});
child.on('exit', (code) => process.exit(code ?? 1));
