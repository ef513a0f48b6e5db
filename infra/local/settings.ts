/**
 * The settings of the one-machine run, from the environment, checked as a whole. The gateway reads its own
 * (edge-gateway/settings.ts); main.ts hands them on.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { LogLevel } from '#shared/log.ts';

const variables = z.object({
  ARCHIPEL_DATA: z.string().min(1).default('data'),
  ARCHIPEL_CLOUD_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  ARCHIPEL_PURGE_AFTER_DAYS: z.coerce.number().min(0).max(36_500).default(30),
  ARCHIPEL_VIEWER: z.enum(['on', 'off']).default('on'),
  ARCHIPEL_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

export interface LocalSettings {
  readonly dataFolder: string;
  /** Without identity checks the cloud listens on the loopback interface only. */
  readonly cloudHost: '127.0.0.1';
  readonly cloudPort: number;
  /** See LocalCloudOptions. */
  readonly purgeAfterDays: number;
  readonly viewer: boolean;
  readonly logLevel: LogLevel;
}

/** @throws Error whose message lists every variable that is wrong and why */
export function readLocalSettings(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): LocalSettings {
  const parsed = variables.safeParse(environment);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.')} ${issue.message}`);
    throw new Error(`The settings are wrong:\n${faults.join('\n')}`);
  }
  const s = parsed.data;
  return {
    dataFolder: resolve(s.ARCHIPEL_DATA),
    cloudHost: '127.0.0.1',
    cloudPort: s.ARCHIPEL_CLOUD_PORT,
    purgeAfterDays: s.ARCHIPEL_PURGE_AFTER_DAYS,
    viewer: s.ARCHIPEL_VIEWER === 'on',
    logLevel: s.ARCHIPEL_LOG_LEVEL,
  };
}
