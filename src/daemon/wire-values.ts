/** Values that JSON has not: 64-bit ids and generations, and errors. */
import { errorTable, MpoolError } from '../base/errors.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Wire } from './protocol.ts';
import { protocolError } from './wire.ts';

/** '0x1201' of an id or a generation. */
export function idToWire(id: bigint): string {
  return `0x${id.toString(16)}`;
}

/**
 * @param what names it in the error
 * @throws ERR_MPOOL_PROTOCOL when it is not '0x' and 1–16 hexadecimal digits
 */
export function idFromWire(value: unknown, what: string): bigint {
  if (typeof value !== 'string' || value.length > 18 || !/^0x[0-9a-f]+$/.test(value)) {
    throw protocolError(`${what} is no id`);
  }
  return BigInt(value);
}

/** A copy of which the fields named are strings. */
export function idsToWire<T extends object>(value: T, ...fields: (keyof T & string)[]): Wire<T> {
  const copy = { ...value } as Record<string, unknown>;
  for (const field of fields) {
    const id = copy[field];
    if (typeof id === 'bigint') copy[field] = idToWire(id);
  }
  return copy as Wire<T>;
}

/**
 * A copy of which the fields named are bigints, where they are there.
 * @throws ERR_MPOOL_PROTOCOL
 */
export function idsFromWire<T extends object>(value: Wire<T>, ...fields: (keyof T & string)[]): T {
  const copy = { ...value } as Record<string, unknown>;
  for (const field of fields) {
    const id = copy[field];
    if (id !== undefined) copy[field] = idFromWire(id, field);
  }
  return copy as T;
}

/** An error as the body of an answer. */
export interface WireError {
  /** 'MpoolError', 'RangeError', 'TypeError'; of others what they are called. */
  name: string;
  code?: string | undefined;
  message: string;
  errno?: number | undefined;
  syscall?: string | undefined;
  path?: string | undefined;
  cause?: WireError | undefined;
}

const MEANINGS = new Map<string, string>(errorTable().map(([code, , meaning]) => [code, meaning]));
/** Beyond it, causes of causes are not told. */
const CAUSES_MAX = 4;
/** So that an error always fits in a frame. */
const TEXT_LENGTH_MAX = 4096;

export function errorToWire(error: unknown, causes = CAUSES_MAX): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: shortText(String(error)) };
  const wire: WireError = { name: shortText(error.name), message: shortText(error.message) };
  const { code, errno, syscall, path } = error as NodeJS.ErrnoException;
  if (typeof code === 'string') wire.code = shortText(code);
  if (typeof errno === 'number') wire.errno = errno;
  if (typeof syscall === 'string') wire.syscall = shortText(syscall);
  if (typeof path === 'string') wire.path = shortText(path);
  if (error.cause !== undefined && causes > 0) wire.cause = errorToWire(error.cause, causes - 1);
  return wire;
}

function shortText(text: string): string {
  return text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX)}…` : text;
}

/**
 * The error that went in: an MpoolError, RangeError or TypeError is one again. Hostile bytes give
 * an error too.
 */
export function errorFromWire(body: Readonly<Record<string, unknown>>): Error {
  return rebuilt(body, CAUSES_MAX);
}

function rebuilt(body: Readonly<Record<string, unknown>>, causes: number): Error {
  const name = stringOf(body['name']) ?? 'Error';
  const message = stringOf(body['message']) ?? 'no message';
  const code = stringOf(body['code']);
  const errno = body['errno'];
  const cause = body['cause'];
  const details = {
    errno: typeof errno === 'number' && Number.isSafeInteger(errno) ? errno : undefined,
    syscall: stringOf(body['syscall']),
    path: stringOf(body['path']),
    cause: isObject(cause) && causes > 0 ? rebuilt(cause, causes - 1) : undefined,
  };
  const known = Object.fromEntries(
    Object.entries(details).filter(([, value]) => value !== undefined),
  );
  const meaning = name === 'MpoolError' && code !== undefined ? MEANINGS.get(code) : undefined;
  if (meaning !== undefined) {
    return new MpoolError(code as ErrorCode, detailOf(message, meaning), known);
  }
  // A code of a later version keeps its text; the code itself means nothing here.
  if (name === 'MpoolError') return protocolError(`an unknown error ${code}: ${message}`);
  const { cause: inner, ...rest } = known;
  const error = makeError(name, message, inner);
  return Object.assign(error, rest, code === undefined ? {} : { code });
}

function makeError(name: string, message: string, cause: unknown): Error {
  const options = cause === undefined ? undefined : { cause };
  if (name === 'RangeError') return new RangeError(message, options);
  if (name === 'TypeError') return new TypeError(message, options);
  const error = new Error(message, options);
  if (name !== 'Error') Object.defineProperty(error, 'name', { value: name, configurable: true });
  return error;
}

/** What an MpoolError was made with: its message without the meaning of its code. */
function detailOf(message: string, meaning: string): string | undefined {
  if (message === meaning) return undefined;
  const end = `: ${meaning}`;
  return message.endsWith(end) ? message.slice(0, -end.length) : message;
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
