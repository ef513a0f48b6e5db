/**
 * A-ASSOCIATE-RQ and A-ASSOCIATE-AC as bytes (PS3.8 §9.3.2, §9.3.3; user information PS3.7 Annex D.3.3): every item with
 * a length of its own is checked against what holds it, unknown items are passed over. What to answer is negotiation.ts.
 */
import { ArchiveError } from '#shared/errors.ts';
import { AbortReason, allocatePdu, PduType, pduViolation } from './pdu.ts';

export const APPLICATION_CONTEXT_NAME = '1.2.840.10008.3.1.1.1';
export const MAX_PRESENTATION_CONTEXTS = 128;

export interface PresentationContext {
  /** Odd, 1 to 255. */
  readonly id: number;
  readonly abstractSyntax: string;
  /** In the proposer's order. */
  readonly transferSyntaxes: readonly string[];
}

/** PS3.8 Table 9-18. */
export const ContextResult = {
  Acceptance: 0,
  UserRejection: 1,
  NoReason: 2,
  AbstractSyntaxNotSupported: 3,
  TransferSyntaxesNotSupported: 4,
} as const;

export interface PresentationContextAnswer {
  readonly id: number;
  readonly result: number;
  /** Significant when accepted. */
  readonly transferSyntax: string;
}

/** PS3.7 Annex D.3.3.4. */
export interface RoleSelection {
  readonly sopClassUid: string;
  readonly scu: boolean;
  readonly scp: boolean;
}

/** Service-class-application-information of one SOP class: bytes whose meaning is the class's own (PS3.7 Annex D.3.3.5). */
export interface ExtendedNegotiation {
  readonly sopClassUid: string;
  readonly information: Uint8Array;
}

export interface UserInformation {
  /** The longest P-DATA-TF the sender takes; 0: no limit. */
  readonly maxPduBytes: number;
  readonly implementationClassUid: string;
  readonly implementationVersionName: string;
  /** Of the requestor's operations, 0 meaning no limit (PS3.7 Annex D.3.3.3); absent: one at a time. */
  readonly asynchronousOperations?: { readonly invoked: number; readonly performed: number };
  readonly roles: readonly RoleSelection[];
  readonly extendedNegotiation: readonly ExtendedNegotiation[];
  /** Kind of identity offered (1 user name, 2 with passcode, 3 Kerberos, 4 SAML, 5 JWT); the identity itself is not kept. */
  readonly userIdentityType?: number;
}

interface AssociateParties {
  readonly calledAeTitle: string;
  readonly callingAeTitle: string;
  readonly userInformation: UserInformation;
}

export interface AssociateRequest extends AssociateParties {
  /** Bit 0: version 1. */
  readonly protocolVersion: number;
  readonly applicationContextName: string;
  readonly contexts: readonly PresentationContext[];
}

export interface AssociateAccept extends AssociateParties {
  readonly contexts: readonly PresentationContextAnswer[];
}

const Item = {
  ApplicationContext: 0x10,
  PresentationContext: 0x20,
  PresentationContextAnswer: 0x21,
  AbstractSyntax: 0x30,
  TransferSyntax: 0x40,
  UserInformation: 0x50,
  MaximumLength: 0x51,
  ImplementationClassUid: 0x52,
  AsynchronousOperations: 0x53,
  RoleSelection: 0x54,
  ImplementationVersionName: 0x55,
  ExtendedNegotiation: 0x56,
  CommonExtendedNegotiation: 0x57,
  UserIdentity: 0x58,
} as const;

const FIXED_FIELDS_BYTES = 68;

function malformed(message: string, details: Record<string, unknown> = {}): Error {
  return pduViolation(message, AbortReason.InvalidPduParameterValue, details);
}

/** Calls `visit` for each item or sub-item in `bytes`; one that is longer than what holds it is a violation. */
function eachItem(bytes: Buffer, visit: (type: number, value: Buffer) => void): void {
  let offset = 0;
  while (offset < bytes.length) {
    if (offset + 4 > bytes.length) throw malformed('an item of the associate PDU has no room for its own header');
    const type = bytes[offset] as number;
    const end = offset + 4 + bytes.readUInt16BE(offset + 2);
    if (end > bytes.length)
      throw malformed('an item of the associate PDU is longer than what holds it', { item: type });
    visit(type, bytes.subarray(offset + 4, end));
    offset = end;
  }
}

/** Characters of the default repertoire without padding; no longer than a reader could want. */
function text(value: Buffer, maxLength: number): string {
  let end = Math.min(value.length, maxLength);
  let start = 0;
  const isPadding = (byte: number | undefined) => byte === 0x20 || byte === 0;
  while (end > start && isPadding(value[end - 1])) end--;
  while (start < end && isPadding(value[start])) start++;
  return value.toString('latin1', start, end);
}

