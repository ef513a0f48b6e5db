/**
 * Retrieve (WADO-RS): instances, metadata, frames and bulk data out of the packs: this part of the DICOMweb Service as a function of its own.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export function createRetrieveService(options: Omit<DicomwebOptions, 'parts'>): Service {
  return createDicomwebService({ ...options, parts: ['retrieve'] });
}
