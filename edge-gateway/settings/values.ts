/**
 * The kinds of values that stand in the settings file, each with the words for what must be written in its place. They
 * know nothing of the fields they are used in.
 */
import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { z } from 'zod';

/** @param unit for the words only, such as ` days` */
export function wholeNumber(min: number, max: number, unit = ''): z.ZodNumber {
  const error = `must be a whole number from ${min} to ${max}${unit}`;
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

export function oneOf<const Options extends readonly [string, ...string[]]>(options: Options) {
  const error = `must be ${options.map((option) => `"${option}"`).join(' or ')}`;
  return z.enum(options, { error });
}

const yesOrNoError = 'must be true or false, without quotes';
export const yesOrNo = z.boolean({ error: yesOrNoError });

function text(error: string, isRight: (value: string) => boolean) {
  return z.string({ error }).refine(isRight, { error });
}

/** PS3.5 §6.2: up to 16 characters of the default repertoire, no backslash, not only spaces; spaces around it do not count. */
export const aeTitle = text(
  'must be an AE title: 1 to 16 printable ASCII characters, no backslash, not only spaces',
  (value) => /^[\x20-\x5b\x5d-\x7e]{1,16}$/.test(value) && value.trim() !== '',
).transform((value) => value.trim());

/** PS3.5 §6.2, CS. */
export const modality = text('must be a modality such as "CT" or "MR"', (value) => /^[A-Z0-9_]{1,16}$/.test(value));

export const hostName = text('must be a host name or an address, without a port', (value) =>
  /^([A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|[0-9A-Fa-f:.]{2,45}(%[\w.-]+)?)$/.test(value),
);

/** An address, or a range of them in CIDR notation. */
export const addressRange = text('must be an address or a range such as "10.1.0.0/16" or "fd00::/8"', (value) => {
  const [address = '', bits, ...more] = value.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
});

/** The installer writes the data folder into a unit file: of a line end in it, another setting would be made there. */
export const absolutePath = text(
  'must be an absolute path without quotes and control characters',
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what is meant
  (value) => isAbsolute(value) && !/[\x00-\x1f"\x7f]/.test(value),
);

export const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });

export const tenantName = text('must have 1 to 63 of a-z, 0-9 and -, not beginning with -', (value) =>
  /^[a-z0-9][a-z0-9-]{0,62}$/.test(value),
);

export const timeOfDay = text('must be a time of day such as "07:30" or "18:00"', (value) =>
  /^(([01]\d|2[0-3]):[0-5]\d|24:00)$/.test(value),
);

/** A certificate's common name or alternative name. */
export const certificateName = text('must be a name as it stands in a certificate', (value) =>
  /^[^\p{Cc}]{1,253}$/u.test(value),
);

export function listOf<Item extends z.ZodType>(item: Item, max: number) {
  return z
    .array(item, { error: 'must be a list, in brackets' })
    .max(max, { error: `must have at most ${max} entries` });
}

const TABLE_ERROR = 'must be a table, as the example file shows it';

/** Knows its keys: others are faults. */
export function table<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    // Left undefined for what is wrong within it, so that each of these keeps its own words.
    error: (issue) => (issue.code === 'invalid_type' ? TABLE_ERROR : undefined),
  });
}
