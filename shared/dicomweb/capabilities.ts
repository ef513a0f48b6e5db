/**
 * Retrieve Capabilities Transaction (PS3.18 §8.9): what the service answers, as WADL, which the standard names, or as an OpenAPI
 * document, which tools read. Of the whole service at its root, of one resource under its own path; made from the table of routes.
 */

import { tagKey } from '../dicom/tags.ts';
import { isArchiveError } from '../errors.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { openApiDocument } from './openapi.ts';
import type { Operation, Parameter } from './operation.ts';
import { levelOf, operationOf, searchableAt } from './operations.ts';
import { answeredMethods, methodsOf, type Route, routes, type ServicePart } from './routes.ts';

type Form = 'wadl' | 'openapi';

const wadlType = 'application/vnd.sun.wadl+xml';
const json: Offer<Form> = { type: 'application/json', form: 'single', value: 'openapi' };
const offers: readonly Offer<Form>[] = [{ type: wadlType, form: 'single', value: 'wadl' }, json];

interface Described {
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly baseUrl: string;
}

/** GET on the root of the service. Error `not-acceptable`. */
export function describeService(context: Described, offered: ReadonlySet<ServicePart>): Response {
  const { type, value } = negotiate(acceptOf(context.request, context.query), offers);
  return answer(type, value, context, offered, routes);
}

/** The OpenAPI document under a name of its own. Error `not-acceptable`. */
export function describeOpenApi(context: Described, offered: ReadonlySet<ServicePart>): Response {
  const { type, value } = negotiate(acceptOf(context.request, context.query), [json]);
  return answer(type, value, context, offered, routes);
}

/**
 * OPTIONS on any resource: Allow, and the description of what it allows where the client takes one. A browser's preflight has no use
 * for more than header fields. Error `limit-exceeded` for an Accept list beyond all bounds.
 */
export function describeRoute(context: Described, route: Route, offered: ReadonlySet<ServicePart>): Response {
  const allow = methodsOf(route, offered).join(', ');
  const bare = new Response(null, { status: 204, headers: { allow } });
  if (context.request.headers.has('access-control-request-method')) return bare;
  try {
    const { type, value } = negotiate(acceptOf(context.request, context.query), offers);
    const response = answer(type, value, context, offered, route.path === '/' ? routes : [route]);
    response.headers.set('allow', allow);
    return response;
  } catch (error) {
    // Allow is an answer to whoever wants no description.
    if (isArchiveError(error, 'not-acceptable')) return bare;
    throw error;
  }
}

function answer(
  type: string,
  form: Form,
  { baseUrl }: Described,
  offered: ReadonlySet<ServicePart>,
  of: readonly Route[],
): Response {
  const text = form === 'wadl' ? wadl(baseUrl, offered, of) : JSON.stringify(openApiDocument(baseUrl, offered, of));
  return new Response(text, { headers: { 'content-type': type } });
}

function wadl(baseUrl: string, offered: ReadonlySet<ServicePart>, of: readonly Route[]): string {
  const resources = of.map((route) => resource(route, offered)).join('');
  return `<?xml version="1.0" encoding="UTF-8"?>
<application xmlns="http://wadl.dev.java.net/2009/02" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<resources base="${escapeXml(baseUrl)}/">
${resources}</resources>
</application>
`;
}

function resource(route: Route, offered: ReadonlySet<ServicePart>): string {
  const methods = answeredMethods(route, offered).flatMap((method) => {
    const operation = operationOf(route, method);
    return operation === undefined ? [] : [methodElement(method, operation, route)];
  });
  if (methods.length === 0) return '';
  const variables = [...route.path.matchAll(/\{\+?(\w+)\}/g)].map(
    ([, name]) => `<param name="${name}" style="template" type="xs:string" required="true"/>\n`,
  );
  const path = route.path.slice(1).replace('{+', '{');
  return `<resource path="${path}">\n${variables.join('')}${methods.join('')}</resource>\n`;
}

function methodElement(name: string, operation: Operation, route: Route): string {
  const { id, summary, parameters, body = [], answers, problems } = operation;
  const types = new Set(Object.values(answers).flatMap(({ content }) => Object.keys(content)));
  const options = [...types].map((type) => `<option value="${escapeXml(type)}"/>`).join('');
  const acceptField = `<param name="Accept" style="header" type="xs:string">${options}</param>\n`;
  const keys = operation.group !== 'Search' ? [] : searchableAt(levelOf(route)).flatMap(keyElements);
  const bodies = body.map((type) => `<representation mediaType="${escapeXml(type)}"/>\n`);
  const request = [acceptField, ...parameters.map(parameterElement), ...keys, ...bodies].join('');
  const responses = Object.entries(answers).map(([status, { content }]) => {
    const contents = Object.keys(content).map((type) => `<representation mediaType="${escapeXml(type)}"/>`);
    return contents.length === 0
      ? `<response status="${status}"/>\n`
      : `<response status="${status}">${contents.join('')}</response>\n`;
  });
  const failures = `<response status="${problems.join(' ')}"><representation mediaType="application/problem+json"/></response>\n`;
  return `<method name="${name}" id="${id}">\n<doc title="${escapeXml(summary)}"/>\n<request>\n${request}</request>\n${responses.join('')}${failures}</method>\n`;
}

/** By tag and by keyword; a sequence is a key as the beginning of a path, which WADL cannot say. */
function keyElements({ tag, keyword, vr }: { tag: number; keyword: string; vr: string }): string[] {
  if (vr === 'SQ') return [];
  return [tagKey(tag), keyword].map((name) => `<param name="${name}" style="query" type="xs:string"/>\n`);
}

function parameterElement({ name, in: style, schema }: Parameter): string {
  const type = schema.type === 'integer' ? 'xs:integer' : schema.type === 'boolean' ? 'xs:boolean' : 'xs:string';
  return `<param name="${name}" style="${style}" type="${type}"/>\n`;
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
