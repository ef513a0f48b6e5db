/** What an N-ACTION of Storage Commitment may hold and how it is refused; what a report to us as its user may say (PS3.4 Annex J). */
import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeAssociateRequest, encodeAssociateAccept } from '#edge-gateway/dimse/associate-pdu.ts';
import { connect } from '#edge-gateway/dimse/client.ts';
import type { CommitmentIntake } from '#edge-gateway/dimse/commitment.ts';
import { encodeCommitmentRequest, readCommitmentRequest } from '#edge-gateway/dimse/commitment-data-set.ts';
import { openCommitmentReporter } from '#edge-gateway/dimse/commitment-report.ts';
import { createCommitmentUser } from '#edge-gateway/dimse/commitment-user.ts';
import { encodeReleaseResponse, PduType } from '#edge-gateway/dimse/pdu.ts';
import type { DimseServer } from '#edge-gateway/dimse/server.ts';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { encodeElements, encodingOf } from '#test/support/dicom-factory.ts';
import {
  type AskOptions,
  ask,
  EXPLICIT,
  IMPLICIT,
  nobody,
  PUSH_MODEL,
  WELL_KNOWN,
} from '../commitment/commitment-site.ts';
import { CT_IMAGE, RawPeer } from './raw-peer.ts';
import { serve } from './running-server.ts';

const reference = { sopClassUid: CT_IMAGE, sopInstanceUid: '1.2.3' };

type Accepted = Parameters<CommitmentIntake['accept']>[0];

/** An intake that takes all and knows MODALITY only. */
async function offering(accept: (request: Accepted) => Promise<{ status: number }> = async () => ({ status: 0 })) {
  const accepted: Accepted[] = [];
  const { server, events } = await serve(
    {},
    {
      storageCommitment: {
        intake: {
          knows: (aeTitle) => aeTitle === 'MODALITY',
          accept: (request) => {
            accepted.push(request);
            return accept(request).then((answer) => ({ answer, transactionUid: undefined, references: 1 }));
          },
        },
      },
    },
  );
  return { accepted, events, ask: (options: AskOptions = {}) => ask(server.port, [reference], options), server };
}

const encoded = (json: DicomJson) => encodeDataSet(json, transferSyntaxOf(IMPLICIT));
const transaction: DicomJson = { '00081195': { vr: 'UI', Value: ['1.2.3'] } };
const sequenceOf = (...items: DicomJson[]): DicomJson => ({ '00081199': { vr: 'SQ', Value: items } });
const item: DicomJson = { '00081150': { vr: 'UI', Value: [CT_IMAGE] }, '00081155': { vr: 'UI', Value: ['1.2.3'] } };

describe('an N-ACTION of Storage Commitment', () => {
  it('goes to the intake as it came, with who asks', async () => {
    const { ask, accepted } = await offering();
    expect((await ask({ transferSyntaxUid: EXPLICIT, transactionUid: '1.2.9' })).status).toBe(0);
    expect(accepted).toMatchObject([{ requestor: 'MODALITY', transferSyntaxUid: EXPLICIT }]);
    expect(readCommitmentRequest(accepted[0]!.bytes, EXPLICIT)).toEqual({
      transactionUid: '1.2.9',
      references: [reference],
    });
  });

  it.each([
    ['another SOP class', { requestedSopClassUid: CT_IMAGE }, 0x0118],
    ['another SOP instance', { requestedSopInstanceUid: `${WELL_KNOWN}.1` }, 0x0112],
    ['another action', { actionTypeId: 2 }, 0x0123],
  ])('for %s is refused', async (_, command, status) => {
    const { ask, accepted } = await offering();
    expect((await ask({ command })).status).toBe(status);
    expect(accepted).toEqual([]);
  });

  it('without action information is refused', async () => {
    const { ask } = await offering();
    expect(await ask({ dataSet: null })).toMatchObject({ status: 0x0120, offendingElements: [0x00081195, 0x00081199] });
  });

  it('of an AE that is not in the table is refused: nobody knows where to report', async () => {
    const { ask, accepted, events } = await offering();
    expect(await ask({ callingAeTitle: 'STRANGER' })).toMatchObject({
      status: 0x0124,
      comment: 'the calling AE is not in the AE table: nowhere to report',
    });
    expect(events).toContainEqual(expect.objectContaining({ kind: 'commitment-requested', status: 0x0124 }));
    expect(accepted).toEqual([]);
  });

  it('that cannot be kept is refused 0213H', async () => {
    const { ask } = await offering(() => Promise.reject(new Error('the disk is full')));
    expect((await ask()).status).toBe(0x0213);
  });

  it('that is too long is refused 0213H, and forgotten', async () => {
    const { ask, accepted } = await offering();
    const answer = await ask({ dataSet: new Uint8Array(21 * 1024 * 1024) });
    expect(answer.status).toBe(0x0213);
    expect(accepted).toEqual([]);
    expect((await ask()).status).toBe(0);
  });

  it('on another context is refused', async () => {
    const { server } = await offering();
    const association = await connect({
      host: '127.0.0.1',
      port: server.port,
      callingAeTitle: 'MODALITY',
      calledAeTitle: 'ARCHIPEL',
      contexts: [{ abstractSyntax: CT_IMAGE, transferSyntaxes: [EXPLICIT] }],
    });
    const [context] = association.contexts;
    const { status } = await association.request(
      context!,
      { commandField: 0x0130, dataSetType: 1, requestedSopClassUid: PUSH_MODEL, actionTypeId: 1 },
      encoded(transaction),
    );
    expect(status).toBe(0x0122);
    await association.release();
  });

  it('is not offered by a server without an intake', async () => {
    const { server } = await serve();
    await expect(ask(server.port, [reference])).rejects.toThrow('not accepted');
  });
});

