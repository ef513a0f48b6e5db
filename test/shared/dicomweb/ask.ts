/**
 * Asking the DICOMweb Service in tests: the service over a fixture, and requests by path.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import type { ArchiveFixture } from '#test/support/archive-fixture.ts';

export const origin = 'http://archive.example:8080';
export const base = `${origin}/dicomweb`;

export function serviceOver(fixture: ArchiveFixture, options: Partial<DicomwebOptions> = {}): Service {
  return createDicomwebService({
    archive: fixture.archive,
    tenantOf: () => fixture.tenant,
    render: renderFrame,
    transcode: transcodeFrame,
    log: silentLogger,
    ...options,
  });
}

/** A path below the mount path, or a whole URL. */
export function ask(
  service: Service,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Response> {
  return service(new Request(path.startsWith('http') ? path : `${base}${path}`, { method, headers }));
}

export async function bytesOf(response: Response): Promise<Buffer> {
  return Buffer.from(await response.arrayBuffer());
}

/** Asserts nothing but the shape that every error has. */
export async function problemOf(response: Response): Promise<{ status: number; code: string; detail: string }> {
  if (response.headers.get('content-type') !== 'application/problem+json') {
    throw new ArchiveError('damaged', `no problem, but ${response.status} ${response.headers.get('content-type')}`);
  }
  return (await response.json()) as { status: number; code: string; detail: string };
}
