/**
 * A reader of multipart bodies for tests, written from RFC 2046 §5.1.1 alone so that it can judge the writer.
 */
export interface ReadPart {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Strict: a preamble, a missing last boundary, bare line feeds or anything behind the end is an error. */
export function readMultipart(contentType: string, bytes: Uint8Array): ReadPart[] {
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  if (boundary === null) throw new Error(`no boundary in ${contentType}`);
  const delimiter = `--${boundary[1] ?? boundary[2]}`;
  const buffer = Buffer.from(bytes);
  const parts: ReadPart[] = [];
  let at = 0;
  const expectText = (text: string): void => {
    if (buffer.subarray(at, at + text.length).toString('latin1') !== text) throw new Error(`${text} expected at ${at}`);
    at += text.length;
  };
  expectText(delimiter);
  while (buffer.subarray(at, at + 2).toString('latin1') !== '--') {
    expectText('\r\n');
    const headersEnd = buffer.indexOf('\r\n\r\n', at);
    const headers = buffer.subarray(at, headersEnd).toString('latin1').split('\r\n');
    at = headersEnd + 4;
    const end = buffer.indexOf(`\r\n${delimiter}`, at, 'latin1');
    if (headersEnd < 0 || end < 0) throw new Error('a part without an end');
    parts.push({
      headers: Object.fromEntries(
        headers.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
      ),
      body: buffer.subarray(at, end),
    });
    at = end + 2;
    expectText(delimiter);
  }
  expectText('--\r\n');
  if (at !== buffer.length) throw new Error('bytes behind the last boundary');
  return parts;
}

/** The parts of an answer. */
export async function partsOf(response: Response): Promise<ReadPart[]> {
  return readMultipart(response.headers.get('content-type') ?? '', new Uint8Array(await response.arrayBuffer()));
}
