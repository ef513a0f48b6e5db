/**
 * What becomes of errors of AWS in the log: what operators need of them, and no credentials.
 */
import { describe, expect, it } from 'vitest';
import { faultOf } from '#functions/aws/faults.ts';
import { createLogger } from '#shared/log.ts';

/** As a log line says it. */
function logged(name: string, message: string, fields: Record<string, unknown> = {}): string {
  const error = Object.assign(new Error(message), { name, $metadata: { httpStatusCode: 403 }, ...fields });
  const fault = faultOf(error, 'the index');
  let line = '';
  createLogger('info', (text) => {
    line += text;
  }).error({ err: fault.kind === 'failed' ? fault.error : error }, 'it failed');
  return line;
}

describe('an error of AWS', () => {
  it.each(['InvalidSignatureException', 'SignatureDoesNotMatch', 'IncompleteSignatureException'])(
    'of a signature (%s) says nothing in the log of what was signed, which holds the token of the session',
    (name) => {
      const canonical = 'x-amz-security-token:IQoJb3JpZ2lu\n';
      const line = logged(name, `The Canonical String for this request should have been 'POST\n${canonical}'`, {
        CanonicalRequest: canonical,
      });
      expect(line).toContain(name);
      expect(line).not.toContain('IQoJb3JpZ2lu');
    },
  );

  it('of permissions names in the log what is not permitted', () => {
    const line = logged('AccessDeniedException', 'User: arn:x is not authorized to perform: dynamodb:Query');
    expect(line).toContain('dynamodb:Query');
  });
});
