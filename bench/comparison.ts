import { describe, figure, type Spread, spreadOf } from './spread.ts';

/** One line of the results. Higher is better wherever there is a peer. */
export interface Row {
  id: string;
  /** What was done, for people. */
  work: string;
  unit: string;
  ours: Spread;
  /** With a peer: its figures, and ours over its, pair by pair. */
  peer?: { name: string; figures: Spread } | undefined;
  ratio?: Spread | undefined;
  /** The ratio must be at least it, or the figure at most. */
  target?: { atLeastRatio: number } | { atMost: number } | undefined;
  verdict?: 'met' | 'missed' | undefined;
  note?: string | undefined;
}

export interface Comparison {
  id: string;
  work: string;
  unit: string;
  ours: () => Promise<number>;
  peer: { name: string; run: () => Promise<number> };
  atLeastRatio?: number | undefined;
  note?: string | undefined;
}

/**
 * Runs peer and ours in turn, the peer once more at the end, after a run of ours that does not count (so
 * that our code is compiled). Each of our runs is set against the mean of the peer's before and after it:
 * a disk that becomes slower or faster meanwhile cancels out.
 */
export async function compare(comparison: Comparison, runs: number): Promise<Row> {
  const { id, work, unit, peer, atLeastRatio, note } = comparison;
  const ours: number[] = [];
  await comparison.ours();
  const peers = [await peer.run()];
  for (let run = 0; run < runs; run++) {
    collectGarbage();
    ours.push(await comparison.ours());
    peers.push(await peer.run());
  }
  const ratios = ours.map((value, i) => value / ((peers[i]! + peers[i + 1]!) / 2));
  return judged({
    id,
    work,
    unit,
    ours: spreadOf(ours),
    peer: { name: peer.name, figures: spreadOf(peers) },
    ratio: spreadOf(ratios),
    target: atLeastRatio === undefined ? undefined : { atLeastRatio },
    note,
  });
}

/** Of one figure without a peer. */
export async function measure(
  fact: Pick<Row, 'id' | 'work' | 'unit' | 'target' | 'note'>,
  runs: number,
  run: () => Promise<number> | number,
): Promise<Row> {
  const values: number[] = [];
  for (let i = 0; i < runs; i++) {
    collectGarbage();
    values.push(await run());
  }
  return judged({ ...fact, ours: spreadOf(values) });
}

/** The median decides. */
export function judged(row: Row): Row {
  const { target, ratio, ours } = row;
  if (target === undefined) return row;
  const met =
    'atMost' in target
      ? ours.median <= target.atMost
      : ratio !== undefined && ratio.median >= target.atLeastRatio;
  return { ...row, verdict: met ? 'met' : 'missed' };
}

export function printRow(row: Row): string {
  const { work, unit, ours, peer, ratio, target, verdict } = row;
  const parts = [`${work}: ${describe(ours)} ${unit}`];
  if (peer !== undefined && ratio !== undefined) {
    parts.push(`${peer.name} ${describe(peer.figures)}`, `ratio ${describe(ratio)}`);
  }
  if (target !== undefined) {
    const wanted =
      'atMost' in target ? `at most ${figure(target.atMost)}` : `at least ${target.atLeastRatio} ×`;
    parts.push(`${wanted}: ${verdict}`);
  }
  return parts.join(' | ');
}

function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}
