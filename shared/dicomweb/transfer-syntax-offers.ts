/**
 * In which media types and transfer syntaxes stored instances and their frames can be had, with the defaults of PS3.18 Tables 8.7.3-2,
 * 8.7.3-4 and 8.7.3-5: what negotiation (accept.ts) chooses from. Decides by what the index knows and reads nothing; what the
 * pixels forbid beyond that is found out when they are transcoded.
 */
import {
  EXPLICIT_VR_LITTLE_ENDIAN,
  IMPLICIT_VR_LITTLE_ENDIAN,
  type TransferSyntax,
  transferSyntaxOf,
} from '../dicom/transfer-syntax.ts';
import { canDecode } from '../imaging/codecs.ts';
import { canEncode, encodableTransferSyntaxes } from '../imaging/transcode.ts';
import type { Offer } from './accept.ts';
import type { StoredInstance } from './stored-instances.ts';

/** What the index knows of an instance's pixels. */
export type Pixels = Pick<StoredInstance, 'transferSyntaxUid' | 'isImage' | 'bitsAllocated'>;

export type InstanceForm = 'multipart' | 'single' | 'zip';

export interface InstanceChoice {
  readonly form: InstanceForm;
  /** Undefined: each instance as it is stored. */
  readonly transferSyntaxUid: string | undefined;
}

const octetStream = 'application/octet-stream';

/** Whether the pixels are at hand as numbers, so that they can be had in another transfer syntax. */
function isReadable(stored: TransferSyntax): boolean {
  return stored.encapsulated ? canDecode(stored.uid) : stored.codec === 'native';
}

/** Whether an instance can be given in a transfer syntax, as far as the index knows. */
export function canBeHadIn({ transferSyntaxUid, isImage, bitsAllocated }: Pixels, uid: string): boolean {
  const stored = transferSyntaxOf(transferSyntaxUid);
  if (stored.uid === uid) return true;
  if (!isReadable(stored)) return false;
  if (uid === EXPLICIT_VR_LITTLE_ENDIAN) return true;
  return !stored.deflated && canEncode(uid, isImage ? bitsAllocated : undefined);
}

/**
 * Explicit VR Little Endian where nothing is said (Table 8.7.3-2), each as stored for `transfer-syntax=*`. A ZIP file holds what is
 * stored, and is for who names it.
 * @param isEnough whether a transfer syntax that only some can be given in is offered
 */
export function instanceOffers(instances: readonly Pixels[], isEnough: 'all' | 'some'): Offer<InstanceChoice>[] {
  const storedIn = new Set(instances.map(({ transferSyntaxUid }) => transferSyntaxUid));
  const kinds = [
    ...new Map(instances.map((one) => [`${one.transferSyntaxUid} ${one.isImage} ${one.bitsAllocated}`, one])).values(),
  ];
  const isOffered = (uid: string): boolean =>
    isEnough === 'all' ? kinds.every((one) => canBeHadIn(one, uid)) : kinds.some((one) => canBeHadIn(one, uid));
  const asStored = {
    uids: storedIn.size === 1 ? [...storedIn] : ['*'],
    whenUnsaid: storedIn.size === 1 && storedIn.has(EXPLICIT_VR_LITTLE_ENDIAN),
  };
  const others = [EXPLICIT_VR_LITTLE_ENDIAN, ...encodableTransferSyntaxes, ...storedIn].filter(
    (uid, i, all) => all.indexOf(uid) === i && !asStored.uids.includes(uid) && isOffered(uid),
  );
  const forms = instances.length === 1 ? (['multipart', 'single'] as const) : (['multipart'] as const);
  const offer = (transferSyntax: NonNullable<Offer<never>['transferSyntax']>, uid: string | undefined) =>
    forms.map((form): Offer<InstanceChoice> => ({ type: 'application/dicom', form, transferSyntax, value: { form, transferSyntaxUid: uid } })); // biome-ignore format: one thought
  return [
    ...offer(asStored, undefined),
    ...others.flatMap((uid) => offer({ uids: [uid], whenUnsaid: uid === EXPLICIT_VR_LITTLE_ENDIAN }, uid)),
    {
      type: 'application/zip',
      form: 'single',
      transferSyntax: { ...asStored, whenUnsaid: true },
      isNamedOnly: true,
      value: { form: 'zip', transferSyntaxUid: undefined },
    },
  ];
}

