import { abandonable, abandonableItems, type WaitOptions } from '../../base/abandon.ts';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { isMlogId, type MlogId, printObjectId } from '../../format/object-id.ts';
import type {
  ListOptions,
  MediaClass,
  Mlog,
  MlogAllocation,
  MlogProperties,
  Mlogs,
  OpenMlogOptions,
} from '../../pool/api.ts';
import { checkMediaClass } from '../../pool/media.ts';
import { checkLogOptions } from '../../pool/mlogs.ts';
import { checkArray, checkOptions } from '../../pool/parameters.ts';
import { idFromWire, idsFromWire, idToWire } from '../wire-values.ts';
import { ClientAllocation } from './client-allocation.ts';
import { ClientMlog } from './client-mlog.ts';
import { listed } from './listed.ts';
import { OpenLogs } from './open-logs.ts';
import type { RemoteLog } from './remote-log.ts';
import type { Session } from './session.ts';

interface OpenMlog {
  readonly log: RemoteLog;
  readonly compactionSemantics: boolean;
}

export interface LogOptions {
  capacityBytes: number;
  mediaClass?: MediaClass | undefined;
  spare?: boolean | undefined;
}

export class ClientMlogs implements Mlogs {
  readonly #session: Session;
  readonly #open: OpenLogs<OpenMlog>;
  /** What could be read of damaged ones. */
  readonly #salvaged: OpenLogs<OpenMlog>;

  constructor(session: Session) {
    this.#session = session;
    this.#open = new OpenLogs(session);
    this.#salvaged = new OpenLogs(session);
  }

  async alloc(options: LogOptions): Promise<MlogAllocation> {
    const session = this.#session;
    checkLogOptions(options);
    session.assertWritable();
    const attachment = session.attachment ?? (await session.attached());
    const { body } = await session.requestOn(attachment, 'mlog.alloc', allocRequest(options));
    const id = idFromWire(body.id, 'id') as MlogId;
    const asked = { id: body.id };
    const allocation = new ClientAllocation(session, attachment, id, {
      commit: () => session.requestOn(attachment, 'mlog.commit', asked),
      abort: () => session.requestOn(attachment, 'mlog.abort', asked),
    });
    return {
      id,
      capacityBytes: body.capacityBytes,
      commit: () => allocation.commit(),
      abort: () => allocation.abort(),
      [Symbol.asyncDispose]: () => allocation.release(),
    };
  }

  open(id: MlogId, options: OpenMlogOptions = {}): Promise<Mlog> {
    // One that opens after all is nobody's.
    const letGo = (log: Mlog): void => void log.close().catch(() => {});
    return abandonable('open', options?.signal, () => this.#openHandle(id, options), letGo);
  }

  async #openHandle(id: MlogId, options: OpenMlogOptions): Promise<Mlog> {
    checkOptions(options);
    checkMlogId(id);
    const session = this.#session;
    session.assertOpen();
    const wanted = options.compactionSemantics === true;
    const salvage = options.salvage === true;
    const how = salvage ? { salvage } : wanted ? { compactionSemantics: true } : {};
    const asked = { id: idToWire(id), ...how };
    const logs = salvage ? this.#salvaged : this.#open;
    const { log, compactionSemantics } = await logs.open(
      id,
      {
        name: `mlog ${printObjectId(id)}`,
        open: async (attachment) => {
          return (await session.requestOn(attachment, 'mlog.open', asked)).body;
        },
      },
      (opened) => ({ log: opened, compactionSemantics: wanted }),
    );
    if (wanted && !compactionSemantics) {
      throw invalidArgument(`mlog ${printObjectId(id)} is open without compactionSemantics`);
    }
    return new ClientMlog(session, id, log, compactionSemantics);
  }

  properties(id: MlogId, options?: WaitOptions): Promise<MlogProperties> {
    return abandonable('properties', options?.signal, () => this.#properties(id));
  }

  async #properties(id: MlogId): Promise<MlogProperties> {
    checkMlogId(id);
    this.#session.assertOpen();
    await (await this.#open.get(id))?.log.settle();
    const { body } = await this.#session.request('mlog.properties', { id: idToWire(id) });
    return idsFromWire<MlogProperties>(body, 'id', 'generation');
  }

  async delete(ids: readonly MlogId[]): Promise<void> {
    checkArray('ids', ids);
    this.#session.assertWritable();
    for (const id of ids) checkMlogId(id);
    for (const id of ids) {
      // One that is being closed and opened again at once is so for the daemon at no moment.
      if (this.#open.has(id)) throw new MpoolError('ERR_MPOOL_BUSY', `mlog ${printObjectId(id)}`);
    }
    if (ids.length > 0) await this.#session.request('mlog.delete', { ids: ids.map(idToWire) });
  }

  list(options: ListOptions = {}): AsyncIterable<MlogProperties> {
    return abandonableItems('list', options?.signal, this.#list(options));
  }

  async *#list(options: ListOptions): AsyncGenerator<MlogProperties> {
    checkOptions(options);
    if (options.mediaClass !== undefined) checkMediaClass(options.mediaClass);
    this.#session.assertOpen();
    const { mediaClass } = options;
    yield* listed(this.#session, async (after) => {
      const asked = { ...(after !== undefined && { after }), ...(mediaClass && { mediaClass }) };
      const { mlogs, done } = (await this.#session.request('mlog.list', asked)).body;
      const items = mlogs.map((each) => idsFromWire<MlogProperties>(each, 'id', 'generation'));
      return { items, lastId: mlogs.at(-1)?.id, done };
    });
  }
}

export function allocRequest({ capacityBytes, mediaClass, spare }: LogOptions) {
  return {
    capacityBytes,
    ...(mediaClass !== undefined && { mediaClass }),
    ...(spare === true && { spare: true }),
  };
}

function checkMlogId(id: MlogId): void {
  if (!isMlogId(id)) throw invalidArgument(`${String(id)} is not the id of an mlog`, 'type');
}
