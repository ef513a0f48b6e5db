/**
 * Writes infra/edge/edge-gateway.toml from the schema of the settings: `node infra/edge/generate-settings.ts`, after a
 * change of a field. A test fails until it was done.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exampleSettings } from './example-settings.ts';

writeFileSync(join(import.meta.dirname, 'edge-gateway.toml'), exampleSettings());
