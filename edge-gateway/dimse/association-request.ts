/** The A-ASSOCIATE-RQ that we send as the requestor of an association (PS3.8 §9.3.2, PS3.7 Annex D.3.3). */
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '#shared/dicom/uid.ts';
import { APPLICATION_CONTEXT_NAME, type AssociateRequest } from './associate-pdu.ts';
import type { ConnectOptions } from './client.ts';
import { DEFAULT_MAX_PDU_BYTES } from './pdu.ts';

/** Contexts get the IDs 1, 3, 5 … in their order; a window is proposed only when more than one operation is wanted. */
export function associateRequestOf(options: ConnectOptions): AssociateRequest {
  const operations = options.operations ?? 1;
  return {
    protocolVersion: 1,
    calledAeTitle: options.calledAeTitle,
    callingAeTitle: options.callingAeTitle,
    applicationContextName: APPLICATION_CONTEXT_NAME,
    contexts: options.contexts.map((context, i) => ({ id: 2 * i + 1, ...context })),
    userInformation: {
      maxPduBytes: options.maxPduBytes ?? DEFAULT_MAX_PDU_BYTES,
      implementationClassUid: IMPLEMENTATION_CLASS_UID,
      implementationVersionName: IMPLEMENTATION_VERSION_NAME,
      ...(operations > 1 ? { asynchronousOperations: { invoked: operations, performed: 1 } } : {}),
      roles: options.roles ?? [],
      extendedNegotiation: [],
    },
  };
}
