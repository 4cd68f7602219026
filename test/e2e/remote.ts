/** Client processes that do what they are told: see client-child.ts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { program } from '../device/places.ts';
import type { Outcome, Tasks } from './client-child.ts';
import type { Service } from './rig.ts';

export interface User {
  uid?: number;
  gid?: number;
}

/** One process with one connection to the daemon, and the pools that it has open. */
export class Remote {
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  #lastTask = 0;

  /** Of that user, or of this one; killed when the test is over. */
  static async start(service: Service, user: User = {}): Promise<Remote> {
    const args = ['--enable-source-maps', program('../e2e/client-child'), service.rundir];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { PATH: process.env['PATH'] },
      ...user,
    });
    service.after(() => child.kill('SIGKILL'));
    const [ready] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    assert.equal(ready, 'ready', `the client ended: ${String(ready)}`);
    return new Remote(child);
  }

  private constructor(child: ChildProcess) {
    this.child = child;
    child.on('message', ({ task, ...outcome }: Outcome & { task: number }) => {
      this.#waiting.get(task)?.(outcome);
      this.#waiting.delete(task);
    });
    child.on('exit', (_status, signal) => {
      for (const resolve of this.#waiting.values()) resolve({ code: `ended by ${signal}` });
    });
  }

  /** What came of it: a value, or the code of the error. */
  ask<Name extends keyof Tasks>(
    name: Name,
    args: Tasks[Name][0],
  ): Promise<Outcome<Tasks[Name][1]>> {
    this.#lastTask += 1;
    const task = this.#lastTask;
    const answer = new Promise<Outcome>((resolve) => this.#waiting.set(task, resolve));
    this.child.send({ task, name, args });
    return answer as Promise<Outcome<Tasks[Name][1]>>;
  }

  /** The value. An error fails the test. */
  async get<Name extends keyof Tasks>(name: Name, args: Tasks[Name][0]): Promise<Tasks[Name][1]> {
    const { code, message, value } = await this.ask(name, args);
    assert.equal(code, 'done', `${name} ${JSON.stringify(args)}: ${message}`);
    return value as Tasks[Name][1];
  }

  /** Its code: 'done', or that of the error. */
  async codeOf<Name extends keyof Tasks>(name: Name, args: Tasks[Name][0]): Promise<string> {
    return (await this.ask(name, args)).code;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
    await exited;
  }
}
