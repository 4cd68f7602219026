/** The one seam between the tool and the library: verbs know the store only as this. */
import type { ActivePool } from './active-pools.ts';
import type { ManagedPool } from './managed-pool.ts';
import type { UpgradeReport } from '../pool/upgrade.ts';
import type { CreateOptions, FoundPool, OpenOptions, Pool, Reaper } from '../pool/api.ts';

export interface Store {
  create(options: CreateOptions): Promise<ManagedPool>;
  open(target: string, options?: OpenOptions): Promise<Pool>;
  /** For what is done to the pool itself. */
  manage(target: string, options?: OpenOptions): Promise<ManagedPool>;
  scan(options?: { places?: readonly string[]; blockDevices?: boolean }): Promise<FoundPool[]>;
  destroy(
    target: string,
    options?: { searchPlaces?: readonly string[]; force?: boolean },
  ): Promise<void>;
  rename(
    target: string,
    newName: string,
    options?: { searchPlaces?: readonly string[] },
  ): Promise<void>;
  upgrade(target: string, options?: { searchPlaces?: readonly string[] }): Promise<UpgradeReport>;
  check(
    target: string,
    options?: {
      data?: boolean;
      onProgress?: (done: number, total: number) => void;
      signal?: AbortSignal;
      searchPlaces?: readonly string[];
    },
  ): Promise<CheckReport>;
  scrub(
    target: string,
    options?: {
      bytesPerSecond?: number;
      from?: string;
      onProgress?: (progress: { doneBytes: number; totalBytes: number; cursor: string }) => void;
      signal?: AbortSignal;
      searchPlaces?: readonly string[];
    },
  ): Promise<ScrubReport>;
  repair(
    target: string,
    options?: {
      force?: boolean;
      data?: boolean;
      onProgress?: (done: number, total: number) => void;
      signal?: AbortSignal;
      searchPlaces?: readonly string[];
    },
  ): Promise<RepairReport>;
  dump(
    target: string,
    options?: { searchPlaces?: readonly string[] },
  ): AsyncIterable<DumpedStructure>;
  diagnose(): Promise<EngineReport>;
  readonly reaper: Pick<Reaper, 'configure'>;
  /** Pools that are active in a daemon, of which this user may open them. */
  active(): Promise<ActivePool[]>;
}

export interface CheckReport {
  findings: CheckFinding[];
  /** How many findings of a structure are beyond those listed. */
  omitted: object;
  /** Of all findings, listed or not. */
  severityCounts: { error: number; warning: number; note: number };
  counts: object;
  durationMs: number;
  clean: boolean;
}

interface ScrubReport extends CheckReport {
  complete: boolean;
  cursor?: string | undefined;
}

export interface RepairStep {
  structure: string;
  location: { device: string; offsetBytes: number };
  objectId?: string | undefined;
  message: string;
  losses: string[];
}

interface RepairReport {
  dryRun: boolean;
  steps: RepairStep[];
  withheld: RepairStep[];
  left: CheckFinding[];
  before: CheckReport['severityCounts'];
  after: CheckReport['severityCounts'];
  durationMs: number;
  clean: boolean;
}

export interface CheckFinding {
  severity: 'error' | 'warning' | 'note';
  structure: string;
  location: { device: string; offsetBytes: number };
  objectId?: bigint | string | undefined;
  message: string;
}

export interface DumpedStructure {
  structure: string;
  device: string;
  offsetBytes: number;
  fields: Record<string, string | number>;
}

export interface EngineReport {
  engine: string;
  rungs: { name: string; usable: boolean; inUse: boolean; reason?: string; advice?: string }[];
  kernel: string;
  node: string;
  hugePages: { mode: string; usable: boolean };
  /** null: no limit. */
  memlockBytes: number | null;
  threadCount: number;
  advice: string[];
}

/** Loads the library, and with it the addon. */
export async function loadStore(): Promise<Store> {
  const direct = await import('../index.ts');
  return { ...direct, manage: direct.open, active: async () => [] };
}

/**
 * One that writes nothing, and knows what it did until it is forgotten.
 * @param options.claim false: of pools that others have
 */
export async function loadDryStore(options: { claim: boolean } = { claim: true }): Promise<Store> {
  const { dryRun } = await import('../index.ts');
  const dry = dryRun(options);
  return { ...(await loadStore()), ...dry, manage: dry.open };
}