/** The default transfer syntax of a media type of compressed frames (Table 8.7.3-5); none of those that are not made here. */
const defaultsOf: Readonly<Record<string, string>> = {
  'image/jpeg': '1.2.840.10008.1.2.4.70',
  'image/dicom-rle': '1.2.840.10008.1.2.5',
  'image/jls': '1.2.840.10008.1.2.4.80',
  'image/jp2': '1.2.840.10008.1.2.4.90',
  'image/jpx': '1.2.840.10008.1.2.4.92',
  'image/jphc': '1.2.840.10008.1.2.4.201',
  'image/jxl': '1.2.840.10008.1.2.4.110',
  'application/x-deflate': '1.2.840.10008.1.2.8.1',
};

/** Names under which clients ask for the same codestream; PS3.18 has changed its own more than once. */
export const alsoKnownAs: Readonly<Record<string, readonly string[]>> = {
  'image/jp2': ['image/j2c', 'image/jpx'],
  'image/jpx': ['image/jp2', 'image/j2c'],
  'image/jphc': ['image/jph'],
  'image/dicom-rle': ['image/dicom+rle', 'image/x-dicom-rle'],
};

export interface FrameChoice {
  readonly form: 'single' | 'multipart';
  /** What the frames are labelled as: never other than their transfer syntax has it. */
  readonly mediaType: string;
  readonly transferSyntaxUid: string;
}

/**
 * Frames as native pixels where nothing is said (Table 8.7.3-4), compressed ones under the name of their codec (Table 8.7.3-5), and as they
 * are stored for `application/octet-stream; transfer-syntax=*`, which viewers send.
 * @param storedAs of the frames as they lie: Explicit VR Little Endian for native ones
 */
export function frameOffers(
  { transferSyntaxUid: storedAs, bitsAllocated }: Omit<Pixels, 'isImage'>,
  forms: readonly FrameChoice['form'][],
): Offer<FrameChoice>[] {
  const stored = transferSyntaxOf(storedAs);
  const isNative = stored.uid === EXPLICIT_VR_LITTLE_ENDIAN;
  const offer = (
    type: string,
    syntax: TransferSyntax,
    transferSyntax: NonNullable<Offer<never>['transferSyntax']>,
    isNamedOnly = true,
  ) =>
    forms.map((form): Offer<FrameChoice> => ({ type, form, transferSyntax, isNamedOnly, value: { form, mediaType: syntax.mediaType, transferSyntaxUid: syntax.uid } })); // biome-ignore format: one thought
  const native = transferSyntaxOf(EXPLICIT_VR_LITTLE_ENDIAN);
  // The pixels of both uncompressed little endian syntaxes are the same bytes.
  const nativeUids = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
  const offers: Offer<FrameChoice>[] = [];
  if (!isNative) {
    const names = [stored.mediaType, ...(alsoKnownAs[stored.mediaType] ?? [])];
    const whenUnsaid = isMeantByType(stored);
    offers.push(...offer(octetStream, stored, { uids: [stored.uid], whenUnsaid: false }));
    offers.push(...names.flatMap((name) => name === octetStream ? [] : offer(name, stored, { uids: [stored.uid], whenUnsaid }))); // biome-ignore format: one thought
  }
  if (isNative || isReadable(stored)) {
    offers.push(...offer(octetStream, native, { uids: nativeUids, whenUnsaid: true }, false));
    for (const uid of encodableTransferSyntaxes) {
      if (uid === stored.uid || !canEncode(uid, bitsAllocated)) continue;
      const syntax = transferSyntaxOf(uid);
      // What loses something is only for who asks for it by name.
      const isLossy = syntax.codec === 'jpeg';
      const named = { uids: [uid], whenUnsaid: defaultsOf[syntax.mediaType] === uid, whenAny: !isLossy };
      // image/jpx is of another transfer syntax by itself; that it is JPEG 2000 is for who asks by UID.
      for (const name of [syntax.mediaType, ...(alsoKnownAs[syntax.mediaType] ?? [])])
        offers.push(
          ...offer(
            name,
            syntax,
            defaultsOf[name] === undefined || name === syntax.mediaType ? named : { ...named, whenUnsaid: false },
          ),
        );
    }
  }
  return offers;
}

/**
 * Whether the media type alone means what is stored: its default, what has lost something already (PS3.18 §8.7.3: then the default does not
 * hold), and where nothing better can be made.
 */
function isMeantByType(stored: TransferSyntax): boolean {
  const byDefault = defaultsOf[stored.mediaType];
  return byDefault === undefined || byDefault === stored.uid || stored.lossy || !canEncode(byDefault);
}
