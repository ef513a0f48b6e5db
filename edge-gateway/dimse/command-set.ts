/**
 * Command sets (PS3.7 §6.3.1, Annex E): group 0000 in Implicit VR Little Endian, as a plain object. Elements that we have
 * no name for are passed over; whatever does not parse is a violation, because nothing that follows it can be trusted.
 */
import { messageViolation } from './pdu.ts';

/** Of the bytes gathered for one command, however many fragments it came in. */
export const MAX_COMMAND_BYTES = 64 * 1024;

/** (0000,0100), PS3.7 Annex E.1. */
export const CommandField = {
  CStoreRequest: 0x0001,
  CGetRequest: 0x0010,
  CFindRequest: 0x0020,
  CMoveRequest: 0x0021,
  CEchoRequest: 0x0030,
  NEventReportRequest: 0x0100,
  NActionRequest: 0x0130,
  CCancelRequest: 0x0fff,
} as const;

/** Set in the command field of every response. */
export const RESPONSE = 0x8000;
/** The value of (0000,0800) that says: no data set follows. Every other value says that one does. */
export const NO_DATA_SET = 0x0101;

export interface CommandSet {
  readonly affectedSopClassUid?: string;
  readonly requestedSopClassUid?: string;
  readonly commandField: number;
  readonly messageId?: number;
  readonly messageIdBeingRespondedTo?: number;
  readonly moveDestination?: string;
  readonly priority?: number;
  readonly dataSetType: number;
  readonly status?: number;
  /** Tags. */
  readonly offendingElements?: readonly number[];
  readonly errorComment?: string;
  readonly errorId?: number;
  readonly affectedSopInstanceUid?: string;
  readonly requestedSopInstanceUid?: string;
  readonly eventTypeId?: number;
  /** Tags. */
  readonly attributeIdentifierList?: readonly number[];
  readonly actionTypeId?: number;
  readonly remainingSuboperations?: number;
  readonly completedSuboperations?: number;
  readonly failedSuboperations?: number;
  readonly warningSuboperations?: number;
  readonly moveOriginatorAeTitle?: string;
  readonly moveOriginatorMessageId?: number;
}

type CommandVr = 'UI' | 'US' | 'AE' | 'LO' | 'AT';

/** Element numbers of group 0000, ascending. */
const fields: readonly (readonly [element: number, name: keyof CommandSet, vr: CommandVr])[] = [
  [0x0002, 'affectedSopClassUid', 'UI'],
  [0x0003, 'requestedSopClassUid', 'UI'],
  [0x0100, 'commandField', 'US'],
  [0x0110, 'messageId', 'US'],
  [0x0120, 'messageIdBeingRespondedTo', 'US'],
  [0x0600, 'moveDestination', 'AE'],
  [0x0700, 'priority', 'US'],
  [0x0800, 'dataSetType', 'US'],
  [0x0900, 'status', 'US'],
  [0x0901, 'offendingElements', 'AT'],
  [0x0902, 'errorComment', 'LO'],
  [0x0903, 'errorId', 'US'],
  [0x1000, 'affectedSopInstanceUid', 'UI'],
  [0x1001, 'requestedSopInstanceUid', 'UI'],
  [0x1002, 'eventTypeId', 'US'],
  [0x1005, 'attributeIdentifierList', 'AT'],
  [0x1008, 'actionTypeId', 'US'],
  [0x1020, 'remainingSuboperations', 'US'],
  [0x1021, 'completedSuboperations', 'US'],
  [0x1022, 'failedSuboperations', 'US'],
  [0x1023, 'warningSuboperations', 'US'],
  [0x1030, 'moveOriginatorAeTitle', 'AE'],
  [0x1031, 'moveOriginatorMessageId', 'US'],
];
const fieldOf = new Map(fields.map((field) => [field[0], field]));