describe('the action information', () => {
  const refusalOf = (json: DicomJson) => {
    const read = readCommitmentRequest(encoded(json), IMPLICIT);
    return 'refusal' in read ? [read.refusal.status, ...(read.refusal.offendingElements ?? [])] : undefined;
  };

  it.each<[string, DicomJson, number[] | undefined]>([
    ['whole', { ...transaction, ...sequenceOf(item) }, undefined],
    ['without Transaction UID', sequenceOf(item), [0x0120, 0x00081195]],
    ['with an empty one', { '00081195': { vr: 'UI' }, ...sequenceOf(item) }, [0x0121, 0x00081195]],
    [
      'with one that is none',
      { '00081195': { vr: 'UI', Value: ['1.2.x'] }, ...sequenceOf(item) },
      [0x0115, 0x00081195],
    ],
    ['without references', transaction, [0x0120, 0x00081199]],
    ['with an empty sequence', { ...transaction, ...sequenceOf() }, [0x0121, 0x00081199]],
    [
      'with a reference without class',
      { ...transaction, ...sequenceOf(item, { '00081155': item['00081155']! }) },
      [0x0120, 0x00081150],
    ],
    [
      'with a reference without instance',
      { ...transaction, ...sequenceOf({ '00081150': item['00081150']! }) },
      [0x0120, 0x00081155],
    ],
    [
      'with an empty UID',
      { ...transaction, ...sequenceOf({ ...item, '00081155': { vr: 'UI' } }) },
      [0x0121, 0x00081155],
    ],
    [
      'with a UID that is too long',
      { ...transaction, ...sequenceOf({ ...item, '00081155': { vr: 'UI', Value: ['1'.repeat(66)] } }) },
      [0x0115, 0x00081155],
    ],
  ])('%s', (_, json, expected) => {
    expect(refusalOf(json)).toEqual(expected);
  });

  it.each([
    [IMPLICIT, true],
    [IMPLICIT, false],
    [EXPLICIT, true],
    [EXPLICIT, false],
  ])('that breaks off anywhere is refused, in %s, sequences of defined length: %s', (syntax, definedLength) => {
    const references = [reference, { ...reference, sopInstanceUid: '1.2.34' }];
    const items = references.map(({ sopClassUid, sopInstanceUid }) => [
      { tag: 0x00081150, vr: 'UI', value: sopClassUid },
      { tag: 0x00081155, vr: 'UI', value: sopInstanceUid },
    ]);
    const whole = encodeElements(
      [
        { tag: 0x00081195, vr: 'UI', value: '1.2.3' },
        { tag: 0x00081199, vr: 'SQ', value: items, definedLength },
      ],
      encodingOf(syntax),
    );
    expect(readCommitmentRequest(whole, syntax)).toEqual({ transactionUid: '1.2.3', references });
    for (let length = 0; length < whole.length; length++)
      expect(readCommitmentRequest(whole.subarray(0, length), syntax), `${length}`).toHaveProperty('refusal');
  });

  it('that is anything else is refused, and never a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(IMPLICIT, EXPLICIT), (bytes, syntax) => {
        expect(readCommitmentRequest(bytes, syntax)).toHaveProperty('refusal');
        const whole = Buffer.from(
          encodeCommitmentRequest({ transactionUid: '1.2.3', references: [reference] }, syntax),
        );
        whole.set(bytes.subarray(0, 4), bytes.length % (whole.length - 4));
        const read = readCommitmentRequest(whole, syntax);
        if ('references' in read) expect(read.references.length).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
  });

  it('of too many references is refused 0213H', () => {
    const many = encoded({ ...transaction, ...sequenceOf(...Array.from({ length: 100_001 }, () => item)) });
    expect(readCommitmentRequest(many, IMPLICIT)).toMatchObject({ refusal: { status: 0x0213 } });
  });
});

