/**
 * Rendered frames and thumbnails (WADO-RS), on the threads of a render pool: this part of the DICOMweb Service as a function of its own.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export function createRenderService(options: Omit<DicomwebOptions, 'parts'>): Service {
  return createDicomwebService({ ...options, parts: ['render'] });
}
