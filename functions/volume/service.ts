/**
 * Planes and projections of volumes (WADO-RS), on the threads of a volume pool: this part of the DICOMweb Service as a function of its
 * own, since it keeps what it has loaded for the next cut.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export function createVolumeService(options: Omit<DicomwebOptions, 'parts'>): Service {
  return createDicomwebService({ ...options, parts: ['volume'] });
}
