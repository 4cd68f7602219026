import { printIdHalves } from '../format/object-id.ts';

/**
 * error: content is lost, contradicts itself or breaks a rule of the format. warning: something
 * that has a spare is damaged, or the pool is not whole; nothing is lost. note: as a crash may
 * leave it.
 */
export type Severity = 'error' | 'warning' | 'note';

export type CheckedStructure =
  | 'device'
  | 'superblock'
  | 'reserved pages'
  | 'log header'
  | 'log'
  | 'record'
  | 'extent'
  | 'object'
  | 'mblock'
  | 'page';

export interface CheckLocation {
  /** Path. */
  device: string;
  offsetBytes: number;
}

export interface CheckFinding {
  severity: Severity;
  structure: CheckedStructure;
  location: CheckLocation;
  /** '0x…'. */
  objectId?: string | undefined;
  message: string;
}

export interface CheckCounts {
  superblocks: number;
  logs: number;
  frames: number;
  records: number;
  mblocks: number;
  mlogs: number;
  /** Of mblocks, verified against their checksums. */
  pages: number;
  /** Of those pages and the checksum tables. */
  bytes: number;
}

export interface CheckReport {
  /** At most FINDINGS_PER_STRUCTURE_MAX for each structure, in the order found. */
  findings: CheckFinding[];
  /** How many more there were. */
  omitted: Partial<Record<CheckedStructure, number>>;
  /** Of all that was found, listed or not. */
  severityCounts: Record<Severity, number>;
  counts: CheckCounts;
  durationMs: number;
  /** No error and no warning. */
  clean: boolean;
}

const FINDINGS_PER_STRUCTURE_MAX = 100;

/** Collects what a check finds; bounded, however damaged a pool is. */
export class Findings {
  readonly counts: CheckCounts = {
    superblocks: 0,
    logs: 0,
    frames: 0,
    records: 0,
    mblocks: 0,
    mlogs: 0,
    pages: 0,
    bytes: 0,
  };
  readonly #findings: CheckFinding[] = [];
  readonly #seen = new Map<CheckedStructure, number>();
  readonly #severityCounts: CheckReport['severityCounts'] = { error: 0, warning: 0, note: 0 };

  add(
    severity: Severity,
    structure: CheckedStructure,
    location: CheckLocation,
    message: string,
    id?: { idLow: number; idHigh: number },
  ): void {
    const objectId = id === undefined ? undefined : printIdHalves(id.idLow, id.idHigh);
    this.#put(severity, structure, location, message, objectId);
  }

  #put(
    severity: Severity,
    structure: CheckedStructure,
    location: CheckLocation,
    message: string,
    objectId: string | undefined,
  ): void {
    this.#severityCounts[severity] += 1;
    const count = (this.#seen.get(structure) ?? 0) + 1;
    this.#seen.set(structure, count);
    if (count > FINDINGS_PER_STRUCTURE_MAX) return;
    const id = objectId === undefined ? {} : { objectId };
    this.#findings.push({ severity, structure, location, ...id, message });
  }

  get count(): number {
    const { error, warning, note } = this.#severityCounts;
    return error + warning + note;
  }

  get errorOrWarningCount(): number {
    return this.#severityCounts.error + this.#severityCounts.warning;
  }

  /** What a part of the work found on its own. */
  absorb(part: Findings): void {
    for (const { severity, structure, location, objectId, message } of part.#findings) {
      this.#put(severity, structure, location, message, objectId);
    }
    for (const name of Object.keys(this.counts) as (keyof CheckCounts)[]) {
      this.counts[name] += part.counts[name];
    }
  }

  report(durationMs: number): CheckReport {
    const omitted: CheckReport['omitted'] = {};
    for (const [structure, count] of this.#seen) {
      if (count > FINDINGS_PER_STRUCTURE_MAX) {
        omitted[structure] = count - FINDINGS_PER_STRUCTURE_MAX;
      }
    }
    return {
      findings: this.#findings,
      omitted,
      severityCounts: this.#severityCounts,
      counts: this.counts,
      durationMs,
      clean: this.errorOrWarningCount === 0,
    };
  }
}