/** One character more than a UID may have, so that a longer one is seen to be none. */
const uidText = (value: Buffer) => text(value, 65);
const aeTitle = (body: Buffer, offset: number) => text(body.subarray(offset, offset + 16), 16);

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Decodes the body (without PDU header). Violations: `protocol-violation`, to be answered by A-ABORT. */
export function decodeAssociateRequest(bytes: Uint8Array): AssociateRequest {
  const body = bufferOf(bytes);
  if (body.length < FIXED_FIELDS_BYTES) throw malformed('the A-ASSOCIATE-RQ is too short for its fixed fields');
  let applicationContextName = '';
  let userInformation = noUserInformation;
  const contexts = new Map<number, PresentationContext>();
  eachItem(body.subarray(FIXED_FIELDS_BYTES), (type, value) => {
    if (type === Item.ApplicationContext) applicationContextName = uidText(value);
    else if (type === Item.UserInformation) userInformation = decodeUserInformation(value);
    else if (type === Item.PresentationContext) {
      const context = decodeContext(value);
      if (contexts.has(context.id))
        throw malformed('a presentation context ID was proposed twice', { presentationContextId: context.id });
      contexts.set(context.id, context);
    }
  });
  return {
    protocolVersion: body.readUInt16BE(0),
    calledAeTitle: aeTitle(body, 4),
    callingAeTitle: aeTitle(body, 20),
    applicationContextName,
    contexts: [...contexts.values()],
    userInformation,
  };
}

/** IDs are odd (PS3.8 §9.3.2.2), which also bounds their number to MAX_PRESENTATION_CONTEXTS. */
function decodeContext(value: Buffer): PresentationContext {
  if (value.length < 4) throw malformed('a presentation context item is too short');
  const id = value[0] as number;
  if (id % 2 === 0) throw malformed('a presentation context ID must be odd', { presentationContextId: id });
  let abstractSyntax = '';
  const transferSyntaxes: string[] = [];
  eachItem(value.subarray(4), (type, item) => {
    if (type === Item.AbstractSyntax) abstractSyntax = uidText(item);
    else if (type === Item.TransferSyntax) transferSyntaxes.push(uidText(item));
  });
  return { id, abstractSyntax, transferSyntaxes };
}

const noUserInformation: UserInformation = {
  maxPduBytes: 0,
  implementationClassUid: '',
  implementationVersionName: '',
  roles: [],
  extendedNegotiation: [],
};

function decodeUserInformation(value: Buffer): UserInformation {
  const found: { -readonly [K in keyof UserInformation]: UserInformation[K] } = { ...noUserInformation };
  const roles = new Map<string, RoleSelection>();
  const extended = new Map<string, ExtendedNegotiation>();
  eachItem(value, (type, item) => {
    if (type === Item.MaximumLength) {
      if (item.length !== 4) throw malformed('the maximum length sub-item must hold four bytes');
      found.maxPduBytes = item.readUInt32BE(0);
    } else if (type === Item.ImplementationClassUid) found.implementationClassUid = uidText(item);
    else if (type === Item.ImplementationVersionName) found.implementationVersionName = text(item, 16);
    else if (type === Item.AsynchronousOperations) {
      if (item.length !== 4) throw malformed('the asynchronous operations window sub-item must hold four bytes');
      found.asynchronousOperations = { invoked: item.readUInt16BE(0), performed: item.readUInt16BE(2) };
    } else if (type === Item.RoleSelection) {
      const { uid, rest } = uidAndRest(item);
      if (rest.length < 2) throw malformed('a role selection sub-item is too short');
      roles.set(uid, { sopClassUid: uid, scu: rest[0] === 1, scp: rest[1] === 1 });
    } else if (type === Item.ExtendedNegotiation) {
      const { uid, rest } = uidAndRest(item);
      extended.set(uid, { sopClassUid: uid, information: Uint8Array.from(rest) });
    }
    if (type === Item.UserIdentity && item.length > 0) found.userIdentityType = item[0] as number;
  });
  found.roles = [...roles.values()];
  found.extendedNegotiation = [...extended.values()];
  return found;
}

/** Sub-items that begin with a UID of a length of its own (PS3.7 Annex D.3.3.4, D.3.3.5). */
function uidAndRest(item: Buffer): { uid: string; rest: Buffer } {
  const lengthBytes = item.length < 2 ? Number.POSITIVE_INFINITY : item.readUInt16BE(0);
  if (2 + lengthBytes > item.length) throw malformed('a UID is longer than the sub-item that holds it');
  return { uid: uidText(item.subarray(2, 2 + lengthBytes)), rest: item.subarray(2 + lengthBytes) };
}

