/**
 * A search over the index, as QIDO-RS (PS3.18 §10.6) and C-FIND (PS3.4 §C.4.1) both mean it: keys to match at a level, a page.
 */
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import type { MatchKey } from '../dicom/matching.ts';
import type { Level } from './records.ts';

export interface Query {
  readonly level: Level;
  /** All must match (PS3.4 §C.2.2.2). Keys of a higher level than `level` are allowed (relational), of a lower one only ModalitiesInStudy and SOPClassesInStudy. */
  readonly keys: readonly MatchKey[];
  /** At least 1. */
  readonly limit: number;
  /** From 0. */
  readonly offset: number;
}

export interface SearchPage {
  /** For each match the indexed attributes of its level and all levels above, and the derived ones (0008,0061), (0008,0062), (0020,1206), (0020,1208), (0020,1209). */
  readonly matches: readonly DicomJson[];
  /** Whether more would match behind this page. */
  readonly more: boolean;
}
