/**
 * `mpool/testing`: a simulated machine for tests, of the store and of what is built on it.
 *
 *   const host = new SimHost({ seed: 42 });
 *   host.addDisk('/dev/a', { sizeBytes: 64 * 1024 * 1024 });
 *   host.addFault({ op: 'write', nth: 3, effect: { kind: 'error', errno: 'ENOSPC' } });
 *   const { create, open } = simulatedLibrary(host);
 *   const pool = await create({ name: 'mp1', capacity: { path: '/dev/a' } });
 *   host.cutPowerAfter(20);
 *   …                                          // use the pool until everything fails
 *   const after = host.crash({ survivors: randomSurvive(7) });
 *   const again = await simulatedLibrary(after).open('mp1');
 *
 * Nothing in it uses real time, real disks or real randomness: the same seed and the same calls give the
 * same run, which `host.trace.hash` proves.
 */
import { type Library, libraryOn } from '../pool/library.ts';
import type { SimHost as Machine } from './sim-host.ts';

/** The functions of `mpool` on a simulated machine; names are looked for on all its disks. */
export function simulatedLibrary(host: Machine): Library {
  return libraryOn(host.environment, () => host.paths);
}

export { sweepCrashes } from './crash-sweep.ts';
export type { CrashPoint, CrashSweep, CrashSweepResult } from './crash-sweep.ts';
export type { Fault, FaultEffect, FaultRule, OperationInfo, SimOperation } from './faults.ts';
export { SimClock } from './sim-clock.ts';
export type { SimClockOptions } from './sim-clock.ts';
export type { SimDisk, SimDiskOptions } from './sim-disk.ts';
export { SimHost } from './sim-host.ts';
export type { SimHostOptions } from './sim-host.ts';
export type { SimLevel, SimMemory } from './sim-memory.ts';
export {
  allSurvive,
  allSurviveBut,
  noneSurvive,
  onlySurvive,
  piecesSurvive,
  prefixSurvives,
  randomSurvive,
  survivorPolicies,
} from './survivors.ts';
export type { SurvivorPolicy, VolatileOperation } from './survivors.ts';
export type { OperationEvent, Trace } from './trace.ts';
