import { invalidArgument, isMpoolError } from '../../base/errors.ts';
import { printObjectId } from '../../format/object-id.ts';
import type { LogState, RefusedRecord } from '../protocol.ts';
import { errorToWire } from '../wire-values.ts';
import { DONE, onPool, type PoolHandler } from './handler.ts';
import type { SessionLog } from './session-logs.ts';
import { flag, id, integer, list, maybe, record } from './shape.ts';
import { inSlots, withBytes } from './slot-bytes.ts';

/** Of one request: one JSON number each. */
const RECORDS_MAX = 65_536;
const READ_BYTES_DEFAULT = 2 ** 18;
const READ_BYTES_MAX = 2 ** 20;
/** What a client gives its logs and readers. */
const NUMBER_MAX = 2 ** 32 - 1;

const number = integer(0, NUMBER_MAX);
const ofLog = record({ log: number });
const ofReader = record({ log: number, reader: number });

export const logRequests: readonly PoolHandler[] = [
  onPool(
    'log.append',
    'write',
    record({
      log: number,
      lengths: list(integer(0, NUMBER_MAX), RECORDS_MAX),
      sync: maybe(flag),
      slots: maybe(inSlots),
    }),
    async (session, { log: logNumber, lengths, sync = false, slots }, request) => {
      const log = session.logs.get(logNumber);
      log.assertOwnCompaction();
      const refused = await withBytes(session, slots, request, (pieces) => {
        const records = recordsOf(pieces, lengths);
        session.countWritten(lengths.reduce((sum, length) => sum + length, 0));
        return appendAll(log, records, sync);
      });
      return { body: refused.length === 0 ? log.state : { ...log.state, refused } };
    },
  ),
  onPool('log.sync', 'write', ofLog, async (session, body) => {
    const log = session.logs.get(body.log);
    await log.sync();
    return { body: log.state };
  }),
  onPool(
    'log.read',
    'read',
    record({
      log: number,
      reader: number,
      maxBytes: maybe(integer(1, READ_BYTES_MAX)),
      maxRecordBytes: maybe(integer(0, NUMBER_MAX)),
    }),
    async (session, body, request) => {
      const { maxBytes = READ_BYTES_DEFAULT, maxRecordBytes } = body;
      const { lengths, payload, restBytes, generation } = await session.logs
        .get(body.log)
        .reading(body.reader)
        .read({ maxBytes, maxRecordBytes, room: () => request.room(maxBytes) });
      return {
        body: {
          lengths,
          ...(restBytes > 0 && { restBytes }),
          generation: printObjectId(generation),
        },
        payload,
      };
    },
  ),
  onPool(
    'log.skip',
    'read',
    record({ log: number, reader: number, lengthBytes: number }),
    async (session, body) => {
      await session.logs.get(body.log).reading(body.reader).skip(body.lengthBytes);
      return DONE;
    },
  ),
  onPool('log.rewind', 'read', ofReader, async (session, body) => {
    await session.logs.get(body.log).reading(body.reader).rewind();
    return DONE;
  }),
  onPool('log.closeReader', 'read', ofReader, async (session, body) => {
    await session.logs.get(body.log).closeReader(body.reader);
    return DONE;
  }),
  onPool('log.erase', 'write', record({ log: number, minGeneration: maybe(id) }), (session, body) =>
    changed(session.logs.get(body.log), (log) => log.erase(body.minGeneration)),
  ),
  onPool('log.startCompaction', 'write', ofLog, (session, body) =>
    changed(session.logs.get(body.log), (log) => log.startCompaction()),
  ),
  onPool('log.endCompaction', 'write', ofLog, (session, body) =>
    changed(session.logs.get(body.log), (log) => log.endCompaction()),
  ),
  onPool('log.cancelCompaction', 'write', ofLog, (session, body) =>
    changed(session.logs.get(body.log), (log) => log.cancelCompaction()),
  ),
  onPool('log.state', 'read', ofLog, (session, body) => ({
    body: session.logs.get(body.log).state,
  })),
  onPool('log.close', 'read', ofLog, async (session, body) => {
    await session.logs.close(body.log);
    return DONE;
  }),
];

async function changed(
  log: SessionLog,
  change: (log: SessionLog) => Promise<void>,
): Promise<{ body: LogState }> {
  await change(log);
  return { body: log.state };
}

/** Cuts the bytes of a request into its records; what lies in one piece is not copied. */
function recordsOf(pieces: readonly Uint8Array[], lengths: readonly number[]): Uint8Array[] {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  let at = 0;
  const records = lengths.map((length) => bytes.subarray(at, (at += length)));
  if (at !== bytes.length) {
    throw invalidArgument(`records of ${at} bytes came with ${bytes.length} bytes`);
  }
  return records;
}

/**
 * Appends all in one go, so that they lie one behind the other and share a flush.
 * @throws what refused the only one; what a sync failed with
 */
async function appendAll(
  log: SessionLog,
  records: readonly Uint8Array[],
  sync: boolean,
): Promise<RefusedRecord[]> {
  if (records.length === 1) {
    await log.append(records[0]!, { sync });
    return [];
  }
  const refusals = new Refusals();
  const appended: { index: number; done: Promise<void> }[] = [];
  for (const [index, bytes] of records.entries()) {
    if (refusals.refuses(index, bytes.length)) continue;
    const { recordCount } = log.state;
    const done = log.append(bytes, { sync: false });
    if (log.state.recordCount > recordCount) {
      // Looked at when all are ordered.
      done.catch(() => {});
      appended.push({ index, done });
      continue;
    }
    // Refused, or held up by the end of a compaction.
    await done.then(
      () => appended.push({ index, done }),
      (error: unknown) => refusals.add(index, bytes.length, error),
    );
  }
  const syncing = sync && appended.length > 0 ? log.sync() : undefined;
  const settled = appended.map(({ index, done }) =>
    done.catch((error: unknown) => refusals.add(index, Infinity, error)),
  );
  await Promise.all([...settled, syncing]);
  return refusals.list;
}

/**
 * Records that were not appended. When there is no room for one, or the log takes nothing any more, the rest
 * need not be tried: thousands of errors would cost the daemon's one thread more than all else that a client
 * can ask.
 */
class Refusals {
  readonly list: RefusedRecord[] = [];
  /** Records of so many bytes, or more, are refused like the last one. */
  #fromBytes = Infinity;

  add(index: number, lengthBytes: number, reason: unknown): void {
    const isForLength =
      isMpoolError(reason, 'ERR_MPOOL_LOG_FULL') || isMpoolError(reason, 'ERR_MPOOL_TOO_LARGE');
    this.#fromBytes = isForLength ? lengthBytes : 0;
    this.list.push({ index, count: 1, error: errorToWire(reason) });
  }

  /** True when the record is refused without being tried. */
  refuses(index: number, lengthBytes: number): boolean {
    if (lengthBytes < this.#fromBytes) return false;
    const last = this.list.at(-1)!;
    if (last.index + last.count === index) last.count += 1;
    else this.list.push({ index, count: 1, error: last.error });
    return true;
  }
}
