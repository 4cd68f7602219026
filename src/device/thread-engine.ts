import { setImmediate } from 'node:timers';
import { binding } from '../native/binding.ts';
import type { IoEngine, IoRequest } from './io-engine.ts';

/**
 * The lowest rung: one system call a request on libuv's thread pool, which works everywhere. Also
 * carries what no ring does without blocking, on every rung.
 */
class ThreadEngine implements IoEngine {
  readonly name = 'threads';

  submit(request: IoRequest): void {
    const { op, fd, address, lengthBytes, offsetBytes, flags } = request;
    const done = (result: number): void => request.complete(result);
    const refused = binding.offload(op, fd, address, lengthBytes, offsetBytes, flags, done);
    if (refused < 0) setImmediate(done, refused);
  }
}

export const threadEngine: IoEngine = new ThreadEngine();
