/**
 * Storing by STOW-RS in tests: multipart bodies made by hand, and what is answered to them.
 */
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import type { MadeInstance } from '#test/support/dicom-factory.ts';
import { base } from './ask.ts';

export const multipartDicom = 'multipart/related; type="application/dicom"; boundary=b';

export interface SentPart {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** As every client writes it: CRLF, a header field for the type, boundary `b`. */
export function multipartOf(parts: readonly (SentPart | Uint8Array)[], end = '--b--\r\n', newLine = '\r\n'): Buffer {
  const encoded = parts.map((part) => {
    const { headers, body } = part instanceof Uint8Array ? { headers: undefined, body: part } : part;
    const fields = Object.entries(headers ?? { 'Content-Type': 'application/dicom' });
    const lines = ['--b', ...fields.map(([name, value]) => `${name}: ${value}`), '', ''];
    return Buffer.concat([Buffer.from(lines.join(newLine), 'latin1'), body, Buffer.from(newLine)]);
  });
  return Buffer.concat([...encoded, Buffer.from(end)]);
}

export function post(
  service: Service,
  path: string,
  body: Uint8Array | ReadableStream<Uint8Array> | undefined,
  headers: Readonly<Record<string, string>> = { 'content-type': multipartDicom },
): Promise<Response> {
  const sent = { body: body as Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>, duplex: 'half' } as const;
  return service(new Request(base + path, { method: 'POST', headers, ...(body === undefined ? {} : sent) }));
}

/** In chunks of that many bytes. */
export function streamOf(bytes: Uint8Array, chunkBytes: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + chunkBytes));
      at += chunkBytes;
    },
  });
}

export const urlOf = ({ ref }: MadeInstance): string =>
  `${base}/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

/** As StoreAnswer has them. */
export const storedItem = (made: MadeInstance): unknown[] => [made.sopClassUid, made.ref.sopInstanceUid, urlOf(made)];
export const failedItem = (made: MadeInstance, reason: number): unknown[] => [
  made.sopClassUid,
  made.ref.sopInstanceUid,
  reason,
];

export interface StoreAnswer {
  readonly status: number;
  readonly studyUrl: string | undefined;
  /** [SOP Class UID, SOP Instance UID, Retrieve URL, Warning Reason] */
  readonly stored: readonly (readonly unknown[])[];
  /** [SOP Class UID, SOP Instance UID, Failure Reason] */
  readonly failed: readonly (readonly unknown[])[];
  /** Failure Reasons of what could not be identified. */
  readonly unknown: readonly unknown[];
  readonly warning: string;
}

export async function answerOf(response: Response): Promise<StoreAnswer> {
  if (response.headers.get('content-type') !== 'application/dicom+json')
    throw new Error(`${response.status} ${response.headers.get('content-type')}: ${await response.text()}`);
  const json = (await response.json()) as DicomJson;
  const items = (key: string): DicomJson[] => {
    const value = json[key]?.Value;
    if (value?.length === 0) throw new Error(`${key} is empty`);
    return (value ?? []) as DicomJson[];
  };
  const values = (item: DicomJson, ...keys: string[]): unknown[] => {
    const found = keys.map((key) => item[key]?.Value?.[0]);
    while (found.at(-1) === undefined && found.length > 3) found.pop();
    return found;
  };
  return {
    status: response.status,
    studyUrl: json['00081190']?.Value?.[0] as string | undefined,
    stored: items('00081199').map((item) => values(item, '00081150', '00081155', '00081190', '00081196')),
    failed: items('00081198').map((item) => values(item, '00081150', '00081155', '00081197')),
    unknown: items('0008119A').map((item) => item['00081197']?.Value?.[0]),
    warning: response.headers.get('warning') ?? '',
  };
}
