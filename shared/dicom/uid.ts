/**
 * Unique Identifiers (PS3.5 §9 and Annex B): what is one, how a new one is made, and those by which Archipel names
 * itself in the files it writes (PS3.7 §D.3.3.2).
 */

const uidPattern = /^[0-9]+(\.[0-9]+)*$/;

/**
 * At most 64 characters: numbers with dots between them. Leading zeros, which §9.1 forbids but the field sends, are let
 * pass: they do no harm in a key or a path.
 */
export function isUid(text: string): boolean {
  return text.length <= 64 && uidPattern.test(text);
}

/** The UID that belongs to a UUID (PS3.5 §B.2): `2.25.` and the UUID as one decimal number. */
export function newUid(uuid: string): string {
  return `2.25.${BigInt(`0x${uuid.replaceAll('-', '')}`)}`;
}

export const IMPLEMENTATION_CLASS_UID = '2.25.309891994414561334766048964781758044966';

/** At most 16 characters (0002,0013). */
export const IMPLEMENTATION_VERSION_NAME = 'ARCHIPEL_0_1';
