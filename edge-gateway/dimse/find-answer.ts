/**
 * One match of a C-FIND as the identifier of its response (PS3.4 §C.4.1.1.3.2): what was asked for and the unique keys, in the
 * requestor's character sets if they can express all of it, else in UTF-8; counts, where to retrieve it and how soon it can be had.
 */

import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { dictionaryVr, Tag, tagKey } from '#shared/dicom/tags.ts';
import type { TransferSyntax } from '#shared/dicom/transfer-syntax.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { FindQuery } from './find-query.ts';
import { type InformationModel, levelsDownTo, uniqueKeyOf } from './information-model.ts';

export interface AnswerOptions {
  readonly query: FindQuery;
  readonly root: InformationModel['root'];
  /** Ours: where what was found can be retrieved from. */
  readonly aeTitle: string;
  readonly transferSyntax: TransferSyntax;
  /** The requestor's. */
  readonly characterSets: readonly string[];
}

/** `match`: as ArchiveIndex.search has it. */
export function encodeAnswer(match: DicomJson, options: AnswerOptions): Uint8Array {
  const { query, root, aeTitle, transferSyntax } = options;
  const answer: DicomJson = {};
  const copy = (tag: number) => {
    const key = tagKey(tag);
    answer[key] = match[key] ?? { vr: dictionaryVr(tag) ?? 'UN' };
  };
  for (const level of levelsDownTo(root, query.level)) copy(uniqueKeyOf[level]);
  for (const tag of query.returned) copy(tag);
  copy(Tag.InstanceAvailability);
  answer[tagKey(Tag.QueryRetrieveLevel)] = { vr: 'CS', Value: [query.level] };
  answer[tagKey(Tag.RetrieveAETitle)] = { vr: 'AE', Value: [aeTitle] };
  const characterSets = options.characterSets.length === 0 ? undefined : options.characterSets;
  try {
    return encodeDataSet(answer, transferSyntax, characterSets);
  } catch (error) {
    if (!isArchiveError(error)) throw error;
    return encodeDataSet(withoutImpossible(answer, transferSyntax), transferSyntax, characterSets);
  }
}

/** Objects hold values that their VR forbids; one such must not cost the rest of the answer. */
function withoutImpossible(answer: DicomJson, transferSyntax: TransferSyntax): DicomJson {
  const possible: DicomJson = {};
  for (const [key, element] of Object.entries(answer)) {
    try {
      encodeDataSet({ [key]: element }, transferSyntax);
      possible[key] = element;
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      possible[key] = { vr: element.vr };
    }
  }
  return possible;
}
