import { abandonable, abandonableItems, type WaitOptions } from '../../base/abandon.ts';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { isMlogId, type MlogId, printObjectId } from '../../format/object-id.ts';
import type { Mdc, MdcAllocation, MdcId, MdcProperties, Mdcs } from '../../pool/api.ts';
import { mdcOf } from '../../pool/mdcs.ts';
import { checkLogOptions } from '../../pool/mlogs.ts';
import { checkOptions } from '../../pool/parameters.ts';
import { idsFromWire, idsToWire } from '../wire-values.ts';
import { ClientAllocation } from './client-allocation.ts';
import { ClientMdc } from './client-mdc.ts';
import { allocRequest, type LogOptions } from './client-mlogs.ts';
import { listed } from './listed.ts';
import { Compaction, OpenMdc } from './open-mdc.ts';
import { OpenLogs } from './open-logs.ts';
import type { Session } from './session.ts';

export class ClientMdcs implements Mdcs {
  readonly #session: Session;
  /** By the id of log A. */
  readonly #open: OpenLogs<OpenMdc>;
  #rootId: MdcId | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.#open = new OpenLogs(session);
  }

  async alloc(options: LogOptions): Promise<MdcAllocation> {
    const session = this.#session;
    checkLogOptions(options);
    session.assertWritable();
    const attachment = session.attachment ?? (await session.attached());
    const { body } = await session.requestOn(attachment, 'mdc.alloc', allocRequest(options));
    const id = idsFromWire<MdcId>(body, 'logA', 'logB');
    const allocation = new ClientAllocation(session, attachment, id.logA, {
      commit: () => session.requestOn(attachment, 'mdc.commit', body),
      abort: () => session.requestOn(attachment, 'mdc.abort', body),
    });
    return {
      id,
      commit: () => allocation.commit(),
      abort: () => allocation.abort(),
      [Symbol.asyncDispose]: () => allocation.release(),
    };
  }

  open(id: MdcId, options?: WaitOptions): Promise<Mdc> {
    return abandonable('open', options?.signal, () => this.#openHandle(id), letGo);
  }

  async #openHandle(id: MdcId): Promise<Mdc> {
    checkMdcId(id);
    const session = this.#session;
    session.assertOpen();
    const { logA, logB } = id;
    const asked = idsToWire({ logA, logB }, 'logA', 'logB');
    const name = `MDC ${printObjectId(logA)}`;
    const compaction = new Compaction(name);
    const open = await this.#open.open(
      logA,
      {
        name,
        open: async (attachment) => {
          return (await session.requestOn(attachment, 'mdc.open', asked)).body;
        },
        guard: compaction.guard,
      },
      (log) => new OpenMdc({ logA, logB }, log, compaction),
    );
    if (open.id.logB === logB) return new ClientMdc(session, open);
    throw invalidArgument(
      `mlogs ${printObjectId(logA)} and ${printObjectId(logB)} are not the logs of one MDC`,
    );
  }

  root(options?: WaitOptions): Promise<Mdc> {
    const work = async (): Promise<Mdc> => {
      this.#session.assertOpen();
      return this.#openHandle(await this.#root());
    };
    return abandonable('root', options?.signal, work, letGo);
  }

  async delete(id: MdcId): Promise<void> {
    checkMdcId(id);
    this.#session.assertWritable();
    const { logA, logB } = id;
    // One that is being closed and opened again at once is so for the daemon at no moment; the root MDC it
    // refuses for a better reason.
    const isOpen = this.#open.has(logA) && mdcOf(logA).logB === logB;
    if (isOpen && logA !== (await this.#root()).logA) {
      throw new MpoolError('ERR_MPOOL_BUSY', `MDC ${printObjectId(logA)} is open`);
    }
    await this.#session.request('mdc.delete', idsToWire({ logA, logB }, 'logA', 'logB'));
  }

  /** It stays the same as long as the pool lives. */
  async #root(): Promise<MdcId> {
    if (this.#rootId === undefined) {
      const { rootMdc } = (await this.#session.request('info', {})).body;
      this.#rootId = idsFromWire<MdcId>(rootMdc, 'logA', 'logB');
    }
    return this.#rootId;
  }

  list(options?: WaitOptions): AsyncIterable<MdcProperties> {
    return abandonableItems('list', options?.signal, this.#list());
  }

  async *#list(): AsyncGenerator<MdcProperties> {
    this.#session.assertOpen();
    yield* listed(this.#session, async (after) => {
      const asked = after === undefined ? {} : { after };
      const { mdcs, done } = (await this.#session.request('mdc.list', asked)).body;
      const items = mdcs.map((each) => ({
        ...each,
        id: idsFromWire<MdcId>(each.id, 'logA', 'logB'),
      }));
      return { items, lastId: mdcs.at(-1)?.id.logA, done };
    });
  }
}

function checkMdcId(id: MdcId): void {
  checkOptions(id ?? null);
  const { logA, logB } = id as { logA: MlogId | undefined; logB: MlogId | undefined };
  if (isMlogId(logA) && isMlogId(logB)) return;
  throw invalidArgument('an MDC has the ids of two mlogs', 'type');
}

/** One that opens after all is nobody's. */
function letGo(mdc: Mdc): void {
  mdc.close().catch(() => {});
}
