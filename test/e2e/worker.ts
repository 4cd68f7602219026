/** Processes that work without end: see load-child.ts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { program } from '../device/places.ts';
import { POOL, type Service, until } from './rig.ts';
import { Expectation, type Told } from './told.ts';

export class Worker {
  readonly child: ChildProcess;
  /** Of all that it told. */
  readonly expected = new Expectation();
  readonly #reading: Promise<void>;

  constructor(service: Service, seed: number) {
    const args = ['--enable-source-maps', program('../e2e/load-child'), service.rundir, POOL];
    this.child = spawn(process.execPath, [...args, String(seed)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    service.after(() => this.child.kill('SIGKILL'));
    const lines = createInterface({ input: this.child.stdout! });
    this.#reading = (async () => {
      // A line cut short by a kill was not told.
      for await (const line of lines) {
        if (line.endsWith('}')) this.expected.take(JSON.parse(line) as Told);
      }
    })();
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Until it told so many things more: random points are counted, not timed. */
  async tells(count: number): Promise<void> {
    const wanted = this.expected.count + count;
    await until('a client gets on', () => {
      assert.ok(this.running, 'it worked until it was ended');
      return this.expected.count >= wanted;
    });
  }

  /** Ends it so, and knows all that it told. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    assert.ok(this.running, 'it worked until it was ended');
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
    await exited;
    await this.#reading;
    if (signal === 'SIGTERM') assert.equal(this.child.exitCode, 0, 'in order');
  }
}
