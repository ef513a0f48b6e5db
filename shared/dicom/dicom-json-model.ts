/**
 * The shapes of the DICOM JSON Model (PS3.18 Annex F). Converting is dicom-json.ts.
 */
import type { Vr } from './data-set.ts';

/** PS3.18 §F.2.2: person names by component group. */
export interface PersonName {
  Alphabetic?: string;
  Ideographic?: string;
  Phonetic?: string;
}

export type JsonValue = string | number | PersonName | DicomJson | null;

export interface JsonElement {
  vr: Vr;
  /** Absent when the value is empty (§F.2.5). */
  Value?: JsonValue[];
  InlineBinary?: string;
  BulkDataURI?: string;
}

/** Keyed by eight upper-case hexadecimal digits, in ascending order. */
export type DicomJson = { [tag: string]: JsonElement };
