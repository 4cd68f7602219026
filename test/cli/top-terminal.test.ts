// Goal: the terminal is as it was before, however `mpool top` ends: by a key, by a signal, by an error, with the terminal
//   itself; and on it one sees a real daemon, its size change, the daemon killed and back.
// Method: the program on a pseudo-terminal of script(1) with a real daemon; settings of the terminal compared before and
//   after. What cannot be caused from outside: a terminal of the test's own.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Terminal, type TerminalOptions } from '../../src/cli/screen.ts';
import { ClosedOutput } from '../../src/cli/usage-error.ts';
import { clientRig, type ClientRig } from '../daemon/client-rig.ts';
import { program } from '../device/places.ts';

const MPOOL = program('../../src/cli/main');
const SCRIPT = 'script';
const hasScript = spawnSync(SCRIPT, ['-qec', 'stty size', '/dev/null']).status === 0;
const noScript = hasScript ? false : 'needs script and stty, for a pseudo-terminal';
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l';

async function until(what: string, condition: () => boolean): Promise<void> {
  // 60 s: only what never comes is missed.
  for (let step = 0; step < 6000; step++) {
    if (condition()) return;
    await sleep(10);
  }
  assert.fail(`never: ${what}`);
}

/** `mpool top` on a terminal of 100 columns and 30 rows. */
class OnTerminal {
  readonly child: ChildProcess;
  readonly folder: string;
  shown = '';

