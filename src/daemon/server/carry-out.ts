import type { Clock } from '../../base/clock.ts';
import type { Incoming, Reply } from '../server-channel.ts';
import { isExpected } from './journal.ts';
import type { RequestMetrics } from './operation-metrics.ts';

/**
 * Runs one request, measures it, and lets nothing but an answer out: whatever is thrown, at once or later, is
 * the answer; and what should never have been thrown is told.
 */
export function carryOut(
  context: { clock: Clock; requests: RequestMetrics },
  request: Incoming,
  run: () => Reply | Promise<Reply>,
  onBug: (error: unknown) => void,
): Reply | Promise<Reply> {
  const { clock, requests } = context;
  const metrics = requests.of(request.operation);
  const beganMs = clock.monotonicMs();
  metrics.begin();
  const count = (code?: string): void => {
    metrics.add((clock.monotonicMs() - beganMs) / 1000, code);
  };
  const refuse = (error: unknown): never => {
    const expected = isExpected(error);
    count(expected ? (error as { code: string }).code : 'bug');
    if (!expected) onBug(error);
    throw error;
  };
  try {
    const reply = run();
    if (!(reply instanceof Promise)) {
      count();
      return reply;
    }
    return reply.then((done) => {
      count();
      return done;
    }, refuse);
  } catch (error) {
    return refuse(error);
  }
}
