/** Kinds of requests, as people think of them: many operations of the protocol are of one kind. */
import { quantile, total, type OperationRates } from './rates.ts';

interface Kind {
  readonly name: string;
  /** The lowest is left out first. */
  readonly priority: number;
  readonly operations: readonly string[];
}

const KINDS: readonly Kind[] = [
  { name: 'write', priority: 9, operations: ['mblock.write'] },
  { name: 'commit', priority: 8, operations: ['mblock.commit', 'mlog.commit', 'mdc.commit'] },
  { name: 'append', priority: 7, operations: ['log.append'] },
  { name: 'sync', priority: 6, operations: ['log.sync', 'sync'] },
  // Mblocks are read by the clients themselves: only that they begin to and end is known.
  { name: 'lease', priority: 5, operations: ['mblock.lease', 'mblock.release'] },
  { name: 'logread', priority: 4, operations: ['log.read'] },
  { name: 'alloc', priority: 3, operations: ['mblock.alloc', 'mlog.alloc', 'mdc.alloc'] },
  {
    name: 'delete',
    priority: 2,
    operations:
      'mblock.delete mlog.delete mdc.delete log.erase mblock.abort mlog.abort mdc.abort'.split(' '),
  },
];
/** On the control socket: this tool's own, above all. */
const CONTROL: ReadonlySet<string> = new Set(
  (
    'status pools scan create activate deactivate destroy rename add set clients metrics reaper ' +
    'reload shutdown scrub scrub.wait'
  ).split(' '),
);

export interface KindRates {
  name: string;
  priority: number;
  requestsPerSecond: number | undefined;
  errorsPerSecond: number | undefined;
  p50Seconds: number | undefined;
  p99Seconds: number | undefined;
}

/** All kinds, 'other' and 'ctl' last; those that the daemon has not met yet too. */
export function kindRates(
  operations: readonly OperationRates[],
  boundsSeconds: readonly number[],
): KindRates[] {
  const named = new Set(KINDS.flatMap((kind) => kind.operations));
  const rest = operations.filter(({ operation }) => !named.has(operation));
  const groups: [string, number, OperationRates[]][] = KINDS.map((kind) => [
    kind.name,
    kind.priority,
    operations.filter(({ operation }) => kind.operations.includes(operation)),
  ]);
  groups.push(
    ['other', 1, rest.filter((each) => !isControl(each))],
    ['ctl', 0, rest.filter(isControl)],
  );
  // A kind that was never asked for has the rate 0, once there are rates at all.
  const isMeasured = operations.some((each) => each.requestsPerSecond !== undefined);
  const none = isMeasured ? 0 : undefined;
  return groups.map(([name, priority, of]) => {
    const buckets = sumOf(of.map((each) => each.buckets));
    return {
      name,
      priority,
      requestsPerSecond: total(of.map((each) => each.requestsPerSecond)) ?? none,
      errorsPerSecond: total(of.map((each) => each.errorsPerSecond)) ?? none,
      p50Seconds: quantile(buckets, boundsSeconds, 0.5),
      p99Seconds: quantile(buckets, boundsSeconds, 0.99),
    };
  });
}

/** Of clients of pools: what is asked on the control socket is not what a pool does. */
export function clientRequestsPerSecond(operations: readonly OperationRates[]): number | undefined {
  const theirs = operations.filter((each) => !isControl(each));
  const known = total(theirs.map((each) => each.requestsPerSecond));
  const isMeasured = operations.some((each) => each.requestsPerSecond !== undefined);
  return known ?? (isMeasured ? 0 : undefined);
}

function isControl({ operation }: OperationRates): boolean {
  return CONTROL.has(operation);
}

function sumOf(histograms: readonly (readonly number[])[]): number[] {
  const sum: number[] = [];
  for (const buckets of histograms) {
    for (const [i, count] of buckets.entries()) sum[i] = (sum[i] ?? 0) + count;
  }
  return sum;
}
