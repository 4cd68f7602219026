// What the users of one activation share: who is busy with what, what they keep mapped, and what went on.
import type { Fault, FaultRule, SimHost } from '../../src/testing/index.ts';
import type { HeldMap } from './held-maps.ts';

export class World {
  readonly busy = new Set<bigint | string>();
  /** Logs to which several append at once, and how many: nobody has such a one for himself. */
  readonly shared = new Map<bigint, number>();
  /** Logs that failed: not used again until the pool is reopened. */
  readonly failed = new Set<bigint>();
  readonly maps: HeldMap[] = [];
  /** So many ask for evictions now, of whatever they like. */
  evictionsAsked = 0;
  /** Faults were set: reads may fail, and a scrub may tell of it. */
  faulty = false;
  actions = 0;
  errors = 0;
  /** How many of each succeeded, and errors by their code. */
  readonly seen = new Map<string, number>();
  readonly #faults: { name: string; fault: Fault }[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #broken: unknown;

  see(what: string, count = 1): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + count);
  }

  /** @param releaseMs of a rule that holds operations: after so long they go on */
  addFault(host: SimHost, rule: FaultRule, releaseMs?: number): void {
    this.faulty = true;
    const fault = host.addFault(rule);
    this.#faults.push({ name: `fault: ${rule.effect.kind} of ${String(rule.op)}`, fault });
    if (releaseMs === undefined) return;
    const release = (): void => {
      fault.remove();
      fault.release();
    };
    host.clock.after(releaseMs, release, true);
  }

  /** What was hit. */
  countFaults(): void {
    for (const { name, fault } of this.#faults.splice(0)) {
      if (fault.hits > 0) this.see(name, fault.hits);
      if (fault.hits > 0 && name.startsWith('fault: hold')) this.see('held', fault.hits);
    }
  }

  /** Evictions are asked for, and with them go pinned pages too. */
  async evicting(work: () => Promise<void>): Promise<void> {
    this.evictionsAsked += 1;
    try {
      await work();
    } finally {
      this.evictionsAsked -= 1;
    }
  }

  /** Something is wrong that nobody can be told now. */
  breaks(error: Error): void {
    this.#broken ??= error;
  }

  /** Nobody waits for it until drain(). */
  overlap(work: Promise<void>): void {
    this.#underWay.add(work);
    work
      .catch((error: unknown) => (this.#broken ??= error))
      .finally(() => this.#underWay.delete(work));
  }

  /** @throws what went wrong meanwhile */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    if (this.#broken !== undefined) throw this.#broken;
  }

  /** Alone with these. */
  async exclusively(ids: readonly (bigint | string)[], use: () => Promise<void>): Promise<void> {
    for (const id of ids) this.busy.add(id);
    try {
      await use();
    } finally {
      for (const id of ids) this.busy.delete(id);
    }
  }

  /** With a log, beside others who do the same. */
  async together(id: bigint, use: () => Promise<void>): Promise<void> {
    this.shared.set(id, (this.shared.get(id) ?? 0) + 1);
    try {
      await use();
    } finally {
      const left = this.shared.get(id)! - 1;
      if (left === 0) this.shared.delete(id);
      else this.shared.set(id, left);
    }
  }
}
