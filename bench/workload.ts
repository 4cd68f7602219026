import type { Comparison, Row } from './comparison.ts';
import type { Fio } from './fio.ts';
import type { Workspace } from './workspace.ts';

/** What a workload is given. */
export interface Bench {
  readonly workspace: Workspace;
  /** Null where fio is not installed: what is compared with it is then left out. */
  readonly fio: Fio | null;
  readonly runs: number;
  /** Of one run, about. */
  readonly seconds: number;
  /** Of the largest pool. */
  readonly sizeBytes: number;
  readonly quick: boolean;
  /** Says what is going on. */
  note(text: string): void;
  compare(comparison: Comparison): Promise<void>;
  add(row: Row): void;
}

export interface Workload {
  readonly name: string;
  readonly about: string;
  run(bench: Bench): Promise<void>;
}
