import { appendFileSync } from 'node:fs';

const totals = new Map<string, number>();

/** Counts what was tried: `npm run reliability` adds it up over all processes of a run. */
export function tally(what: string, count = 1): void {
  totals.set(what, (totals.get(what) ?? 0) + count);
}

export function tallySweep({ cuts, images }: { cuts: number; images: number }): void {
  tally('power cuts of sweeps', cuts);
  tally('crash images of sweeps', images);
}

const path = process.env['TALLY'];
if (path !== undefined) {
  process.on('exit', () => {
    if (totals.size > 0) appendFileSync(path, `${JSON.stringify(Object.fromEntries(totals))}\n`);
  });
}
