/**
 * DELETE of studies, series and instances: writes tombstones and touches no pack: this part of the DICOMweb Service as a function of its own.
 */
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export function createEraseService(
  options: Omit<DicomwebOptions, 'parts'> & Required<Pick<DicomwebOptions, 'eraser'>>,
): Service {
  return createDicomwebService({ ...options, parts: ['erase'] });
}
