/**
 * What an association request is answered with (PS3.8 §7.1.1, §9.3.2 to §9.3.4; PS3.7 Annex D.3): a pure function of the
 * request and of what the gateway is set to. An archive takes what the sender has: of a storage context the first
 * transfer syntax that was proposed, known to us or not, since the bytes are stored as they are.
 */
import { isStorageAbstractSyntax } from '#shared/dicom/sop-class.ts';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, isUid } from '#shared/dicom/uid.ts';
import {
  APPLICATION_CONTEXT_NAME,
  type AssociateAccept,
  type AssociateRequest,
  ContextResult,
  type ExtendedNegotiation,
  type PresentationContext,
  type PresentationContextAnswer,
  type RoleSelection,
} from './associate-pdu.ts';
import { answerExtendedNegotiation, identifierSyntaxOf, informationModels } from './information-model.ts';
import { type Reject, Rejects } from './pdu.ts';
import { allRights, type Rights } from './peers.ts';

export const VERIFICATION_SOP_CLASS = '1.2.840.10008.1.1';
export const STORAGE_COMMITMENT_PUSH_MODEL = '1.2.840.10008.1.20.1';
export const IMPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2';
export const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';

export interface NegotiationPolicy {
  readonly maxPduBytes: number;
  /** Most operations that we let a requestor have outstanding when it asks for a window (PS3.7 Annex D.3.3.3). */
  readonly maxOperations: number;
  /** Whether the classes of Query/Retrieve are offered. */
  readonly offersQueryRetrieve?: boolean;
  /** Whether Storage Commitment is offered; as its user we take reports on associations that its provider opens. */
  readonly offersStorageCommitment?: boolean;
}

export interface AcceptedContext {
  readonly id: number;
  readonly abstractSyntax: string;
  readonly transferSyntaxUid: string;
  /** What was agreed for its abstract syntax, where that was negotiated (PS3.7 Annex D.3.3.5). */
  readonly extendedNegotiation?: Uint8Array;
}

export type Negotiated =
  | { readonly kind: 'rejected'; readonly reject: Reject; readonly why: string }
  | {
      readonly kind: 'accepted';
      readonly accept: AssociateAccept;
      readonly contexts: ReadonlyMap<number, AcceptedContext>;
      /** Those on which the requestor takes instances in the course of a C-GET. */
      readonly receiving: readonly AcceptedContext[];
      /** How many requests the peer may have unanswered. */
      readonly operations: number;
    };

/**
 * An association whose contexts are all refused is still accepted: that is what the standard's answer per context is for. What
 * the caller may not use is a user rejection (PS3.8 Table 9-18): we support it, but not for this caller.
 */
export function negotiate(
  request: AssociateRequest,
  policy: NegotiationPolicy,
  rights: Rights = allRights,
): Negotiated {
  const refusal = refusalOf(request);
  if (refusal !== undefined) return refusal;
  const contexts = new Map<number, AcceptedContext>();
  const extended = new Map<string, ExtendedNegotiation>();
  for (const { sopClassUid, information } of request.userInformation.extendedNegotiation) {
    const model = informationModels.get(sopClassUid);
    if (model !== undefined)
      extended.set(sopClassUid, { sopClassUid, information: answerExtendedNegotiation(model, information) });
  }
  const answers = request.contexts.map((proposed) => {
    const answer = isPermitted(proposed.abstractSyntax, request, policy, rights)
      ? answerContext(proposed, policy)
      : { id: proposed.id, result: ContextResult.UserRejection, transferSyntax: proposed.transferSyntaxes[0] ?? '' };
    if (answer.result === ContextResult.Acceptance) {
      const agreed = extended.get(proposed.abstractSyntax);
      contexts.set(proposed.id, {
        id: proposed.id,
        abstractSyntax: proposed.abstractSyntax,
        transferSyntaxUid: answer.transferSyntax,
        ...(agreed === undefined ? {} : { extendedNegotiation: agreed.information }),
      });
    }
    return answer;
  });
  const accepted = new Set([...contexts.values()].map((context) => context.abstractSyntax));
  const roles = rolesOf(request, accepted, rights);
  const window = request.userInformation.asynchronousOperations;
  const operations = window === undefined ? 1 : Math.min(window.invoked || policy.maxOperations, policy.maxOperations);
  return {
    kind: 'accepted',
    contexts,
    receiving: receivingOf(request, contexts, roles),
    operations,
    accept: {
      calledAeTitle: request.calledAeTitle,
      callingAeTitle: request.callingAeTitle,
      contexts: answers,
      userInformation: {
        maxPduBytes: policy.maxPduBytes,
        implementationClassUid: IMPLEMENTATION_CLASS_UID,
        implementationVersionName: IMPLEMENTATION_VERSION_NAME,
        // We invoke nothing on an association that somebody else opened.
        ...(window === undefined ? {} : { asynchronousOperations: { invoked: operations, performed: 1 } }),
        roles,
        extendedNegotiation: [...extended.values()].filter(({ sopClassUid }) => accepted.has(sopClassUid)),
      },
    },
  };
}

