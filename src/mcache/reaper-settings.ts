import { invalidArgument } from '../base/errors.ts';
import { GIB, KIB, MIB } from '../base/units.ts';
import type { MemorySample } from '../device/memory-gauge.ts';
import type { Reaper, ReaperSettings } from '../pool/map-api.ts';

/** 'off', or 'memoryPercent=85,ttlMs=5000,budget=1g,highWatermarkFactor=1.05' or some of these. */
export const REAPER_VARIABLE = 'MPOOL_REAPER';

/** What was asked for; without `memoryPercent` it is by the size of the memory. */
export interface Wishes extends Omit<ReaperSettings, 'memoryPercent'> {
  memoryPercent: number | undefined;
}

/** As configure() takes them. */
export type Changes = Parameters<Reaper['configure']>[0];

export const DEFAULT_WISHES: Readonly<Wishes> = {
  enabled: true,
  memoryPercent: undefined,
  highWatermarkFactor: 1.03,
  ttlMs: 10_000,
  budgetBytes: undefined,
};

/** A container is one tenant's, and 85 measured best there: docs/mcache.md. */
export const GROUP_PERCENT = 85;
const BUDGET_BYTES_MIN = MIB;
const TTL_MS_MIN = 0.1;

/** Of the whole machine: the larger it is, the less of it others can need. The kernel driver's table. */
export function machinePercent(totalBytes: number): number {
  if (totalBytes > 256 * GIB) return 90;
  if (totalBytes > 128 * GIB) return 87;
  if (totalBytes > 64 * GIB) return 75;
  return totalBytes > 32 * GIB ? 60 : 40;
}

/** What applies where nothing was asked for: the tighter one's rule, and before the first sample the table's first. */
export function percentOf(sample: MemorySample | undefined): number {
  if (sample?.group !== undefined) return GROUP_PERCENT;
  return machinePercent(sample?.machine.totalBytes ?? 0);
}

/** @throws RangeError, TypeError */
export function withChanges(wishes: Wishes, changes: Changes): Wishes {
  if (typeof changes !== 'object' || changes === null) {
    throw invalidArgument('settings of the reaper are an object', 'type');
  }
  const changed: Record<string, unknown> = { ...wishes };
  for (const [name, value] of Object.entries(changes)) {
    if (!Object.hasOwn(DEFAULT_WISHES, name))
      throw invalidArgument(`${name} is no setting of the reaper`);
    changed[name] = value ?? DEFAULT_WISHES[name as keyof Wishes];
  }
  const result = changed as unknown as Wishes;
  const { enabled, memoryPercent, highWatermarkFactor, ttlMs, budgetBytes } = result;
  if (typeof enabled !== 'boolean') throw invalidArgument('enabled is true or false', 'type');
  if (memoryPercent !== undefined) checkRange({ memoryPercent }, 5, 100);
  checkRange({ highWatermarkFactor }, 1, 2);
  checkRange({ ttlMs }, TTL_MS_MIN);
  if (budgetBytes !== undefined) checkRange({ budgetBytes }, BUDGET_BYTES_MIN);
  return result;
}

function checkRange(
  named: Record<string, unknown>,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): void {
  for (const [name, value] of Object.entries(named)) {
    if (typeof value !== 'number') throw invalidArgument(`${name} is a number`, 'type');
    if (value >= least && value <= most) continue;
    const range = most === Number.MAX_SAFE_INTEGER ? `at least ${least}` : `${least} to ${most}`;
    throw invalidArgument(`${name} is ${range}, not ${value}`);
  }
}

/** @throws RangeError that names the variable */
export function wishesOf(text: string | undefined): Wishes {
  const changes: Partial<ReaperSettings> = {};
  try {
    for (const part of (text ?? '').split(',').map((each) => each.trim())) {
      if (part !== '') Object.assign(changes, changeOf(part));
    }
    return withChanges(DEFAULT_WISHES, changes);
  } catch (error) {
    throw invalidArgument(`the variable ${REAPER_VARIABLE}: ${(error as Error).message}`);
  }
}

function changeOf(part: string): Partial<ReaperSettings> {
  if (part === 'off') return { enabled: false };
  if (part === 'on') return { enabled: true };
  const [name = '', value = '', ...rest] = part.split('=').map((each) => each.trim());
  if (rest.length > 0) throw invalidArgument(`'${part}' has two '='`);
  switch (name) {
    case 'memoryPercent':
    case 'ttlMs':
    case 'highWatermarkFactor':
      return { [name]: numberOf(name, value) };
    case 'budget':
    case 'budgetBytes':
      return { budgetBytes: sizeOf(name, value) };
    default:
      throw invalidArgument(
        `'${part}' is none of off, memoryPercent=, ttlMs=, budget=, highWatermarkFactor=`,
      );
  }
}

function numberOf(name: string, value: string): number {
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value);
  throw invalidArgument(`${name}=${value} is no number`);
}

function sizeOf(name: string, value: string): number {
  const [, digits, suffix = ''] = /^(\d+(?:\.\d+)?)([kmg]?)(?:i?b)?$/i.exec(value) ?? [];
  if (digits === undefined) throw invalidArgument(`${name}=${value} is no size such as 512m or 2g`);
  const unit = { '': 1, k: KIB, m: MIB, g: GIB }[suffix.toLowerCase()]!;
  return Math.floor(Number(digits) * unit);
}
