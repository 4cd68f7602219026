/**
 * The engine ladder: io_uring, then Linux AIO (which Docker's default profile allows), then the
 * thread pool. Chosen when a device is opened; one ring of each kind a thread, for all its devices.
 */
import { invalidArgument } from '../base/errors.ts';
import type { EngineChoice } from './host.ts';
import type { EngineName, IoEngine } from './io-engine.ts';
import { RingEngine } from './ring-engine.ts';
import { threadEngine } from './thread-engine.ts';

export const LADDER: readonly EngineName[] = ['io_uring', 'aio', 'threads'];

/** Names the rung to begin at, where the caller leaves it open. */
export const ENGINE_VARIABLE = 'MPOOL_ENGINE';

const rings = new Map<EngineName, RingEngine>();

/** The engine of that rung, or the negative errno that the kernel refuses it with. */
export function openRung(name: EngineName): IoEngine | number {
  if (name === 'threads') return threadEngine;
  const open = rings.get(name);
  // One that was lost still serves the devices that have it; a new one may be given.
  if (open !== undefined && open.lost === undefined) return open;
  const ring = RingEngine.open(name);
  if (typeof ring !== 'number') rings.set(name, ring);
  return ring;
}

/**
 * The first rung at or below the choice that works.
 * @param mayAio false for what Linux AIO would do inside io_submit, blocking the loop: buffered I/O, FUSE
 */
export function chooseEngine(choice: EngineChoice | undefined, mayAio: boolean): IoEngine {
  for (const name of LADDER.slice(LADDER.indexOf(firstRung(choice)))) {
    if (name === 'aio' && !mayAio) continue;
    const engine = openRung(name);
    if (typeof engine !== 'number') return engine;
  }
  return threadEngine;
}

/** Where the ladder begins: the caller's choice, else the environment's, else the top. */
export function firstRung(choice: EngineChoice | undefined): EngineName {
  const wanted = choice === undefined || choice === 'auto' ? environmentChoice() : choice;
  const found = LADDER.find((name) => name === wanted);
  if (found !== undefined) return found;
  throw invalidArgument(`'${wanted}' is no engine: use auto, ${LADDER.join(', ')}`);
}

/**
 * The engine that was asked for by name, in the call or the environment; undefined when none was. AIO is not
 * for buffered I/O: nobody is told that he does not get it there.
 */
export function wantedEngine(
  choice: EngineChoice | undefined,
  direct: boolean,
): EngineName | undefined {
  const named = choice === undefined || choice === 'auto' ? process.env[ENGINE_VARIABLE] : choice;
  const wanted = LADDER.find((name) => name === named);
  return wanted === 'aio' && !direct ? undefined : wanted;
}

function environmentChoice(): string {
  const value = process.env[ENGINE_VARIABLE];
  return value === undefined || value === '' || value === 'auto' ? LADDER[0]! : value;
}
