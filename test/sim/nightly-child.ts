// One of the processes of a nightly run: lives the seeds that it is given, and tells of each.
import { liveOne } from './lifetimes.ts';
import type { FromChild, ToChild } from './nightly.ts';
import { noSum } from './totals.ts';

function tell(message: FromChild): void {
  process.send!(message);
}

process.on('message', ({ firstSeed, count }: ToChild) => {
  void (async () => {
    for (let seed = firstSeed; seed < firstSeed + count; seed++) {
      tell({ kind: 'begin', seed });
      const sum = noSum();
      const failure = await liveOne(seed, sum);
      tell({ kind: 'end', sum, failure });
    }
    tell({ kind: 'idle', memoryBytes: process.memoryUsage().rss });
  })();
});
process.on('disconnect', () => process.exit());
tell({ kind: 'idle', memoryBytes: 0 });
