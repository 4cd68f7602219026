import { invalidArgument } from '../base/errors.ts';
import type { Temperature } from '../pool/map-api.ts';

/** Rising; the index is what rows hold. */
export const TEMPERATURES: readonly Temperature[] = ['cold', 'warm', 'hot', 'pinned'];

/** @throws RangeError for anything else */
export function checkTemperature(temperature: Temperature): number {
  const code = TEMPERATURES.indexOf(temperature);
  if (code >= 0) return code;
  throw invalidArgument(`temperature '${temperature}' is none of ${TEMPERATURES.join(', ')}`);
}
