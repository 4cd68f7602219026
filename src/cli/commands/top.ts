import { systemClock } from '../../base/clock.ts';
import { accountName } from '../accounts.ts';
import { command, type Context } from '../command.ts';
import { needRunning } from '../daemons.ts';
import { describeFailure } from '../failure.ts';
import { jsonDocument } from '../json.ts';
import { topDocument } from '../top/document.ts';
import { drawFrame } from '../top/frame.ts';
import { plainText } from '../top/line.ts';
import { live } from '../top/live.ts';
import { clockTime } from '../top/numbers.ts';
import { atMost, orAborted, pause } from '../top/pace.ts';
import { Watch } from '../top/watch.ts';
import { UsageError } from '../usage-error.ts';
import { integerKind, type Kind } from '../values.ts';

const secondsKind: Kind<number> = {
  form: 'SECONDS',
  allowed: '0.1 to 3600',
  read(text) {
    if (!/^\d+(\.\d+)?$/.test(text)) return 'EINVAL';
    const seconds = Number(text);
    return seconds >= 0.1 && seconds <= 3600 ? seconds : 'ERANGE';
  },
};

export const top = command({
  name: 'top',
  about: 'daemon',
  summary: 'Watch the daemons at work',
  parameters: {
    interval: { kind: secondsKind, meaning: 'from one picture to the next', default: '1' },
    count: {
      kind: integerKind(1, 1_000_000_000),
      meaning: 'pictures before it ends; without end on a terminal, else one',
    },
  },
  options: ['batch', 'noresolve'],
  details: [
    'Keys: q quits, p pauses, s sorts the clients by another column, j, k and the arrows ' +
      'scroll them, ? helps. When standard output is no terminal, or with -b, it prints ' +
      'plain text. Rates are of the time since the picture before; "-" is what is not known.',
    'REQUESTS are those that the daemon answers, of all its pools. Mblocks are read by the ' +
      'clients themselves: only their leases, which begin and end that, are seen. p50 and ' +
      'p99 are bounds: half of the requests, or 99 of 100, took no longer. OPS/STEP is how ' +
      'well group commit shares: changes of metadata (commits, deletions) that one durable ' +
      'step carried; SYNCS/STEP the same of syncs of logs.',
    'Who may not manage a daemon sees his own clients. A daemon that is gone is waited ' +
      'for. With --json one document of one interval is printed, in which what is not known ' +
      'is null.',
  ],
  examples: ['mpool top', 'mpool top interval=5', 'mpool top -b count=3', 'mpool top --json'],
  async run(call, context) {
    const json = call.options.has('json');
    const { interval = 1, count } = call.values;
    if (json && count !== undefined) throw new UsageError('option --json excludes count');
    const daemons = await needRunning(context.daemons);
    const watches = daemons.map((daemon) => new Watch(daemon, systemClock));
    const userName = userNames(call.options.has('noresolve'));
    const intervalMs = interval * 1000;
    const { screen, signal } = context;
    if (json) {
      await measure(watches, intervalMs, context);
      const views = watches.map((watch) => watch.view());
      await context.out.write(jsonDocument('top', topDocument(views)));
      return tellFailures(watches, context);
    }
    if (screen === undefined || call.options.has('batch')) {
      return batch(watches, { intervalMs, count: count ?? 1, userName }, context);
    }
    const asked = Promise.all(watches.map((watch) => watch.ask()));
    await atMost(systemClock, FIRST_MS, signal, asked);
    refuseNone(watches);
    await live({
      watches,
      screen,
      signal,
      intervalMs,
      userName,
      clock: systemClock,
      count: count ?? Infinity,
    });
    return undefined;
  },
});

/** So long it is not said yet that a daemon does not answer. */
const FIRST_MS = 1000;

interface BatchOptions {
  intervalMs: number;
  count: number;
  userName: (uid: number) => string;
}

async function batch(
  watches: readonly Watch[],
  { intervalMs, count, userName }: BatchOptions,
  context: Context,
): Promise<number> {
  let status = 0;
  for (let printed = 0; printed < count; printed++) {
    await measure(watches, intervalMs, context);
    const { lines } = drawFrame(
      watches.map((watch) => watch.view()),
      {
        columns: context.screen?.columns ?? Infinity,
        rows: Infinity,
        time: clockTime(systemClock.wallMs()),
        intervalText: `over ${intervalMs / 1000} s`,
        userName,
        sort: 0,
        offset: 0,
        isPaused: false,
      },
    );
    if (printed > 0) await context.out.write('\n');
    await context.out.write(`${lines.map(plainText).join('\n')}\n`);
    await context.out.flush();
    status = Math.max(status, tellFailures(watches, context));
  }
  return status;
}

/** Until all were asked twice, an interval apart. @throws when none answers; the signal's reason */
async function measure(
  watches: readonly Watch[],
  intervalMs: number,
  { signal }: Context,
): Promise<void> {
  const ask = async (): Promise<void> => {
    await orAborted(signal, Promise.all(watches.map((watch) => watch.ask())));
    refuseNone(watches);
  };
  if (watches.every((watch) => watch.view().rates === undefined)) await ask();
  await pause(systemClock, intervalMs, signal);
  await ask();
}

/** @throws the error of the first when all of them failed */
function refuseNone(watches: readonly Watch[]): void {
  if (watches.every(({ failure }) => failure !== undefined)) throw watches[0]!.failure;
}

/** @returns the exit status */
function tellFailures(watches: readonly Watch[], context: Context): number {
  const failed = watches.filter(({ failure }) => failure !== undefined);
  for (const { failure, rundir } of failed) {
    const { text } = describeFailure(failure, rundir);
    if (text !== undefined) context.note(`top: mpoold ${rundir}: ${text}`);
  }
  return failed.length > 0 ? 1 : 0;
}

/** Files of accounts are read once for each user, not for each picture. */
function userNames(asNumbers: boolean): (uid: number) => string {
  const names = new Map<number, string>();
  return (uid) => {
    let name = names.get(uid);
    if (name === undefined)
      names.set(uid, (name = asNumbers ? String(uid) : accountName('user', uid)));
    return name;
  };
}
