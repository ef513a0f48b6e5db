/**
 * Store (STOW-RS) where there is no gateway: this part of the DICOMweb Service as a function of its own.
 */
import type { BatchReceiver } from '#shared/archive/outcome.ts';
import { createDicomwebService, type DicomwebOptions, type Service } from '#shared/dicomweb/service.ts';

export interface StoreServiceOptions extends Omit<DicomwebOptions, 'parts' | 'receiver' | 'findable'> {
  readonly receiver: BatchReceiver;
}

export function createStoreService(options: StoreServiceOptions): Service {
  return createDicomwebService({ ...options, parts: ['store'] });
}
