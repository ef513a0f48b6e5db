/**
 * The OpenAPI 3.1 document of the service, made from the table of routes and what operations.ts says of each: for partners' tools, and
 * served beside the capabilities. It says what a deployment answers, not more.
 */
import { httpStatusOf } from '../errors.ts';
import type { Answer, Content, Operation, Parameter, Schema } from './operation.ts';
import { levelOf, operationOf, searchableAt } from './operations.ts';
import { answeredMethods, type Route, routes, type ServicePart } from './routes.ts';

const version = '1';
const ref = (section: string, name: string): Schema => ({ $ref: `#/components/${section}/${name}` });

/** @param of the routes it is about; default: all */
export function openApiDocument(
  baseUrl: string,
  offered: ReadonlySet<ServicePart>,
  of: readonly Route[] = routes,
): Schema {
  const answered = of.filter((route) => answeredMethods(route, offered).length > 0);
  const parameters = new Map<string, Schema>();
  const problems = new Set<number>();
  const named = (parameter: Parameter): Schema => {
    const { example, ...rest } = parameter;
    const name = `${parameter.in}-${parameter.name}`;
    parameters.set(name, { ...rest, example });
    return ref('parameters', name);
  };
  const paths = Object.fromEntries(
    answered.map((route) => [pathOf(route), pathItem(route, offered, named, parameters, problems)]),
  );
  const groups = new Set(answered.flatMap((route) => operationsOf(route, offered).map(([, { group }]) => group)));
  return {
    openapi: '3.1.0',
    info: {
      title: 'Archipel DICOMweb',
      version,
      description: 'DICOMweb (PS3.18): search, store, retrieve and render DICOM instances.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: baseUrl }],
    security: [],
    tags: [...groups].map((name) => ({ name, description: groupDescriptions[name] })),
    paths,
    components: {
      parameters: Object.fromEntries(parameters),
      responses: Object.fromEntries(
        [...problems].toSorted().map((status) => [`Problem${status}`, problemAnswer(status)]),
      ),
      headers: usedHeaders(answered, offered),
      schemas: usedSchemas(answered, offered),
    },
  };
}

/** OpenAPI knows no variable of several segments; `bulkdata/{path}` may hold slashes all the same. */
const pathOf = (route: Route): string => route.path.replace('{+', '{');

function operationsOf(route: Route, offered: ReadonlySet<ServicePart>): (readonly [string, Operation])[] {
  return answeredMethods(route, offered).flatMap((method) => {
    const operation = operationOf(route, method);
    if (operation === undefined) return [];
    return (method === 'GET' ? ['get', 'head'] : [method.toLowerCase()]).map((name) => [name, operation] as const);
  });
}

function pathItem(
  route: Route,
  offered: ReadonlySet<ServicePart>,
  named: (parameter: Parameter) => Schema,
  parameters: Map<string, Schema>,
  problems: Set<number>,
): Schema {
  const variables = [...route.path.matchAll(/\{\+?(\w+)\}/g)].map((match) => match[1]!);
  for (const name of variables) parameters.set(`path-${name}`, pathParameters[name]!);
  const item: Record<string, unknown> = {
    ...(variables.length === 0 ? {} : { parameters: variables.map((name) => ref('parameters', `path-${name}`)) }),
  };
  for (const [method, operation] of operationsOf(route, offered)) {
    for (const status of [...accessProblems, ...operation.problems]) problems.add(status);
    const keys = operation.group === 'Search' ? [attributesParameter(route, parameters)] : [];
    const isHead = method === 'head';
    item[method] = {
      operationId: isHead ? `${operation.id}Head` : operation.id,
      tags: [operation.group],
      summary: isHead ? `${operation.summary}: the header fields alone` : operation.summary,
      ...(operation.clause.startsWith('§') ? { externalDocs: clauseOf(operation.clause) } : {}),
      parameters: [...keys, ...operation.parameters.map(named)],
      ...(operation.body === undefined ? {} : { requestBody: requestBody(operation.body) }),
      responses: responsesOf(operation, isHead),
    };
  }
  item.options = {
    operationId: `${operationsOf(route, offered)[0]![1].id}Options`,
    tags: ['Capabilities'],
    summary: 'What this resource answers; the answer to a preflight of the browser',
    responses: {
      200: {
        description: 'The methods in Allow, and what they take and give.',
        headers: { Allow: ref('headers', 'Allow') },
        content: {
          'application/vnd.sun.wadl+xml': { schema: { type: 'string' } },
          'application/json': { schema: { type: 'object' } },
        },
      },
      204: { description: 'The methods in Allow.', headers: { Allow: ref('headers', 'Allow') } },
      400: ref('responses', 'Problem400'),
    },
  };
  problems.add(400);
  return item;
}

/** Whoever may ask for something at all is settled before what it is. */
const accessProblems = [401, 403];

const clauseOf = (clause: string): Schema => ({
  description: `PS3.18 ${clause}`,
  url: 'https://dicom.nema.org/medical/dicom/current/output/html/part18.html',
});

function responsesOf(operation: Operation, isHead: boolean): Schema {
  const answers = Object.entries(operation.answers).map(([status, answer]) => [status, answerOf(answer, isHead)]);
  const failures = [...accessProblems, ...operation.problems].map((status) => [
    status,
    ref('responses', `Problem${status}`),
  ]);
  return Object.fromEntries([...answers, ...failures]);
}

function answerOf({ description, content, headers = [] }: Answer, isHead: boolean): Schema {
  const bodies = Object.entries(content).map(([type, holds]) => [type, mediaOf(holds)]);
  return {
    description,
    ...(headers.length === 0
      ? {}
      : { headers: Object.fromEntries(headers.map((name) => [name, ref('headers', name)])) }),
    ...(bodies.length === 0 || isHead ? {} : { content: Object.fromEntries(bodies) }),
  };
}

function mediaOf(holds: Content): Schema {
  if (holds === 'data-sets') return { schema: ref('schemas', 'DataSets') };
  if (holds === 'store-response') return { schema: ref('schemas', 'DataSet') };
  return { schema: { type: 'string', ...(holds === 'bytes' ? { format: 'binary' } : {}) } };
}

const requestBody = (types: readonly string[]): Schema => ({
  required: true,
  content: Object.fromEntries(types.map((type) => [type, { schema: { type: 'string', format: 'binary' } }])),
});

/** Every attribute that is matched is a query parameter, by its keyword or its tag. */
function attributesParameter(route: Route, parameters: Map<string, Schema>): Schema {
  const level = levelOf(route);
  const name = `query-attributes-of-${level}`;
  const sequences = searchableAt(level).filter(({ vr }) => vr === 'SQ');
  const keys = searchableAt(level).filter(({ vr }) => vr !== 'SQ');
  const through = sequences.map(({ keyword }) => keyword).join(', ');
  parameters.set(name, {
    name: 'attributes',
    in: 'query',
    style: 'form',
    explode: true,
    description: `Attributes to match (PS3.18 §8.3.4), by keyword or by tag (00100010): single values, lists of UIDs, wild cards, ranges. Paths go through ${through}, as in RequestAttributesSequence.ScheduledProcedureStepID.`,
    schema: {
      type: 'object',
      properties: Object.fromEntries(keys.map(({ keyword, vr }) => [keyword, { type: 'string', description: vr }])),
      additionalProperties: { type: 'string' },
    },
    example: { PatientID: 'P1', StudyDate: '20240101-20241231' },
  });
  return ref('parameters', name);
}

const uidSchema: Schema = { type: 'string', pattern: '^[0-9.]{1,64}$' };
const uidIn = (name: string, keyword: string, example: string): Schema => ({
  name,
  in: 'path',
  required: true,
  description: keyword,
  schema: uidSchema,
  example,
});

const pathParameters: Readonly<Record<string, Schema>> = {
  study: uidIn('study', 'Study Instance UID', '1.2.826.0.1.3680043.10.1462.1'),
  series: uidIn('series', 'Series Instance UID', '1.2.826.0.1.3680043.10.1462.2'),
  instance: uidIn('instance', 'SOP Instance UID', '1.2.826.0.1.3680043.10.1462.3'),
  frames: {
    name: 'frames',
    in: 'path',
    required: true,
    description: 'Frame numbers from 1, with commas between.',
    schema: { type: 'string', pattern: '^[0-9]+(,[0-9]+)*$' },
    example: '1,2,5',
  },
  path: {
    name: 'path',
    in: 'path',
    required: true,
    description:
      'Where the value stands in the data set, as BulkDataURI says it: tags, and numbers of items, with slashes.',
    schema: { type: 'string' },
    example: '54000100/0/54001010',
  },
};

const groupDescriptions: Readonly<Record<Operation['group'], string>> = {
  Search: 'QIDO-RS',
  Store: 'STOW-RS',
  Retrieve: 'WADO-RS: instances, metadata, bulk data, frames',
  Render: 'WADO-RS: pictures',
  Delete: 'Taking studies, series and instances out of the archive',
  Capabilities: 'What there is',
};

const problemDescriptions: Readonly<Record<number, string>> = {
  400: 'The request is malformed; the sentence says what to change.',
  401: 'It is not known who asks.',
  403: 'Who asks may not do this.',
  404: 'There is no such resource.',
  406: 'Nothing can be given in the media types or transfer syntaxes asked for; the sentence says which could be.',
  409: 'It contradicts what is there.',
  410: 'It was here, and was deleted.',
  413: 'More than one request may ask for or send.',
  415: 'The body is of a type that is not stored.',
  416: 'The range lies outside; Content-Range says how long it is.',
  500: 'The archive failed, or a stored object is damaged.',
  503: 'Not now: Retry-After says when to ask again.',
  504: 'It took too long; ask for less at once.',
};

const problemHeaders: Readonly<Record<number, string>> = { 416: 'Content-Range', 503: 'Retry-After' };

function problemAnswer(status: number): Schema {
  const description = problemDescriptions[status] ?? 'It cannot be answered.';
  const header = problemHeaders[status];
  const code = Object.entries(httpStatusOf).find(([, of]) => of === status)?.[0] ?? 'internal';
  return {
    description,
    ...(header === undefined ? {} : { headers: { [header]: ref('headers', header) } }),
    content: {
      'application/problem+json': {
        schema: ref('schemas', 'Problem'),
        example: { type: 'about:blank', title: 'Error', status, code, detail: description },
      },
    },
  };
}

const text = (description: string): Schema => ({ description, schema: { type: 'string' } });
const headers: Readonly<Record<string, Schema>> = {
  Allow: text('The methods of the resource.'),
  ETag: text('Entity tag of this representation; weak where it is compressed.'),
  Warning: text('299, the URL of the service, and a sentence.'),
  'Content-Encoding': text('zstd or gzip, where the client takes it.'),
  'Content-Location': text('URL of what the body is.'),
  'Content-Disposition': text('A name for the file.'),
  'Content-Range': text('Which bytes of how many.'),
  'Accept-Ranges': text('bytes, where ranges work.'),
  'Retry-After': { description: 'Seconds after which to ask again.', schema: { type: 'integer' } },
};

const schemas: Readonly<Record<string, Schema>> = {
  DataSets: { type: 'array', items: ref('schemas', 'DataSet') },
  DataSet: {
    description: 'The DICOM JSON Model (PS3.18 Annex F): attributes by eight hexadecimal digits.',
    type: 'object',
    patternProperties: { '^[0-9A-F]{8}$': ref('schemas', 'Attribute') },
    additionalProperties: false,
    example: {
      '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Phantom^One' }] },
      '00201208': { vr: 'IS', Value: [200] },
    },
  },
  Attribute: {
    type: 'object',
    properties: {
      vr: { type: 'string', pattern: '^[A-Z]{2}$' },
      Value: { type: 'array' },
      InlineBinary: { type: 'string' },
      BulkDataURI: { type: 'string' },
    },
    required: ['vr'],
    additionalProperties: false,
  },
  Problem: {
    description: 'RFC 9457.',
    type: 'object',
    properties: {
      type: { type: 'string' },
      title: { type: 'string' },
      status: { type: 'integer' },
      code: { type: 'string', enum: [...Object.keys(httpStatusOf), 'internal'] },
      detail: { type: 'string', description: 'What is wrong and what to change.' },
    },
    required: ['type', 'title', 'status', 'code', 'detail'],
  },
};

function usedSchemas(of: readonly Route[], offered: ReadonlySet<ServicePart>): Schema {
  const contents = of.flatMap((route) =>
    operationsOf(route, offered).flatMap(([, { answers }]) =>
      Object.values(answers).flatMap(({ content }) => Object.values(content)),
    ),
  );
  const { DataSets, DataSet, Attribute, Problem } = schemas;
  return {
    ...(contents.includes('data-sets') ? { DataSets } : {}),
    ...(contents.includes('data-sets') || contents.includes('store-response') ? { DataSet, Attribute } : {}),
    Problem,
  };
}

function usedHeaders(of: readonly Route[], offered: ReadonlySet<ServicePart>): Schema {
  const used = new Set(
    of.flatMap((route) =>
      operationsOf(route, offered).flatMap(([, { answers, problems }]) => [
        ...Object.values(answers).flatMap(({ headers: names = [] }) => names),
        ...problems.flatMap((status) => problemHeaders[status] ?? []),
      ]),
    ),
  );
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name === 'Allow' || used.has(name)));
}
