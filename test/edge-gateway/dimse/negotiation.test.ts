/** What each proposal is answered with: presentation contexts, user information, and the association as a whole. */
import { describe, expect, it } from 'vitest';
import type { AssociateRequest, PresentationContext, RoleSelection } from '#edge-gateway/dimse/associate-pdu.ts';
import { type NegotiationPolicy, negotiate } from '#edge-gateway/dimse/negotiation.ts';
import type { Rights } from '#edge-gateway/dimse/peers.ts';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '#shared/dicom/uid.ts';
import { CT_IMAGE, EXPLICIT, IMPLICIT, VERIFICATION } from './raw-peer.ts';

const policy: NegotiationPolicy = { maxPduBytes: 262_144, maxOperations: 8 };
const HTJ2K = '1.2.840.10008.1.2.4.201';

function request(change: Partial<AssociateRequest> = {}): AssociateRequest {
  return {
    protocolVersion: 1,
    calledAeTitle: 'ARCHIPEL',
    callingAeTitle: 'CT1',
    applicationContextName: '1.2.840.10008.3.1.1.1',
    contexts: [{ id: 1, abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }],
    userInformation: {
      maxPduBytes: 16384,
      implementationClassUid: '1.2.3',
      implementationVersionName: 'X',
      roles: [],
      extendedNegotiation: [],
    },
    ...change,
  };
}

function accepted(change: Partial<AssociateRequest> = {}, settings: NegotiationPolicy = policy) {
  const negotiated = negotiate(request(change), settings);
  if (negotiated.kind !== 'accepted') throw new Error(`rejected: ${negotiated.why}`);
  return negotiated;
}

describe('each presentation context', () => {
  it.each<[string, string, string[], number, string | undefined]>([
    ['Verification', VERIFICATION, [EXPLICIT, IMPLICIT], 0, IMPLICIT],
    ['Verification without Implicit VR', VERIFICATION, [EXPLICIT], 0, EXPLICIT],
    ['Verification in JPEG alone', VERIFICATION, ['1.2.840.10008.1.2.4.50'], 4, undefined],
    ['storage: the first proposed', CT_IMAGE, [EXPLICIT, IMPLICIT], 0, EXPLICIT],
    ['storage: the first proposed, compressed', CT_IMAGE, [HTJ2K, IMPLICIT], 0, HTJ2K],
    ['storage in a transfer syntax unknown to us', CT_IMAGE, ['1.2.3.4.5', IMPLICIT], 0, '1.2.3.4.5'],
    ['storage: what is no UID is passed over', CT_IMAGE, ['../etc', IMPLICIT], 0, IMPLICIT],
    ['storage without any transfer syntax', CT_IMAGE, [], 4, undefined],
    ['a private storage class', '1.3.12.2.1107.5.9.1', [IMPLICIT], 0, IMPLICIT],
    ['Study Root FIND', '1.2.840.10008.5.1.4.1.2.2.1', [IMPLICIT], 3, undefined],
    ['Modality Worklist', '1.2.840.10008.5.1.4.31', [IMPLICIT], 3, undefined],
    ['what is no UID', 'hello', [IMPLICIT], 3, undefined],
    ['a UID of 70 characters', `1.${'2'.repeat(68)}`, [IMPLICIT], 3, undefined],
    ['nothing', '', [IMPLICIT], 3, undefined],
  ])('%s', (_, abstractSyntax, transferSyntaxes, result, transferSyntax) => {
    const { accept, contexts } = accepted({ contexts: [{ id: 5, abstractSyntax, transferSyntaxes }] });
    expect(accept.contexts[0]).toMatchObject({ id: 5, result });
    expect(contexts.get(5)?.transferSyntaxUid).toBe(transferSyntax);
    if (transferSyntax !== undefined) expect(accept.contexts[0]?.transferSyntax).toBe(transferSyntax);
  });

  it('is answered in order, all 128 of them', () => {
    const contexts: PresentationContext[] = Array.from({ length: 128 }, (_, i) => ({
      id: 2 * i + 1,
      abstractSyntax: CT_IMAGE,
      transferSyntaxes: [IMPLICIT],
    }));
    const { accept } = accepted({ contexts });
    expect(accept.contexts.map((context) => context.id)).toEqual(contexts.map((context) => context.id));
  });
});

