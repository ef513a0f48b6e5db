/**
 * The metadata of a manifest's entry, parsed. Of a slice that takes a moment and is done anew each time; of a multi-frame instance, whose
 * frames are asked for one by one, it may be megabytes each time: the last few of those are kept.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';

export type ParseMetadata = (entry: Pick<ManifestEntry, 'digest' | 'metadata'>) => DicomJson;

const longLength = 64 * 1024;
/** Parsed, they take several times their text: those that somebody scrolls through now, no more. */
const keptAtMost = 2;
const longestKeptLength = 16 * 1024 * 1024;

/** What it returns is shared: nobody changes it. */
export function createMetadataParser(): ParseMetadata {
  const kept = new Map<string, DicomJson>();
  return ({ digest, metadata }) => {
    if (metadata.length < longLength || metadata.length > longestKeptLength) return JSON.parse(metadata) as DicomJson;
    const parsed = kept.get(digest) ?? (JSON.parse(metadata) as DicomJson);
    kept.delete(digest);
    kept.set(digest, parsed); // now the one used last
    for (const oldest of kept.keys()) {
      if (kept.size <= keptAtMost) break;
      kept.delete(oldest);
    }
    return parsed;
  };
}
