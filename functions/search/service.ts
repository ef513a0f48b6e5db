/**
 * Search (QIDO-RS): finds studies, series and instances in the index; reads no packs: this part of the DICOMweb Service as a function of its own.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export function createSearchService(options: Omit<DicomwebOptions, 'parts'>): Service {
  return createDicomwebService({ ...options, parts: ['search'] });
}