describe('user information', () => {
  it('says our limit and who we are, and nothing about a window that was not asked for', () => {
    const { accept, operations } = accepted();
    expect(accept.userInformation).toEqual({
      maxPduBytes: 262_144,
      implementationClassUid: IMPLEMENTATION_CLASS_UID,
      implementationVersionName: IMPLEMENTATION_VERSION_NAME,
      roles: [],
      extendedNegotiation: [],
    });
    expect(operations).toBe(1);
  });

  it.each([
    [0, 8],
    [1, 1],
    [3, 3],
    [100, 8],
  ])('a window of %i operations becomes %i', (invoked, operations) => {
    const userInformation = { ...request().userInformation, asynchronousOperations: { invoked, performed: 5 } };
    const negotiated = accepted({ userInformation });
    expect(negotiated.operations).toBe(operations);
    expect(negotiated.accept.userInformation.asynchronousOperations).toEqual({ invoked: operations, performed: 1 });
  });

  it('answers roles of accepted classes only, and never takes the SCU role from the requestor', () => {
    const roles = [
      { sopClassUid: VERIFICATION, scu: true, scp: true },
      { sopClassUid: CT_IMAGE, scu: false, scp: true },
    ];
    const { accept } = accepted({ userInformation: { ...request().userInformation, roles } });
    expect(accept.userInformation.roles).toEqual([{ sopClassUid: VERIFICATION, scu: true, scp: false }]);
  });
});

describe('the association as a whole', () => {
  it.each<[string, Partial<AssociateRequest>, [number, number, number] | undefined]>([
    ['another application context', { applicationContextName: '1.2.3' }, [1, 1, 2]],
    ['another protocol version', { protocolVersion: 2 }, [1, 2, 2]],
    ['versions 1 and 2', { protocolVersion: 3 }, undefined],
  ])('%s', (_, change, reject) => {
    const negotiated = negotiate(request(change), policy);
    if (reject === undefined) expect(negotiated.kind).toBe('accepted');
    else {
      const [result, source, reason] = reject;
      expect(negotiated).toMatchObject({ kind: 'rejected', reject: { result, source, reason } });
    }
  });
});

describe('a caller that may not do everything', () => {
  const FIND = '1.2.840.10008.5.1.4.1.2.2.1';
  const MOVE = '1.2.840.10008.5.1.4.1.2.2.2';
  const GET = '1.2.840.10008.5.1.4.1.2.2.3';
  const COMMITMENT = '1.2.840.10008.1.20.1';
  const none: Rights = { mayStore: false, mayQuery: false, mayRetrieve: false };
  const withRights = (classes: string[], rights: Partial<Rights>, roles: RoleSelection[] = []) => {
    const negotiated = negotiate(
      request({
        contexts: classes.map((abstractSyntax, i) => ({ id: 2 * i + 1, abstractSyntax, transferSyntaxes: [IMPLICIT] })),
        userInformation: { ...request().userInformation, roles },
      }),
      { ...policy, offersQueryRetrieve: true },
      { ...none, ...rights },
    );
    if (negotiated.kind !== 'accepted') throw new Error(`rejected: ${negotiated.why}`);
    return negotiated;
  };
  const results = (classes: string[], rights: Partial<Rights>, roles?: RoleSelection[]) =>
    withRights(classes, rights, roles).accept.contexts.map((context) => context.result);

  it.each<[string, Partial<Rights>, number[]]>([
    ['nothing', {}, [0, 1, 1, 1, 1, 1]],
    ['store', { mayStore: true }, [0, 0, 1, 1, 1, 0]],
    ['query', { mayQuery: true }, [0, 1, 0, 1, 1, 1]],
    ['retrieve', { mayRetrieve: true }, [0, 0, 1, 0, 0, 1]],
  ])('but %s has the rest refused by us as user (result 1)', (_, rights, expected) => {
    // Whether commitment is offered at all is not asked here.
    const answers = results([VERIFICATION, CT_IMAGE, FIND, MOVE, GET, COMMITMENT], rights);
    expect(answers.slice(0, 5)).toEqual(expected.slice(0, 5));
    expect(answers[5] === 1).toBe(expected[5] === 1);
  });

  it('what nobody supports is not supported for it either', () => {
    expect(results(['1.2.840.10008.5.1.4.31', 'hello'], {})).toEqual([3, 3]);
  });

  it('takes what it retrieves on contexts of storage, and sends nothing on them', () => {
    const roles = [{ sopClassUid: CT_IMAGE, scu: true, scp: true }];
    const { accept, receiving } = withRights([GET, CT_IMAGE], { mayRetrieve: true }, roles);
    expect(accept.userInformation.roles).toEqual([{ sopClassUid: CT_IMAGE, scu: false, scp: true }]);
    expect(receiving.map((context) => context.id)).toEqual([3]);
    expect(results([GET, CT_IMAGE], { mayRetrieve: true }, [{ sopClassUid: GET, scu: true, scp: false }])).toEqual([
      0, 1,
    ]);
    expect(results([MOVE, CT_IMAGE], { mayRetrieve: true })).toEqual([0, 1]);
  });
});
