// What many lifetimes did, in numbers that can be added up.
import { addCounts, type Played } from './play.ts';

export interface Sum {
  lifetimes: number;
  actions: number;
  errors: number;
  operations: number;
  images: number;
  failures: number;
  /** How many of each action, error, fault and end; plain data, for other processes. */
  seen: Record<string, number>;
}

export function noSum(): Sum {
  const zero = { lifetimes: 0, actions: 0, errors: 0, operations: 0, images: 0, failures: 0 };
  return { ...zero, seen: {} };
}

export function addPlayed(sum: Sum, played: Played): void {
  for (const name of ['actions', 'errors', 'operations', 'images'] as const) {
    sum[name] += played[name];
  }
  const seen = new Map(Object.entries(sum.seen));
  addCounts(seen, played.seen);
  sum.seen = Object.fromEntries(seen);
}

/** In one line. */
export function lineOf(sum: Sum, seconds: number): string {
  const perMinute = (count: number): number => Math.round((count * 60) / seconds);
  const faults = countOf(sum, (name) => name.startsWith('fault: '));
  const crashes = countOf(sum, (name) => name === 'crashed');
  return (
    `${(seconds / 60).toFixed(1)} min: ${sum.lifetimes} lifetimes, ${sum.actions} actions, ` +
    `${crashes} crashes, ${sum.images} images, ${faults} operations with faults, ` +
    `${sum.failures} failures; a minute: ${perMinute(sum.lifetimes)} lifetimes, ` +
    `${perMinute(sum.operations)} operations, ${perMinute(sum.images)} images`
  );
}

/** Actions, errors, faults and ends by their names. */
export function tableOf(sum: Sum): string {
  const names = Object.entries(sum.seen).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return names.map(([name, count]) => `  ${name}: ${count}`).join('\n');
}

function countOf(sum: Sum, isMeant: (name: string) => boolean): number {
  let count = 0;
  for (const [name, each] of Object.entries(sum.seen)) if (isMeant(name)) count += each;
  return count;
}