describe('a report', () => {
  const users: { close(): void }[] = [];
  afterEach(() => {
    for (const user of users.splice(0)) user.close();
  });

  async function hearing() {
    const user = createCommitmentUser();
    users.push(user);
    const { server } = await serve({}, { storageCommitment: { intake: nobody, user } });
    return { user, server };
  }

  const provider = (server: DimseServer) => ({
    host: '127.0.0.1',
    port: server.port,
    callingAeTitle: 'USER',
    calledAeTitle: 'PROVIDER',
  });
  const event = (transactionUid: string) => ({
    eventTypeId: 1,
    bytes: encoded({ '00081195': { vr: 'UI', Value: [transactionUid] }, ...sequenceOf(item) }),
  });

  it('is proposed with the role of SCP, which a user of ours accepts', async () => {
    const { server } = await hearing();
    const raw = new RawPeer(server.port);
    const roles = [{ sopClassUid: PUSH_MODEL, scu: false, scp: true }];
    const answer = await raw.associate({ roles, extendedNegotiation: [], maxPduBytes: 16_384 }, [
      { abstractSyntax: PUSH_MODEL, transferSyntaxes: [IMPLICIT] },
    ]);
    const uid = Buffer.from(PUSH_MODEL, 'latin1');
    expect(
      answer.includes(
        Buffer.concat([Buffer.from([0x54, 0, 0, uid.length + 4, 0, uid.length]), uid, Buffer.from([0, 1])]),
      ),
    ).toBe(true);
    raw.destroy();
  });

  it('on what was asked for reaches who asked', async () => {
    let asked: Accepted | undefined;
    const { server: theirs } = await offering(async (request) => {
      asked = request;
      return { status: 0 };
    });
    const { user, server: ours } = await hearing();
    const result = user.requestCommitment({ ...provider(theirs), callingAeTitle: 'MODALITY' }, [reference], 10_000);
    while (asked === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    const request = readCommitmentRequest(asked.bytes, asked.transferSyntaxUid);
    if ('refusal' in request) throw new Error('refused');
    const reporter = await openCommitmentReporter(provider(ours));
    expect((await reporter.report(event(request.transactionUid))).status).toBe(0);
    await reporter.end();
    expect(await result).toEqual({ transactionUid: request.transactionUid, committed: [reference], failed: [] });
  });

  it('on what was not asked for, or is no such event, is answered with a failure', async () => {
    const { server } = await hearing();
    const reporter = await openCommitmentReporter(provider(server));
    expect((await reporter.report(event('1.2.3.4'))).status).not.toBe(0);
    expect((await reporter.report({ ...event('1.2.3.4'), eventTypeId: 3 })).status).toBe(0x0113);
    await reporter.end();
  });

  it('that never comes ends with timeout, a refused request with forbidden', async () => {
    const { server: theirs } = await offering();
    const { user } = await hearing();
    const asking = { ...provider(theirs), callingAeTitle: 'MODALITY' };
    await expect(user.requestCommitment(asking, [reference], 50)).rejects.toMatchObject({ code: 'timeout' });
    await expect(user.requestCommitment(provider(theirs), [reference], 50)).rejects.toMatchObject({
      code: 'forbidden',
      details: { status: 0x0124 },
    });
  });

  it('cannot be made to a peer that does not want us as SCP', async () => {
    const roles = [{ sopClassUid: PUSH_MODEL, scu: true, scp: false }];
    const unwilling = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (pdu) => {
        if (pdu[0] !== PduType.AssociateRequest) return void socket.end(encodeReleaseResponse());
        const { userInformation, ...parties } = decodeAssociateRequest(pdu.subarray(6));
        const contexts = [{ id: 1, result: 0, transferSyntax: IMPLICIT }];
        socket.write(encodeAssociateAccept({ ...parties, contexts, userInformation: { ...userInformation, roles } }));
      });
    });
    await new Promise<void>((resolve) => unwilling.listen(0, '127.0.0.1', resolve));
    const { port } = unwilling.address() as AddressInfo;
    const peer = { host: '127.0.0.1', port, callingAeTitle: 'PROVIDER', calledAeTitle: 'USER' };
    await expect(openCommitmentReporter(peer)).rejects.toMatchObject({ code: 'forbidden' });
    unwilling.close();
  });

  it('cannot be made to a peer that does not offer the class', async () => {
    const { server } = await serve();
    await expect(openCommitmentReporter(provider(server))).rejects.toMatchObject({ code: 'forbidden' });
  });
});
