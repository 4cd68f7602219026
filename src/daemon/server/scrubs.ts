import { MpoolError } from '../../base/errors.ts';
import type { ScrubOptions, ScrubProgress, ScrubReport } from '../../pool/api.ts';
import type { ServerChannel } from '../server-channel.ts';
import type { PoolService } from './pool-service.ts';
import type { ServerContext } from './server-context.ts';

/** Within which whoever waits hears how far it is. */
const ANSWER_MS = 500;
/** Of a report, so that it fits in a frame: paths may be long, and findings many. */
const FINDINGS_BYTES_MAX = 512 * 1024;

interface RunningScrub {
  readonly service: PoolService;
  readonly channel: ServerChannel;
  readonly stopping: AbortController;
  readonly ended: Promise<void>;
  progress: ScrubProgress;
  report: ScrubReport | undefined;
  failure: Error | undefined;
}

/**
 * Scrubs under way, one of a pool at most. Whoever began one asks for it again and again, and it ends when he
 * does.
 */
export class Scrubs {
  readonly #context: ServerContext;
  readonly #running = new Map<number, RunningScrub>();
  #ticket = 0;

  constructor(context: ServerContext) {
    this.#context = context;
  }

  /**
   * @returns a ticket to wait() with
   * @throws ERR_MPOOL_BUSY while the pool is being scrubbed already; RangeError for a wrong option
   */
  begin(service: PoolService, channel: ServerChannel, options: ScrubOptions): number {
    for (const scrub of this.#running.values()) {
      if (scrub.service !== service || scrub.report !== undefined) continue;
      throw new MpoolError('ERR_MPOOL_BUSY', `pool ${service.name} is being scrubbed already`);
    }
    const { journal } = this.#context;
    const stopping = new AbortController();
    const progress = { doneBytes: 0, totalBytes: 0, cursor: options.from ?? '0x0' };
    const running = service.pool.scrub({
      ...options,
      signal: stopping.signal,
      onProgress: (each) => (scrub.progress = each),
    });
    const ended = running.then(
      (report) => {
        scrub.report = bounded(report);
        const { complete, cursor, severityCounts, durationMs } = report;
        const facts = { pool: service.name, complete, cursor, ...severityCounts, durationMs };
        journal[report.clean ? 'info' : 'warn']('a pool was scrubbed', facts);
      },
      (error: Error) => void (scrub.failure = error),
    );
    const scrub: RunningScrub = {
      service,
      channel,
      stopping,
      ended,
      progress,
      report: undefined,
      failure: undefined,
    };
    const ticket = (this.#ticket += 1);
    this.#running.set(ticket, scrub);
    void channel.ended.then(async () => {
      stopping.abort();
      await ended;
      this.#running.delete(ticket);
    });
    return ticket;
  }

  /**
   * How far it is, after a while or when it has ended; with the report then, after which the ticket is void.
   * @throws ERR_MPOOL_NOT_FOUND for a ticket of nobody or somebody else; what scrub() throws
   */
  async wait(
    ticket: number,
    channel: ServerChannel,
    stop: boolean,
  ): Promise<ScrubProgress & { report?: ScrubReport }> {
    const scrub = this.#running.get(ticket);
    if (scrub === undefined || scrub.channel !== channel) {
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', `scrub ${ticket}`);
    }
    if (stop) scrub.stopping.abort();
    await new Promise<void>((resolve) => {
      const timer = this.#context.clock.after(ANSWER_MS, resolve);
      void scrub.ended.then(() => {
        timer.cancel();
        resolve();
      });
    });
    if (scrub.report === undefined && scrub.failure === undefined) return scrub.progress;
    this.#running.delete(ticket);
    if (scrub.failure !== undefined) throw scrub.failure;
    return { ...scrub.progress, report: scrub.report! };
  }
}

/** The first findings, as many as there is room for: the others are counted. */
function bounded(report: ScrubReport): ScrubReport {
  const omitted = { ...report.omitted };
  let bytes = 0;
  const findings = report.findings.filter((finding) => {
    bytes += Buffer.byteLength(JSON.stringify(finding));
    if (bytes <= FINDINGS_BYTES_MAX) return true;
    omitted[finding.structure] = (omitted[finding.structure] ?? 0) + 1;
    return false;
  });
  return { ...report, findings, omitted };
}