function refusalOf(request: AssociateRequest): Negotiated | undefined {
  const rejected = (reject: Reject, why: string): Negotiated => ({ kind: 'rejected', reject, why });
  if ((request.protocolVersion & 1) === 0)
    return rejected(Rejects.protocolVersionNotSupported, 'the requestor does not speak version 1 of the protocol');
  if (request.applicationContextName !== APPLICATION_CONTEXT_NAME)
    return rejected(Rejects.applicationContextNotSupported, 'the application context is not that of DICOM');
  return undefined;
}

/** By the right that it takes to use an abstract syntax. Whoever may retrieve receives by C-GET on contexts of storage. */
function isPermitted(
  abstractSyntax: string,
  request: AssociateRequest,
  policy: NegotiationPolicy,
  { mayStore, mayQuery, mayRetrieve }: Rights,
): boolean {
  if (abstractSyntax === VERIFICATION_SOP_CLASS) return true;
  const model = policy.offersQueryRetrieve === true ? informationModels.get(abstractSyntax) : undefined;
  if (model !== undefined) return model.operation === 'find' ? mayQuery : mayRetrieve;
  if (mayStore) return true;
  // Asks for what was stored, which takes the right to store, or reports on what we asked for.
  if (abstractSyntax === STORAGE_COMMITMENT_PUSH_MODEL)
    return request.userInformation.roles.some((role) => role.sopClassUid === abstractSyntax && role.scp);
  if (!isStorageClass(abstractSyntax)) return true;
  const { roles } = request.userInformation;
  const receives = roles.length === 0 || roles.some((role) => role.sopClassUid === abstractSyntax && role.scp);
  return mayRetrieve && receives && canGet(new Set(request.contexts.map((context) => context.abstractSyntax)));
}

function answerContext(proposed: PresentationContext, policy: NegotiationPolicy): PresentationContextAnswer {
  const { id, abstractSyntax, transferSyntaxes } = proposed;
  const refused = (result: number) => ({
    id,
    result,
    transferSyntax: transferSyntaxes[0] ?? IMPLICIT_VR_LITTLE_ENDIAN,
  });
  const accepted = (transferSyntax: string) => ({ id, result: ContextResult.Acceptance, transferSyntax });
  if (abstractSyntax === VERIFICATION_SOP_CLASS) {
    const transferSyntax = [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN].find((uid) =>
      transferSyntaxes.includes(uid),
    );
    return transferSyntax === undefined
      ? refused(ContextResult.TransferSyntaxesNotSupported)
      : accepted(transferSyntax);
  }
  const isCommitment = policy.offersStorageCommitment === true && abstractSyntax === STORAGE_COMMITMENT_PUSH_MODEL;
  if (isCommitment || (policy.offersQueryRetrieve === true && informationModels.has(abstractSyntax))) {
    const transferSyntax = identifierSyntaxOf(transferSyntaxes);
    return transferSyntax === undefined
      ? refused(ContextResult.TransferSyntaxesNotSupported)
      : accepted(transferSyntax);
  }
  if (!isUid(abstractSyntax) || !isStorageAbstractSyntax(abstractSyntax))
    return refused(ContextResult.AbstractSyntaxNotSupported);
  const transferSyntax = transferSyntaxes.find(isUid);
  return transferSyntax === undefined ? refused(ContextResult.TransferSyntaxesNotSupported) : accepted(transferSyntax);
}

/** Whether something can be retrieved by C-GET on this association. */
const canGet = (abstractSyntaxes: ReadonlySet<string>): boolean =>
  [...abstractSyntaxes].some((uid) => informationModels.get(uid)?.operation === 'get');

/**
 * The requestor of an accepted context may be SCU as it asks; SCP of a storage class it may be where it can use C-GET, since
 * nothing else makes us store to it (PS3.7 Annex D.3.3.4); SCP of Storage Commitment is who reports to us (PS3.4 §J.3.3).
 */
function rolesOf(request: AssociateRequest, accepted: ReadonlySet<string>, { mayStore }: Rights): RoleSelection[] {
  const mayReceive = canGet(accepted);
  return request.userInformation.roles
    .filter((role) => accepted.has(role.sopClassUid))
    .map(({ sopClassUid, scu, scp }) => ({
      sopClassUid,
      scu: scu && (mayStore || !isStorageClass(sopClassUid)),
      scp: scp && (sopClassUid === STORAGE_COMMITMENT_PUSH_MODEL || (mayReceive && isStorageClass(sopClassUid))),
    }));
}

export const isStorageClass = (uid: string): boolean =>
  isUid(uid) && uid !== VERIFICATION_SOP_CLASS && !informationModels.has(uid) && isStorageAbstractSyntax(uid);

/**
 * Some that use C-GET select no role at all, and can only mean one thing by their storage contexts; whoever selects any role is
 * taken at its word.
 */
function receivingOf(
  request: AssociateRequest,
  contexts: ReadonlyMap<number, AcceptedContext>,
  roles: readonly RoleSelection[],
): AcceptedContext[] {
  const all = [...contexts.values()];
  if (!canGet(new Set(all.map(({ abstractSyntax }) => abstractSyntax)))) return [];
  const storage = all.filter(({ abstractSyntax }) => isStorageClass(abstractSyntax));
  if (request.userInformation.roles.length === 0) return storage;
  const receivers = new Set(roles.filter(({ scp }) => scp).map(({ sopClassUid }) => sopClassUid));
  return storage.filter(({ abstractSyntax }) => receivers.has(abstractSyntax));
}
