// Goal: the live screen goes on at its pace whatever daemons and people do: a daemon that hangs or dies holds up
//   nobody and is told of until it is back, keys have an effect at once, and it ends when it is told to.
// Method: simulated time, daemons and a terminal of the test's own; what is on the screen at chosen moments.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import type { Screen } from '../../src/cli/screen.ts';
import { live } from '../../src/cli/top/live.ts';
import { Watch, type Asked } from '../../src/cli/top/watch.ts';
import { ClosedOutput } from '../../src/cli/usage-error.ts';
import { SimClock } from '../../src/testing/sim-clock.ts';
import { fakeClient, fakePool, fakeStatus, laterMetrics } from './top-fixture.ts';

/** Commits so many a second, as long as nothing is done to it. */
class FakeDaemon implements Asked {
  readonly rundir: string;
  readonly #clock: SimClock;
  commitsPerSecond = 100;
  error: Error | undefined;
  /** Answers wait for it. */
  held: Promise<void> | undefined;
  asked = 0;

  constructor(clock: SimClock, rundir = '/run/mpool') {
    this.#clock = clock;
    this.rundir = rundir;
  }

  async status(): ReturnType<Asked['status']> {
    return this.#answer(() => fakeStatus({ rundir: this.rundir }));
  }
  async clients(): ReturnType<Asked['clients']> {
    return this.#answer(() =>
      Array.from({ length: 20 }, (_, i) =>
        fakeClient({ session: i, pid: 1000 + i, leaseCount: i }),
      ),
    );
  }
  async metrics(): ReturnType<Asked['metrics']> {
    this.asked++;
    return this.#answer(() => {
      const commits = (this.#clock.monotonicMs() / 1000) * this.commitsPerSecond;
      return laterMetrics({ pools: [fakePool({}, { commits })] });
    });
  }

  async #answer<T>(make: () => T): Promise<T> {
    await this.held;
    if (this.error !== undefined) throw this.error;
    return make();
  }
}

class FakeScreen implements Screen {
  columns = 80;
  rows = 24;
  hasColours = false;
  state = 'new';
  frames: string[][] = [];
  error: Error | undefined;
  #handlers: Parameters<Screen['open']>[0] | undefined;

