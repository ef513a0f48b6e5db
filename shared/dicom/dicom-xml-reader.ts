/**
 * The Native DICOM Model (PS3.19 Annex A.1), read: one XML document becomes the DICOM JSON Model, as a data set of the same
 * values would. What comes is hostile: nothing is fetched, no document type declaration is taken, and only the five entities of XML
 * are known; elements, values and depth have limits. Whether values fit their VRs is found when they are encoded.
 */
import { SaxesParser, type SaxesTagNS } from 'saxes';
import { ArchiveError } from '../errors.ts';
import type { Vr } from './data-set.ts';
import type { DicomJson, JsonElement, JsonValue, PersonName } from './dicom-json-model.ts';
import { NATIVE_DICOM_NAMESPACE, nameComponents } from './dicom-xml.ts';
import { nativeValue } from './dicom-xml-values.ts';
import { groupNames } from './person-name.ts';
import { isPrivate, type PrivateElement, placePrivates, put } from './private-blocks.ts';
import { dictionaryVr } from './tags.ts';
import { isVr } from './vr.ts';

export interface XmlLimits {
  /** XML elements, and the values that numbers leave out between them. Default 250,000. */
  readonly maximumElements?: number;
}

const defaultMaximumElements = 250_000;
/** Of sequences, as for the other encodings of a data set. */
const maximumDepth = 32;
/** The document element may have some of a schema's. */
const maximumAttributes = 16;

/**
 * The attributes of one `NativeDicomModel`, with the namespace or without. A private attribute with a `privateCreator` goes to the
 * creator's block, which is made where the document has none. Empty values are null, or no Value at all where there is nothing else.
 * Error `bad-request` for what is no such document, `limit-exceeded`.
 */
export function readDicomXml(text: string, limits: XmlLimits = {}): DicomJson {
  const reader = new DicomXmlReader(limits);
  reader.write(text);
  return reader.end();
}

/** What may stand in an element, and what becomes of it. */
interface Scope {
  /** Undefined: no such element may stand here. */
  child?(name: string, tag: SaxesTagNS): Scope | undefined;
  /** With it text may stand here; without it white space only. */
  text?(text: string): void;
  end?(): void;
}

const nothing: Scope = {};

/** The same for a document that comes in pieces. Errors arise where they are found. */
export class DicomXmlReader {
  readonly #parser = new SaxesParser({ xmlns: true });
  readonly #scopes: Scope[] = [];
  readonly #maximumElements: number;
  #elements = 0;
  #attributes = 0;
  #text = '';
  #read: DicomJson | undefined;

  constructor({ maximumElements = defaultMaximumElements }: XmlLimits = {}) {
    this.#maximumElements = maximumElements;
    const parser = this.#parser;
    parser.on('error', () => {
      throw this.#wrong('is not well-formed');
    });
    parser.on('doctype', () => {
      throw this.#wrong('has a document type declaration; leave it out');
    });
    parser.on('xmldecl', ({ encoding }) => {
      if (encoding !== undefined && !/^(utf-8|us-ascii)$/i.test(encoding)) throw this.#wrong('is not in UTF-8');
    });
    parser.on('opentagstart', () => {
      this.#attributes = 0;
    });
    parser.on('attribute', () => {
      if (++this.#attributes > maximumAttributes) throw this.#wrong('has an element with too many attributes');
    });
    parser.on('opentag', (tag) => this.#open(tag));
    parser.on('closetag', () => this.#close());
    const gather = (piece: string): void => {
      this.#text += piece;
    };
    parser.on('text', gather);
    parser.on('cdata', gather);
  }

  /** Those that were read, as XmlLimits counts them. */
  get elements(): number {
    return this.#elements;
  }

  write(text: string): void {
    this.#parser.write(text);
  }

  end(): DicomJson {
    this.#parser.close();
    if (this.#read === undefined) throw this.#wrong('holds no attributes');
    return this.#read;
  }

  #open(tag: SaxesTagNS): void {
    const parent = this.#scopes.at(-1);
    this.#take(1);
    if (parent?.text !== undefined) throw this.#wrong('has an element where a value should be');
    this.#noText();
    const known = tag.uri === '' || tag.uri === NATIVE_DICOM_NAMESPACE;
    const scope = known
      ? parent === undefined
        ? this.#document(tag.local)
        : parent.child?.(tag.local, tag)
      : undefined;
    if (scope === undefined)
      throw this.#wrong('has an element that is not of the Native DICOM Model, or not at its place');
    this.#scopes.push(scope);
  }

  #close(): void {
    const scope = this.#scopes.pop();
    if (scope?.text !== undefined) {
      scope.text(this.#text);
      this.#text = '';
    } else this.#noText();
    scope?.end?.();
  }

  /** Between elements white space stands for nothing. */
  #noText(): void {
    for (let at = 0; at < this.#text.length; at++) {
      if (this.#text.charCodeAt(at) > 0x20) throw this.#wrong('has text outside of values');
    }
    this.#text = '';
  }

  #document(name: string): Scope | undefined {
    if (name !== 'NativeDicomModel') return undefined;
    return this.#dataSet(0, (json) => {
      this.#read = json;
    });
  }