/** Decodes the body (without PDU header). Violations: `protocol-violation`. */
export function decodeAssociateAccept(bytes: Uint8Array): AssociateAccept {
  const body = bufferOf(bytes);
  if (body.length < FIXED_FIELDS_BYTES) throw malformed('the A-ASSOCIATE-AC is too short for its fixed fields');
  let userInformation = noUserInformation;
  const contexts = new Map<number, PresentationContextAnswer>();
  eachItem(body.subarray(FIXED_FIELDS_BYTES), (type, value) => {
    if (type === Item.UserInformation) userInformation = decodeUserInformation(value);
    else if (type === Item.PresentationContextAnswer) {
      if (value.length < 4) throw malformed('a presentation context item is too short');
      let transferSyntax = '';
      eachItem(value.subarray(4), (subType, item) => {
        if (subType === Item.TransferSyntax) transferSyntax = uidText(item);
      });
      const id = value[0] as number;
      contexts.set(id, { id, result: value[2] as number, transferSyntax });
    }
  });
  return {
    calledAeTitle: aeTitle(body, 4),
    callingAeTitle: aeTitle(body, 20),
    contexts: [...contexts.values()],
    userInformation,
  };
}

export function encodeAssociateRequest(request: AssociateRequest): Buffer {
  const contexts = request.contexts.map((context) =>
    item(Item.PresentationContext, [
      Buffer.from([context.id, 0, 0, 0]),
      item(Item.AbstractSyntax, [Buffer.from(context.abstractSyntax, 'latin1')]),
      ...context.transferSyntaxes.map((uid) => item(Item.TransferSyntax, [Buffer.from(uid, 'latin1')])),
    ]),
  );
  return associatePdu(PduType.AssociateRequest, request.protocolVersion, request, [
    item(Item.ApplicationContext, [Buffer.from(request.applicationContextName, 'latin1')]),
    ...contexts,
  ]);
}

export function encodeAssociateAccept(accept: AssociateAccept): Buffer {
  const contexts = accept.contexts.map((context) =>
    item(Item.PresentationContextAnswer, [
      Buffer.from([context.id, 0, context.result, 0]),
      item(Item.TransferSyntax, [Buffer.from(context.transferSyntax, 'latin1')]),
    ]),
  );
  return associatePdu(PduType.AssociateAccept, 1, accept, [
    item(Item.ApplicationContext, [Buffer.from(APPLICATION_CONTEXT_NAME, 'latin1')]),
    ...contexts,
  ]);
}

function associatePdu(type: number, version: number, parties: AssociateParties, items: readonly Buffer[]): Buffer {
  const all = [...items, encodeUserInformation(parties.userInformation)];
  const lengthBytes = all.reduce((sum, bytes) => sum + bytes.length, FIXED_FIELDS_BYTES);
  const pdu = allocatePdu(type, lengthBytes);
  pdu.writeUInt16BE(version, 6);
  pdu.write(parties.calledAeTitle.padEnd(16).slice(0, 16), 10, 'latin1');
  pdu.write(parties.callingAeTitle.padEnd(16).slice(0, 16), 26, 'latin1');
  let offset = 74;
  for (const bytes of all) {
    pdu.set(bytes, offset);
    offset += bytes.length;
  }
  return pdu;
}

function encodeUserInformation(information: UserInformation): Buffer {
  const subItems = [
    item(Item.MaximumLength, [uint32(information.maxPduBytes)]),
    item(Item.ImplementationClassUid, [Buffer.from(information.implementationClassUid, 'latin1')]),
  ];
  const window = information.asynchronousOperations;
  if (window !== undefined) {
    const value = Buffer.alloc(4);
    value.writeUInt16BE(window.invoked, 0);
    value.writeUInt16BE(window.performed, 2);
    subItems.push(item(Item.AsynchronousOperations, [value]));
  }
  for (const role of information.roles) {
    const uid = Buffer.from(role.sopClassUid, 'latin1');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(uid.length, 0);
    subItems.push(item(Item.RoleSelection, [length, uid, Buffer.from([role.scu ? 1 : 0, role.scp ? 1 : 0])]));
  }
  for (const { sopClassUid, information: bytes } of information.extendedNegotiation) {
    const uid = Buffer.from(sopClassUid, 'latin1');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(uid.length, 0);
    subItems.push(item(Item.ExtendedNegotiation, [length, uid, Buffer.from(bytes)]));
  }
  if (information.implementationVersionName !== '') {
    subItems.push(item(Item.ImplementationVersionName, [Buffer.from(information.implementationVersionName, 'latin1')]));
  }
  return item(Item.UserInformation, subItems);
}

function item(type: number, parts: readonly Buffer[]): Buffer {
  const lengthBytes = parts.reduce((sum, part) => sum + part.length, 0);
  if (lengthBytes > 0xffff) throw new ArchiveError('bad-request', 'an item of an association request is too long');
  const header = Buffer.from([type, 0, lengthBytes >> 8, lengthBytes & 0xff]);
  return Buffer.concat([header, ...parts]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}
