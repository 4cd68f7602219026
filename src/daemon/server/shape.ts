/**
 * What a request must look like, said once: checks are put together from these, and what they let through has
 * the type that they say. A request is written by whoever could connect: nothing in it is believed.
 */
import { isAbsolute } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { isMblockId, isMlogId, type MblockId, type MlogId } from '../../format/object-id.ts';
import type { MediaClass } from '../../pool/api.ts';

/** The value itself, or what it stands for. @throws RangeError, TypeError with ERR_MPOOL_INVALID_ARG */
export type Check<T> = (value: unknown, name: string) => T;

type Checked<C> = C extends Check<infer T> ? T : never;
type Optional<S> = { [K in keyof S]: undefined extends Checked<S[K]> ? K : never }[keyof S];
type Fields<S> = { [K in Exclude<keyof S, Optional<S>>]: Checked<S[K]> } & {
  [K in Optional<S>]?: Exclude<Checked<S[K]>, undefined>;
};

/** An object with these fields. Others, of a later protocol, are left out. */
export function record<S extends Record<string, Check<unknown>>>(fields: S): Check<Fields<S>> {
  const checks = Object.entries(fields);
  return (value, name) => {
    if (!isObject(value)) throw wrong(name, 'an object');
    const checked: Record<string, unknown> = {};
    for (const [key, check] of checks) {
      const field = check(value[key], key);
      if (field !== undefined) checked[key] = field;
    }
    return checked as Fields<S>;
  };
}

/** An object of which another check sees to the fields. */
export const object: Check<Record<string, unknown>> = (value, name) => {
  if (isObject(value)) return value;
  throw wrong(name, 'an object');
};

const FACTS_MAX = 64;
const FACT_CHARACTERS_MAX = 4095;

/** An object of few plain values, which another check sees to: it holds no more memory than it seems to. */
export const facts: Check<Record<string, unknown>> = (value, name) => {
  const entries = Object.entries(object(value, name));
  if (entries.length > FACTS_MAX)
    throw invalidArgument(`${name} has more than ${FACTS_MAX} fields`);
  for (const [key, fact] of entries) {
    const isPlain = typeof fact !== 'object' || fact === null;
    const textLength = typeof fact === 'string' ? fact.length : 0;
    if (isPlain && Math.max(key.length, textLength) <= FACT_CHARACTERS_MAX) continue;
    throw invalidArgument(
      `${name}: '${key.slice(0, 64)}' must be a number, a flag or a short text`,
    );
  }
  return Object.fromEntries(entries);
};

export function maybe<T>(check: Check<T>): Check<T | undefined> {
  return (value, name) => (value === undefined ? undefined : check(value, name));
}

export function integer(least: number, most: number): Check<number> {
  return (value, name) => {
    if (typeof value !== 'number') throw wrong(name, 'a number');
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw invalidArgument(`${name} is ${value}, must be an integer from ${least} to ${most}`);
  };
}

/** Any finite number, fractions too. */
export function measure(least = -Infinity, most = Infinity): Check<number> {
  return (value, name) => {
    if (typeof value !== 'number') throw wrong(name, 'a number');
    if (Number.isFinite(value) && value >= least && value <= most) return value;
    throw invalidArgument(`${name} is ${value}, must be from ${least} to ${most}`);
  };
}

export function orNull<T>(check: Check<T>): Check<T | null> {
  return (value, name) => (value === null ? null : check(value, name));
}

export const flag: Check<boolean> = (value, name) => {
  if (typeof value === 'boolean') return value;
  throw wrong(name, 'true or false');
};

export function text(lengthMax: number, lengthMin = 1): Check<string> {
  return (value, name) => {
    if (typeof value !== 'string') throw wrong(name, 'text');
    const fits = value.length >= lengthMin && value.length <= lengthMax;
    if (fits && !value.includes('\0')) return value;
    throw invalidArgument(`${name} must have ${lengthMin} to ${lengthMax} characters, and no NUL`);
  };
}

export function oneOf<T extends string>(...values: readonly T[]): Check<T> {
  return (value, name) => {
    if (typeof value !== 'string') throw wrong(name, 'text');
    if ((values as readonly string[]).includes(value)) return value as T;
    throw invalidArgument(`${name} '${value.slice(0, 64)}' is none of ${values.join(', ')}`);
  };
}

export const mediaClass: Check<MediaClass> = (value) => {
  if (value === 'capacity' || value === 'staging') return value;
  const shown = typeof value === 'string' ? value.slice(0, 64) : typeof value;
  throw invalidArgument(`media class '${shown}' is neither capacity nor staging`);
};

/** The daemon's current folder is not its clients'. */
export const absolutePath: Check<string> = (value, name) => {
  const path = text(4095)(value, name);
  if (isAbsolute(path)) return path;
  throw invalidArgument(`${name} '${path}' must be absolute: the daemon is elsewhere`);
};

export function list<T>(check: Check<T>, most: number): Check<T[]> {
  return (value, name) => {
    if (!Array.isArray(value)) throw wrong(name, 'an array');
    if (value.length > most) {
      throw invalidArgument(`${name} has ${value.length} elements, at most ${most} are possible`);
    }
    return value.map((item) => check(item, name));
  };
}

export const id: Check<bigint> = (value, name) => {
  if (typeof value !== 'string' || !/^0x[0-9a-f]{1,16}$/.test(value)) {
    throw wrong(name, `an id: '0x' and 1 to 16 hexadecimal digits`);
  }
  return BigInt(value);
};

export const mblockId: Check<MblockId> = (value, name) => {
  const checked = id(value, name);
  if (isMblockId(checked)) return checked;
  throw invalidArgument(`${value as string} is not the id of an mblock`, 'type');
};

export const mlogId: Check<MlogId> = (value, name) => {
  const checked = id(value, name);
  if (isMlogId(checked)) return checked;
  throw invalidArgument(`${value as string} is not the id of an mlog`, 'type');
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(name: string, what: string): Error {
  return invalidArgument(`${name} must be ${what}`, 'type');
}