  #dataSet(depth: number, done: (json: DicomJson) => void): Scope {
    if (depth > maximumDepth) {
      throw new ArchiveError('limit-exceeded', `Sequences may be nested ${maximumDepth} deep at most.`, {
        maximumDepth,
      });
    }
    const json: DicomJson = {};
    const privates: PrivateElement[] = [];
    const add = (tag: number, creator: string | undefined, element: JsonElement): void => {
      if (creator !== undefined) privates.push({ tag, creator, element });
      else if (!put(json, tag, element)) throw this.#wrong('has an attribute twice in one data set');
    };
    return {
      child: (name, tag) => (name === 'DicomAttribute' ? this.#attribute(tag, depth, add) : undefined),
      end: () => {
        if (!placePrivates(json, privates)) throw this.#wrong('has private attributes for which there is no block');
        done(json);
      },
    };
  }

  #attribute(
    { attributes }: SaxesTagNS,
    depth: number,
    add: (tag: number, creator: string | undefined, element: JsonElement) => void,
  ): Scope {
    const key = attributes.tag?.value ?? '';
    if (!/^[0-9A-Fa-f]{8}$/.test(key)) throw this.#wrong('has an attribute without a tag of eight hexadecimal digits');
    const tag = Number.parseInt(key, 16);
    const vr = attributes.vr?.value ?? dictionaryVr(tag) ?? 'UN';
    if (!isVr(vr)) throw this.#wrong('has a vr that is none of PS3.5');
    const creator = isPrivate(tag) ? nativeValue(attributes.privateCreator?.value ?? '', 'LO') : null;
    const values: JsonValue[] = [];
    const element: JsonElement = { vr };
    const place = (number: number, value: JsonValue): void => {
      // It may hold a null for a value that was left out before it.
      if ((values[number - 1] ?? null) !== null) throw this.#wrong('has a value of an attribute twice');
      values[number - 1] = value;
    };
    return {
      child: (name, child) => {
        if (name === 'BulkData' || name === 'InlineBinary') {
          if (element.BulkDataURI !== undefined || element.InlineBinary !== undefined)
            throw this.#wrong('has several bulk data in one attribute');
          return name === 'BulkData' ? this.#bulkData(child, element) : inlineBinary(element);
        }
        const number = this.#number(child, values);
        return this.#value(name, vr, depth, (value) => place(number, value));
      },
      end: () => {
        const isEmpty = values.length === 0 || (values.length === 1 && values[0] === null);
        if (!isEmpty) element.Value = values;
        if (values.length > 0 && (element.BulkDataURI !== undefined || element.InlineBinary !== undefined))
          throw this.#wrong('has values and bulk data in one attribute');
        add(tag, typeof creator === 'string' ? creator : undefined, element);
      },
    };
  }

  #value(name: string, vr: Vr, depth: number, done: (value: JsonValue) => void): Scope | undefined {
    if (name === 'Item' && vr === 'SQ') return this.#dataSet(depth + 1, done);
    if (name === 'PersonName' && vr === 'PN') return personName(done);
    if (name !== 'Value' || vr === 'SQ' || vr === 'PN') return undefined;
    return { text: (text) => done(nativeValue(text, vr)) };
  }

  /** Where the value stands; those that were left out before it are null. Without a number it is the next. */
  #number({ attributes }: SaxesTagNS, values: JsonValue[]): number {
    const text = attributes.number?.value.trim();
    const number = text === undefined ? values.length + 1 : /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
    if (number === 0) throw this.#wrong('has a value whose number is not one from 1');
    this.#take(Math.max(0, number - values.length - 1));
    while (values.length < number) values.push(null);
    return number;
  }

  #bulkData({ attributes }: SaxesTagNS, element: JsonElement): Scope {
    const uri = attributes.uri?.value ?? attributes.uuid?.value;
    if (uri === undefined || uri === '') throw this.#wrong('has bulk data without a uri');
    element.BulkDataURI = uri;
    return nothing;
  }

  #take(count: number): void {
    this.#elements += count;
    if (this.#elements > this.#maximumElements) {
      throw new ArchiveError('limit-exceeded', 'The metadata in XML have too many elements; send fewer at once.');
    }
  }

  /** Never repeats what is there: it may be a patient's. */
  #wrong(what: string): ArchiveError {
    const { line, column } = this.#parser;
    return new ArchiveError('bad-request', `The metadata are XML that ${what} (line ${line}, column ${column}).`, {
      line,
      column,
    });
  }
}

function inlineBinary(element: JsonElement): Scope {
  return {
    text: (text) => {
      element.InlineBinary = text.replace(/[ \t\r\n]/g, '');
    },
  };
}

function personName(done: (value: JsonValue) => void): Scope {
  const name: PersonName = {};
  return {
    child: (word) => {
      const group = groupNames.find((known) => known === word);
      if (group === undefined || name[group] !== undefined) return undefined;
      name[group] = '';
      return nameGroup((text) => {
        if (text === '') delete name[group];
        else name[group] = text;
      });
    },
    end: () => done(Object.keys(name).length === 0 ? null : name),
  };
}

function nameGroup(done: (text: string) => void): Scope {
  const parts: string[] = [];
  return {
    child: (word) => {
      const index = nameComponents.indexOf(word);
      if (index < 0 || parts[index] !== undefined) return undefined;
      return {
        text: (text) => {
          parts[index] = text;
        },
      };
    },
    // Components that were left out are holes, which join() makes empty.
    end: () => done(parts.join('^')),
  };
}
