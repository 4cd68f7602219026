/** As much of JSON Schema as docs/cli.schema.json uses; anything else in it is an error. */
import assert from 'node:assert/strict';

export interface Schema {
  $schema?: string;
  $ref?: string;
  $defs?: Record<string, Schema>;
  title?: string;
  description?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  pattern?: string;
  minimum?: number;
}

const KEYWORDS = new Set(
  (
    '$schema $ref $defs title description type properties additionalProperties required items anyOf ' +
    'enum const pattern minimum'
  ).split(' '),
);

/** Validates, and remembers which members of objects it met. */
export class Validator {
  readonly #root: Schema;
  /** 'Pool.name' of every member that a valid document had. */
  readonly seen = new Set<string>();

  constructor(root: Schema) {
    this.#root = root;
  }

  /** Every 'Definition.member' there is. */
  get members(): string[] {
    return Object.entries(this.#root.$defs!).flatMap(([name, { properties = {} }]) =>
      Object.keys(properties).map((member) => `${name}.${member}`),
    );
  }

  /**
   * What is wrong with the value, or nothing.
   * @param definition name of one of $defs
   */
  problems(value: unknown, definition: string): string[] {
    const seen = new Set<string>();
    const problems = this.#check(value, { $ref: `#/$defs/${definition}` }, '', definition, seen);
    if (problems.length === 0) for (const each of seen) this.seen.add(each);
    return problems;
  }

  /** @param owner the definition that the schema is part of */
  #check(value: unknown, schema: Schema, at: string, owner: string, seen: Set<string>): string[] {
    for (const keyword of Object.keys(schema)) assert.ok(KEYWORDS.has(keyword), keyword);
    if (schema.$ref !== undefined) {
      const name = schema.$ref.replace('#/$defs/', '');
      const target = this.#root.$defs![name];
      assert.ok(target !== undefined, `no definition ${schema.$ref}`);
      return this.#check(value, target, at, name, seen);
    }
    if (schema.anyOf !== undefined) return this.#checkAny(value, schema.anyOf, at, owner, seen);
    const { type, enum: values, pattern, minimum } = schema;
    const wrong = (why: string): string[] => [
      `${at || 'document'}: ${why}: ${JSON.stringify(value)}`,
    ];
    if ('const' in schema && value !== schema.const) return wrong(`is not ${String(schema.const)}`);
    if (values !== undefined && !values.includes(value)) return wrong(`none of ${values.join()}`);
    const types = type === undefined ? [] : [type].flat();
    if (types.length > 0 && !types.some((each) => isOf(value, each))) {
      return wrong(`no ${types.join(' or ')}`);
    }
    if (pattern !== undefined && !new RegExp(pattern, 'u').test(value as string)) {
      return wrong(`not like ${pattern}`);
    }
    if (minimum !== undefined && typeof value === 'number' && value < minimum) {
      return wrong(`below ${minimum}`);
    }
    if (Array.isArray(value)) {
      assert.ok(schema.items !== undefined, `${owner}: a list says what is in it`);
      return value.flatMap((item, i) =>
        this.#check(item, schema.items!, `${at}[${i}]`, owner, seen),
      );
    }
    if (typeof value === 'object' && value !== null) {
      return this.#checkMembers(value as Record<string, unknown>, schema, at, owner, seen);
    }
    return [];
  }

  #checkAny(
    value: unknown,
    schemas: readonly Schema[],
    at: string,
    owner: string,
    seen: Set<string>,
  ): string[] {
    const all: string[] = [];
    for (const schema of schemas) {
      const own = new Set<string>();
      const problems = this.#check(value, schema, at, owner, own);
      all.push(...problems);
      if (problems.length > 0) continue;
      for (const each of own) seen.add(each);
      return [];
    }
    return all;
  }

  /** Stricter than the schema: what is not documented is wrong here. */
  #checkMembers(
    value: Record<string, unknown>,
    schema: Schema,
    at: string,
    owner: string,
    seen: Set<string>,
  ): string[] {
    const { properties = {}, additionalProperties, required = [] } = schema;
    const missing = required.filter((name) => !(name in value));
    const problems = missing.map((name) => `${at}: no member ${name}`);
    for (const [name, member] of Object.entries(value)) {
      const own = Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
      if (own === undefined) problems.push(`${at}: a member that is not documented: ${name}`);
      else problems.push(...this.#check(member, own, `${at}.${name}`, owner, seen));
      seen.add(`${owner}.${name}`);
    }
    return problems;
  }
}

function isOf(value: unknown, type: string): boolean {
  switch (type) {
    case 'integer':
      return Number.isSafeInteger(value);
    case 'array':
      return Array.isArray(value);
    case 'null':
      return value === null;
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    default:
      return typeof value === type;
  }
}