  open(handlers: Parameters<Screen['open']>[0]): void {
    this.state = 'open';
    this.#handlers = handlers;
  }
  async draw(lines: readonly string[]): Promise<void> {
    if (this.error !== undefined) throw this.error;
    // eslint-disable-next-line no-control-regex
    this.frames.push(lines.map((line) => line.replace(/\u001b\[K$/, '')));
  }
  close(): void {
    this.state = 'closed';
  }
  type(text: string): void {
    this.#handlers!.onInput(text);
  }
  resize(columns: number, rows: number): void {
    Object.assign(this, { columns, rows });
    this.#handlers!.onResize();
  }
  /** The last frame. */
  get shown(): string {
    return this.frames.at(-1)?.join('\n') ?? '';
  }
}

interface Rig {
  clock: SimClock;
  screen: FakeScreen;
  daemon: FakeDaemon;
  controller: AbortController;
  /** Commits a second, as they are shown. */
  commits: () => string;
}

/** Runs it until it ends; `script` says what happens when, in milliseconds. */
async function run(
  script: (rig: Rig) => readonly (readonly [atMs: number, action: () => void])[],
  options: { count?: number; more?: readonly FakeDaemon[]; clock?: SimClock } = {},
): Promise<Rig> {
  const clock = options.clock ?? new SimClock();
  const screen = new FakeScreen();
  const daemon = new FakeDaemon(clock);
  const controller = new AbortController();
  const commits = (): string => /^mp1 +\w+ +\S+ +(\S+)/m.exec(screen.shown)?.[1] ?? 'none';
  const rig = { clock, screen, daemon, controller, commits };
  let failed: unknown;
  for (const [atMs, action] of script(rig)) {
    clock.schedule(atMs, () => {
      try {
        action();
      } catch (error) {
        failed ??= error;
      }
    });
  }
  const watches = [daemon, ...(options.more ?? [])].map((each) => new Watch(each, clock));
  await Promise.all(watches.map((watch) => watch.ask()));
  await live({
    watches,
    screen,
    clock,
    signal: controller.signal,
    intervalMs: 1000,
    count: options.count ?? Infinity,
    userName: String,
  }).finally(() => assert.equal(screen.state, 'closed', 'the terminal is given back'));
  if (failed !== undefined) throw failed as Error;
  return rig;
}

test('it begins with what is so, goes on with rates, and ends after so many', async () => {
  const { screen, clock, daemon } = await run(
    ({ commits }) => [
      [500, () => assert.equal(commits(), '-')],
      [1500, () => assert.equal(commits(), '100')],
    ],
    { count: 3 },
  );
  assert.equal(screen.frames.length, 4);
  assert.equal(daemon.asked, 4);
  assert.equal(clock.monotonicMs(), 3000, 'it does not wait after the last');
});

test('q quits at once, in the middle of an interval', async () => {
  const { clock } = await run(({ screen }) => [[2345, () => screen.type('q')]]);
  assert.equal(clock.monotonicMs(), 2345);
});

test('the signal ends it, as the terminal does when it is gone', async () => {
  const { clock } = await run(({ controller }) => [[1700, () => controller.abort()]]);
  assert.equal(clock.monotonicMs(), 1700);
  const gone = run(({ screen }) => [[1700, () => (screen.error = new ClosedOutput())]]);
  await assert.rejects(gone, ClosedOutput);
});

test('paused, nobody is asked and nothing changes; going on, all of the time between counts', async () => {
  let asked = 0;
  await run(({ screen, daemon, commits }) => [
    [1200, () => screen.type('p')],
    [
      1300,
      () => {
        assert.match(screen.shown, /PAUSED/);
        ({ asked } = daemon);
        daemon.commitsPerSecond = 200;
      },
    ],
    [
      5900,
      () => {
        assert.equal(daemon.asked, asked);
        assert.equal(commits(), '100');
        screen.type('p');
        assert.doesNotMatch(screen.shown, /PAUSED/);
      },
    ],
    // From 100 at 1 s to 1,200 at 6 s.
    [6500, () => assert.equal(commits(), '220')],
    [6600, () => screen.type('q')],
  ]);
});

test('keys: sorted otherwise, scrolled within its bounds, help until the next key', async () => {
  const firstPid = ({ screen }: Rig): number => Number(/PID.*\n +(\d+)/.exec(screen.shown)?.[1]);
  await run((rig) => {
    const { screen } = rig;
    const typed = (text: string, pid: number) => () => {
      screen.type(text);
      assert.equal(firstPid(rig), pid, `after ${JSON.stringify(text)}: ${screen.shown}`);
    };
    return [
      [1100, typed('k', 1000)],
      [1110, typed('jj', 1002)],
      [1120, typed('\u001b[A', 1001)],
      [1130, typed('\u001b[6~', 1009)],
      [1140, typed('kG', 1009)],
      [1150, typed('\u001b[5~', 1000)],
      [1160, typed('jg', 1000)],
      [1170, typed('sss', 1019)],
      [1180, () => assert.match(screen.frames.at(-1)![0]!, /by leases/)],
      [
        1200,
        () => {
          screen.type('?');
          assert.match(screen.shown, /OPS\/STEP/);
          assert.doesNotMatch(screen.shown, /mp1/);
        },
      ],
      // It stays while time goes on; the key that ends it does nothing else.
      [2200, () => assert.match(screen.shown, /quit/)],
      [2300, typed('s', 1019)],
      [2400, () => screen.type('?q')],
    ];
  });
});

test('another size is drawn at once', async () => {
  await run(({ screen }) => [
    [
      1500,
      () => {
        const { length } = screen.frames;
        screen.resize(40, 12);
        assert.equal(screen.frames.length, length + 1);
        assert.equal(screen.frames.at(-1)!.length, 12);
        assert.ok(screen.frames.at(-1)!.every((line) => line.length <= 40));
      },
    ],
    [1600, () => screen.type('q')],
  ]);
});

test('a daemon that is gone is told of, and drawn again when it is back', async () => {
  const lost = new MpoolError('ERR_MPOOL_CONNECTION_LOST', 'the daemon ended');
  await run(({ screen, daemon, commits }) => [
    [1500, () => (daemon.error = lost)],
    [2500, () => assert.match(screen.shown, /mpoold \/run\/mpool {2}daemon gone for 0 s, waiting/)],
    [4500, () => assert.match(screen.shown, /daemon gone for 2 s, waiting/)],
    [4600, () => assert.match(screen.shown, /no pool is active/)],
    [4700, () => (daemon.error = undefined)],
    [5500, () => assert.equal(commits(), '100')],
    [5600, () => screen.type('q')],
  ]);
});

test('one that hangs is asked once, told of after two seconds, and does not hold up the others', async () => {
  const clock = new SimClock();
  const other = new FakeDaemon(clock, '/own');
  let release = (): void => undefined;
  await run(
    ({ screen, commits }) => [
      [1600, () => (other.held = new Promise((resolve) => (release = resolve)))],
      [3700, () => assert.doesNotMatch(screen.shown, /no answer/)],
      [3800, () => assert.equal(commits(), '100', 'the first one is drawn on')],
      [4700, () => assert.match(screen.shown, /mpoold \/own {2}no answer for 2 s: daemon gone or/)],
      [9700, () => assert.match(screen.shown, /no answer for 7 s/)],
      [9800, () => release()],
      [10_700, () => assert.doesNotMatch(screen.shown, /no answer/)],
      [10_800, () => screen.type('q')],
    ],
    { clock, more: [other] },
  );
  assert.equal(other.asked, 4, 'at 0, 1 and 2 s, and once it answered');
});

test('a daemon that refuses says why', async () => {
  const refused = new MpoolError('ERR_MPOOL_ACCESS', '/run/mpool/ctl');
  await run(({ screen, daemon }) => [
    [500, () => (daemon.error = refused)],
    [1500, () => assert.match(screen.shown, /mpoold \/run\/mpool {2}.*\(EACCES\)/)],
    [1600, () => screen.type('q')],
  ]);
});

test('a terminal that is slower than the daemon gets the newest picture, not all of them', async () => {
  let drawn: (() => void) | undefined;
  const rig = await run(({ screen, clock }) => {
    const quick = screen.draw.bind(screen);
    screen.draw = (lines) =>
      new Promise((resolve) => {
        drawn = () => {
          void quick(lines).then(resolve);
        };
        clock.schedule(2500, drawn);
      });
    return [[9000, () => screen.type('q')]];
  });
  // Begun at 0, 2.5, 5 and 7.5 s.
  assert.equal(rig.screen.frames.length, 3);
});