  constructor(t: TestContext, rig: ClientRig, env: object = {}) {
    const folder = mkdtempSync(join(tmpdir(), 'mpool-top-'));
    this.folder = folder;
    const steps = [
      'stty rows 30 cols 100; tty > tty; stty -a > before',
      `sh -c 'echo $$ > pid; exec "${process.execPath}" "${MPOOL}" top interval=0.2'`,
      'echo "status=$?"; stty -a > after',
    ];
    this.child = spawn(SCRIPT, ['-qec', steps.join('\n'), '/dev/null'], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, TERM: 'xterm', MPOOL_RUNDIR: rig.rundir, SHELL: '/bin/sh', ...env },
    });
    this.child.stdout!.on('data', (chunk: Buffer) => (this.shown += chunk.toString()));
    t.after(() => {
      this.child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    });
  }

  get pid(): number {
    return Number(this.#read('pid'));
  }

  type(text: string): void {
    this.child.stdin!.write(text);
  }

  /** Resolves once that is drawn, from now on. */
  async shows(what: RegExp): Promise<void> {
    const from = this.shown.length;
    await until(`${what} on the screen`, () => what.test(this.shown.slice(from))).catch(
      (error: Error) => assert.fail(`${error.message}: ${JSON.stringify(this.shown.slice(-3000))}`),
    );
  }

  /** Ended, the terminal restored. @returns the exit status of top */
  async restored(): Promise<number> {
    await until('the end', () => /status=\d+\r\n/.test(this.shown));
    if (this.child.exitCode === null) await once(this.child, 'exit');
    assert.equal(this.#read('after'), this.#read('before'));
    assert.equal(this.shown.split(ENTER).length, 2, 'taken once');
    const [, after, ...more] = this.shown.split(LEAVE);
    assert.equal(more.length, 0, 'given back once');
    const match = /^(?:mpool: [^\n]*\r\n)?status=(\d+)\r\n$/.exec(after!);
    assert.ok(match, `nothing is drawn afterwards: ${JSON.stringify(after)}`);
    return Number(match[1]);
  }

  #read(name: string): string {
    return readFileSync(join(this.folder, name), 'utf8');
  }

  resize(columns: number): void {
    const size = ['-F', this.#read('tty').trim(), 'cols', String(columns)];
    assert.equal(spawnSync('stty', size).status, 0);
  }
}

test('q, Ctrl-C and signals give the terminal back', { skip: noScript }, async (t) => {
  const rig = await clientRig(t);
  const ends: [(top: OnTerminal) => void, number][] = [
    [(top) => top.type('q'), 0],
    [(top) => top.type('\u0003'), 130],
    [(top) => void process.kill(top.pid, 'SIGINT'), 130],
    [(top) => void process.kill(top.pid, 'SIGTERM'), 143],
    [(top) => void process.kill(top.pid, 'SIGHUP'), 129],
  ];
  for (const [end, status] of ends) {
    const top = new OnTerminal(t, rig);
    await top.shows(/p1 +optimal/);
    end(top);
    assert.equal(await top.restored(), status, end.toString());
  }
});

test(
  'its size, its colours, a pause, and a daemon that is killed and comes back',
  { skip: noScript },
  async (t) => {
    const rig = await clientRig(t);
    const top = new OnTerminal(t, rig);
    await top.shows(/p1 +optimal .*FLUSHES|FLUSHES\/S[^]*p1 +optimal/);
    // eslint-disable-next-line no-control-regex
    assert.match(top.shown, /\u001b\[1mMPOOL/);
    top.resize(40);
    // eslint-disable-next-line no-control-regex
    await top.shows(/\u001b\[H(?!.*by requests).*\r/);
    top.resize(100);
    await rig.kill();
    await top.shows(/daemon gone/);
    await rig.start();
    await top.shows(/p1 +optimal/);
    top.type('p');
    await top.shows(/PAUSED/);
    // Stopped and continued it is on the screen again.
    process.kill(top.pid, 'SIGTSTP');
    await until('the screen left', () => top.shown.includes(LEAVE));
    await until('the screen entered again', () => top.shown.split(ENTER).length === 3);
    top.type('q');
    await until('the end', () => top.shown.includes('status=0'));
    const plain = new OnTerminal(t, rig, { NO_COLOR: '1' });
    await plain.shows(/p1 +optimal/);
    plain.type('q');
    assert.equal(await plain.restored(), 0);
    // eslint-disable-next-line no-control-regex
    assert.doesNotMatch(plain.shown, /\u001b\[[13]/);
  },
);

test(
  'it ends with its terminal, and with the reader of its output',
  { skip: noScript },
  async (t) => {
    const rig = await clientRig(t);
    const top = new OnTerminal(t, rig);
    await top.shows(/p1 +optimal/);
    const { pid } = top;
    top.child.kill('SIGKILL');
    await until('the end of top', () => {
      try {
        return !process.kill(pid, 0);
      } catch {
        return true;
      }
    });
    const line = `"${process.execPath}" "${MPOOL}" top interval=0.1 count=1000; echo $? >&2`;
    const piped = spawnSync('/bin/sh', ['-c', `{ ${line}; } | head -n 1`], {
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, MPOOL_RUNDIR: rig.rundir },
    });
    assert.match(piped.stdout, /^mpool top .*\n$/);
    assert.equal(piped.stderr, '141\n');
  },
);

/** A terminal of which everything is written down. */
function fakeTerminal(): {
  terminal: Terminal;
  log: string[];
  input: EventEmitter;
  controller: AbortController;
  failNext: (error: Error) => void;
} {
  const log: string[] = [];
  const input = Object.assign(new EventEmitter(), {
    setRawMode: (isRaw: boolean) => log.push(`raw ${isRaw}`),
    pause: () => log.push('pause'),
    resume: () => log.push('resume'),
  });
  let failure: Error | undefined;
  const output = Object.assign(new EventEmitter(), {
    columns: 0,
    rows: 0,
    write(text: string, done?: (error?: Error) => void) {
      log.push(text);
      done?.(failure);
      return true;
    },
  });
  const controller = new AbortController();
  const terminal = new Terminal({
    input: () => input as unknown as ReturnType<TerminalOptions['input']>,
    output: output as unknown as TerminalOptions['output'],
    hasColours: false,
    signal: controller.signal,
  });
  return { terminal, log, input, controller, failNext: (error) => (failure = error) };
}

const ENDED = [LEAVE, 'raw false', 'pause'];

test('a bug, the end of the process, or a signal gives it back before anything is printed', () => {
  const ends: ((controller: AbortController) => void)[] = [
    () => (process as EventEmitter).emit('uncaughtExceptionMonitor', new Error('a bug')),
    () => process.emit('exit', 1),
    (controller) => controller.abort(),
  ];
  for (const end of ends) {
    const { terminal, log, controller, input } = fakeTerminal();
    const before = ['exit', 'SIGTSTP', 'SIGCONT'].map((name) => process.listenerCount(name));
    terminal.open({ onInput: () => undefined, onResize: () => undefined });
    assert.deepEqual(log, ['raw true', 'resume', `${ENTER}\u001b[2J`]);
    log.length = 0;
    // It is restored when end() returns, not later.
    end(controller);
    assert.deepEqual(log, ENDED);
    terminal.close();
    end(controller);
    assert.deepEqual(log, ENDED, 'once');
    const after = ['exit', 'SIGTSTP', 'SIGCONT'].map((name) => process.listenerCount(name));
    assert.deepEqual(after, before);
    assert.equal(input.listenerCount('data'), 0);
  }
  const { terminal, log, controller } = fakeTerminal();
  controller.abort();
  terminal.open({ onInput: () => undefined, onResize: () => undefined });
  assert.deepEqual(log, [], 'what is over is not begun');
});

test('frames: from the top, what is below cleared; after the end none; a terminal that is gone', async () => {
  const { terminal, log, input, failNext } = fakeTerminal();
  const typed: string[] = [];
  terminal.open({ onInput: (text) => typed.push(text), onResize: () => undefined });
  assert.deepEqual(
    [terminal.columns, terminal.rows],
    [80, 24],
    'of one that does not know its size',
  );
  await terminal.draw(['a', 'b']);
  assert.equal(log.at(-1), '\u001b[Ha\r\nb\r\n\u001b[J');
  await terminal.draw(Array.from({ length: 24 }, () => 'x'));
  assert.doesNotMatch(
    log.at(-1)!,
    /x\r\n[^x]|\n$/,
    'the last line does not scroll the others away',
  );
  input.emit('data', Buffer.from('jj'));
  assert.deepEqual(typed, ['jj']);
  input.emit('error', new Error('EIO'));
  failNext(Object.assign(new Error('write EIO'), { code: 'EIO' }));
  await assert.rejects(terminal.draw(['a']), ClosedOutput);
  terminal.close();
  const { length } = log;
  await terminal.draw(['late']);
  assert.equal(log.length, length);
});
