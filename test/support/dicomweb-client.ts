/**
 * A DICOMweb client for tests, independent of our own multipart and Part 10 code: searches, fetches instances, and cuts
 * out of a Part 10 file the data set bytes that a sender sent.
 */
import { createHash } from 'node:crypto';
import type { InstanceRef, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';

const ANY_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*';
/** More than preamble and File Meta ever have in files that we write. */
const HEAD_BYTES = 64 * 1024;
/** More than the delimiter at the end of a multipart body. */
const TAIL_BYTES = 256;

export interface DicomwebPart {
  readonly headers: Headers;
  readonly body: Buffer;
}

export class DicomwebClient {
  readonly baseUrl: string;

  constructor(baseUrl: string) {
    this.baseUrl = baseUrl;
  }

  async get(path: string, accept?: string): Promise<Response> {
    const response = await fetch(`${this.baseUrl}${path}`, { headers: accept === undefined ? {} : { Accept: accept } });
    if (!response.ok) throw new Error(`GET ${path} was answered ${response.status}: ${await response.text()}`);
    return response;
  }

  /** QIDO-RS; `path` such as `/studies?limit=10`. */
  async search(path: string): Promise<DicomJson[]> {
    const response = await this.get(path, 'application/dicom+json');
    return response.status === 204 ? [] : ((await response.json()) as DicomJson[]);
  }

  /** QIDO-RS, page after page until there is no more. */
  async searchAll(path: string, pageSize = 500): Promise<DicomJson[]> {
    const found: DicomJson[] = [];
    for (;;) {
      const page = await this.search(`${path}?limit=${pageSize}&offset=${found.length}`);
      found.push(...page);
      if (page.length < pageSize) return found;
    }
  }

  async parts(path: string, accept: string = ANY_STORED): Promise<DicomwebPart[]> {
    const response = await this.get(path, accept);
    return partsOf(response.headers.get('content-type') ?? '', Buffer.from(await response.arrayBuffer()));
  }

  /** The data set bytes of one instance, or of its version with this digest. */
  async dataSet(ref: InstanceRef, digest?: string): Promise<Buffer> {
    const [part, ...more] = await this.parts(pathOf(ref) + versionQuery(digest));
    if (part === undefined || more.length > 0) throw new Error('one instance must come as one part');
    return part.body.subarray(dataSetOffsetOf(part.body));
  }

  /** SHA-256 (lower-case hex) and length of an instance's data set bytes, however long it is: it is never held. */
  async dataSetDigest(ref: InstanceRef, digest?: string): Promise<{ digest: string; lengthBytes: number }> {
    const response = await this.get(pathOf(ref) + versionQuery(digest), ANY_STORED);
    const boundary = boundaryOf(response.headers.get('content-type') ?? '');
    const hash = createHash('sha256');
    let lengthBytes = 0;
    let held = Buffer.alloc(0);
    let begun = false;
    const begin = (): void => {
      const start = held.indexOf('\r\n\r\n') + 4;
      held = held.subarray(start + dataSetOffsetOf(held.subarray(start)));
      begun = true;
    };
    const feed = (bytes: Buffer): void => {
      hash.update(bytes);
      lengthBytes += bytes.length;
    };
    for await (const chunk of response.body ?? []) {
      held = Buffer.concat([held, chunk]);
      if (!begun && held.length >= HEAD_BYTES) begin();
      if (begun && held.length > TAIL_BYTES) {
        feed(held.subarray(0, -TAIL_BYTES));
        held = held.subarray(-TAIL_BYTES);
      }
    }
    if (!begun) begin();
    const end = held.lastIndexOf(`\r\n--${boundary}--`);
    if (end < 0) throw new Error('the body broke off before its closing delimiter');
    feed(held.subarray(0, end));
    return { digest: hash.digest('hex'), lengthBytes };
  }
}

const versionQuery = (digest: string | undefined): string => (digest === undefined ? '' : `?digest=${digest}`);

/** `/studies/…/series/…/instances/…` as far as the reference goes; UIDs that are none are percent-encoded. */
export function pathOf(ref: StudyRef | SeriesRef | InstanceRef): string {
  let path = `/studies/${encodeURIComponent(ref.studyInstanceUid)}`;
  if ('seriesInstanceUid' in ref) path += `/series/${encodeURIComponent(ref.seriesInstanceUid)}`;
  if ('sopInstanceUid' in ref) path += `/instances/${encodeURIComponent(ref.sopInstanceUid)}`;
  return path;
}

/** RFC 2046 §5.1.1. */
function boundaryOf(contentType: string): string {
  const boundary = /boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(contentType);
  const text = boundary?.[1] ?? boundary?.[2];
  if (text === undefined) throw new Error(`no boundary in ${contentType}`);
  return text;
}

export function partsOf(contentType: string, body: Buffer): DicomwebPart[] {
  const delimiter = `--${boundaryOf(contentType)}`;
  const parts: DicomwebPart[] = [];
  let at = body.indexOf(delimiter);
  for (;;) {
    at += delimiter.length;
    if (body.subarray(at, at + 2).toString('latin1') === '--') return parts;
    const bodyStart = body.indexOf('\r\n\r\n', at) + 4;
    const next = body.indexOf(`\r\n${delimiter}`, bodyStart - 2);
    if (at < delimiter.length || next < 0) throw new Error('the multipart body is not whole');
    const headers = new Headers();
    for (const line of body.subarray(at, bodyStart).toString('latin1').trim().split('\r\n')) {
      const colon = line.indexOf(':');
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    parts.push({ headers, body: body.subarray(bodyStart, Math.max(bodyStart, next)) });
    at = next + 2;
  }
}

/** Where the data set begins in a Part 10 file that has a File Meta Information Group Length (PS3.10 §7.1). */
export function dataSetOffsetOf(part10: Buffer): number {
  if (part10.toString('latin1', 128, 132) !== 'DICM' || part10.readUInt32LE(132) !== 0x00000002)
    throw new Error('not a Part 10 file with a group length');
  return 132 + 12 + part10.readUInt32LE(140);
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