/** Throws `protocol-violation` when the bytes are no command set with a command field and a data set type. */
export function decodeCommandSet(bytes: Uint8Array): CommandSet {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Record<string, unknown> = {};
  let offset = 0;
  while (offset < buffer.length) {
    if (offset + 8 > buffer.length) throw messageViolation('a command set ends within an element');
    const group = buffer.readUInt16LE(offset);
    const element = buffer.readUInt16LE(offset + 2);
    const lengthBytes = buffer.readUInt32LE(offset + 4);
    offset += 8;
    if (group !== 0) throw messageViolation('a command set holds an element of another group', { group });
    if (lengthBytes > buffer.length - offset)
      throw messageViolation('an element of a command set is longer than what is left of it', { element, lengthBytes });
    const field = fieldOf.get(element);
    if (field !== undefined && lengthBytes > 0)
      found[field[1]] = decodeValue(buffer.subarray(offset, offset + lengthBytes), field[2], element);
    offset += lengthBytes;
  }
  if (typeof found.commandField !== 'number') throw messageViolation('a command set has no Command Field (0000,0100)');
  if (typeof found.dataSetType !== 'number')
    throw messageViolation('a command set has no Command Data Set Type (0000,0800)');
  return found as unknown as CommandSet;
}

function decodeValue(value: Buffer, vr: CommandVr, element: number): string | number | readonly number[] | undefined {
  if (vr === 'US') {
    if (value.length !== 2) throw messageViolation('a number in a command set has not two bytes', { element });
    return value.readUInt16LE(0);
  }
  if (vr === 'AT') {
    const tags: number[] = [];
    for (let i = 0; i + 4 <= value.length && tags.length < 256; i += 4)
      tags.push(value.readUInt16LE(i) * 0x10000 + value.readUInt16LE(i + 2));
    return tags;
  }
  let start = 0;
  let end = value.length;
  while (end > start && (value[end - 1] === 0 || value[end - 1] === 0x20)) end--;
  while (start < end && value[start] === 0x20) start++;
  return value.toString('latin1', start, end);
}

/** With its group length; elements ascending, values of even length. */
export function encodeCommandSet(command: CommandSet): Buffer {
  const values: (readonly [element: number, value: Buffer])[] = [];
  let lengthBytes = 0;
  for (const [element, name, vr] of fields) {
    const content = command[name];
    if (content === undefined) continue;
    const value = encodeValue(content, vr);
    values.push([element, value]);
    lengthBytes += 8 + value.length;
  }
  const bytes = Buffer.allocUnsafe(12 + lengthBytes);
  bytes.writeUInt32LE(0, 0);
  bytes.writeUInt32LE(4, 4);
  bytes.writeUInt32LE(lengthBytes, 8);
  let offset = 12;
  for (const [element, value] of values) {
    bytes.writeUInt16LE(0, offset);
    bytes.writeUInt16LE(element, offset + 2);
    bytes.writeUInt32LE(value.length, offset + 4);
    bytes.set(value, offset + 8);
    offset += 8 + value.length;
  }
  return bytes;
}

function encodeValue(content: string | number | readonly number[], vr: CommandVr): Buffer {
  if (typeof content === 'number') {
    const value = Buffer.allocUnsafe(2);
    value.writeUInt16LE(content, 0);
    return value;
  }
  if (typeof content !== 'string') {
    const value = Buffer.allocUnsafe(content.length * 4);
    content.forEach((tag, i) => {
      value.writeUInt16LE(Math.floor(tag / 0x10000), i * 4);
      value.writeUInt16LE(tag & 0xffff, i * 4 + 2);
    });
    return value;
  }
  const characters = vr === 'LO' ? commentText(content) : content;
  const padding = characters.length % 2 === 0 ? '' : vr === 'UI' ? '\0' : ' ';
  return Buffer.from(characters + padding, 'latin1');
}

/** LO: 64 characters of the default repertoire, since a command set cannot say another; a backslash would separate values. */
function commentText(comment: string): string {
  return comment
    .replaceAll('\\', '/')
    .replace(/[^ -~]/gu, '?')
    .slice(0, 64);
}
