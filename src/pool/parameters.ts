import { formatUuid, parseUuid } from '../base/bytes.ts';
import { invalidArgument } from '../base/errors.ts';
import { isPowerOfTwo, MIB } from '../base/units.ts';
import type { PoolProperties } from '../format/records.ts';
import type { PoolParameters, ScrubOptions } from './api.ts';

/** What users may name and set, its defaults and its rules (original-mpool's, §1.12). */

export const MBLOCK_BYTES_DEFAULT = 32 * MIB;
export const SPARE_PERCENT_DEFAULT = 5;

/** Of a scrub: an object, and perhaps a page of it. */
export const SCRUB_CURSOR = /^0x([0-9a-f]{1,16})(?:\+(\d{1,10}))?$/;

export const PARAMETER_DEFAULTS: PoolParameters = {
  uid: 0,
  gid: 0,
  mode: 0o660,
  label: 'raw',
  utype: formatUuid(new Uint8Array(16)),
  readAheadPages: 32,
  mappedRegionLog2: 30,
  sparePercentCapacity: SPARE_PERCENT_DEFAULT,
  sparePercentStaging: SPARE_PERCENT_DEFAULT,
};

/** @throws RangeError saying the rule that the name breaks */
export function checkPoolName(name: string): void {
  if (typeof name !== 'string') throw invalidArgument('a pool name must be a string', 'type');
  if (name.length === 0 || name.length > 31) {
    throw invalidArgument(`pool name '${name}' has ${name.length} characters, must have 1–31`);
  }
  const wrong = /[^A-Za-z0-9._-]/.exec(name);
  if (wrong !== null) {
    throw invalidArgument(
      `pool name '${name}' has '${wrong[0]}', only letters, digits, '.', '_' and '-' may be in it`,
    );
  }
  if (name.startsWith('-')) throw invalidArgument(`pool name '${name}' must not start with '-'`);
  if (name === '.' || name === '..') throw invalidArgument(`pool name '${name}' is a directory's`);
}

/** @throws RangeError or TypeError naming the parameter and its range */
export function checkParameters(changes: Partial<PoolParameters>): void {
  if (typeof changes !== 'object' || changes === null) {
    throw invalidArgument('parameters must be an object', 'type');
  }
  for (const name of Object.keys(changes)) {
    if (!Object.hasOwn(PARAMETER_DEFAULTS, name))
      throw invalidArgument(`no pool parameter '${name}'`);
  }
  integerIn('uid', changes.uid, 0, 2 ** 32 - 2);
  integerIn('gid', changes.gid, 0, 2 ** 32 - 2);
  integerIn('mode', changes.mode, 0, 0o777);
  integerIn('readAheadPages', changes.readAheadPages, 0, 32);
  integerIn('mappedRegionLog2', changes.mappedRegionLog2, 27, 32);
  integerIn('sparePercentCapacity', changes.sparePercentCapacity, 0, 100);
  integerIn('sparePercentStaging', changes.sparePercentStaging, 0, 100);
  const { label, utype } = changes;
  if (label !== undefined && typeof label !== 'string') {
    throw invalidArgument('label must be a string', 'type');
  }
  if (utype !== undefined && typeof utype !== 'string') {
    throw invalidArgument('utype must be a string', 'type');
  }
  if (label !== undefined && !/^[A-Za-z0-9._-]{0,63}$/.test(label)) {
    throw invalidArgument(`label '${label}' must be at most 63 of letters, digits, '.', '_', '-'`);
  }
  if (utype !== undefined && parseUuid(utype) === undefined) {
    throw invalidArgument(`utype '${utype}' is no UUID`);
  }
}

/** @throws RangeError unless 1–64 MiB and a power of two */
export function checkMblockBytes(sizeBytes: number): void {
  if (!isPowerOfTwo(sizeBytes) || sizeBytes < MIB || sizeBytes > 64 * MIB) {
    throw invalidArgument(`mblock size ${sizeBytes} must be a power of two, 1–64 MiB`);
  }
}

export function integerIn(
  name: string,
  value: number | undefined,
  least: number,
  most: number,
): void {
  if (value === undefined) return;
  if (typeof value !== 'number') throw invalidArgument(`${name} must be a number`, 'type');
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw invalidArgument(`${name} is ${value}, must be an integer from ${least} to ${most}`);
  }
}

/** @throws TypeError unless it is an object, or left out */
export function checkOptions(options: unknown): void {
  if (options === undefined || (typeof options === 'object' && options !== null)) return;
  throw invalidArgument('options must be an object', 'type');
}

/** @throws RangeError, TypeError */
export function checkScrubOptions(options: ScrubOptions): void {
  checkOptions(options);
  const { bytesPerSecond = 1, from } = options;
  if (!(typeof bytesPerSecond === 'number' && bytesPerSecond > 0)) {
    throw invalidArgument('bytesPerSecond must be a number above 0');
  }
  if (from !== undefined && (typeof from !== 'string' || !SCRUB_CURSOR.test(from))) {
    throw invalidArgument(`'${from}' is not the cursor of a scrub`);
  }
}

/** @throws TypeError unless it is an array */
export function checkArray(name: string, value: unknown): void {
  if (!Array.isArray(value)) throw invalidArgument(`${name} must be an array`, 'type');
}

export function toProperties(
  parameters: PoolParameters,
  rootMdc: PoolProperties['rootMdc'],
): PoolProperties {
  return { ...parameters, utype: parseUuid(parameters.utype)!, rootMdc };
}

export function fromProperties(properties: PoolProperties): PoolParameters {
  const { utype, rootMdc: _, ...rest } = properties;
  return { ...rest, utype: formatUuid(utype) };
}
