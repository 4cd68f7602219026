/** Ids of objects as users write them. */
import { isMblockId, isMlogId, parseObjectId } from '../../format/object-id.ts';
import type { MblockId, MdcId, MlogId } from '../../pool/api.ts';
import type { Positional } from '../command.ts';
import { UsageError } from '../usage-error.ts';

export const MBLOCK_IDS: Positional = {
  name: 'ID',
  meaning: 'id of an mblock, 0x…',
  count: 'some',
};

/** @throws UsageError for what is no mblock's id */
export function readMblockId(text: string): MblockId {
  const id = parseObjectId(text);
  if (isMblockId(id)) return id;
  throw new UsageError(`'${text}' is not the id of an mblock (0x…)`);
}

/** @throws UsageError for what is no mlog's id */
export function readMlogId(text: string): MlogId {
  const id = parseObjectId(text);
  if (isMlogId(id)) return id;
  throw new UsageError(`'${text}' is not the id of an mlog (0x…)`);
}

export function printMdcId(id: MdcId): string {
  return `0x${id.logA.toString(16)},0x${id.logB.toString(16)}`;
}

/** '0x…,0x…' as printMdcId() prints it, or 'root'. @throws UsageError */
export function readMdcId(text: string): MdcId | 'root' {
  if (text === 'root') return 'root';
  const [a = '', b = '', more] = text.split(',');
  const logA = parseObjectId(a);
  const logB = parseObjectId(b);
  if (more === undefined && isMlogId(logA) && isMlogId(logB)) return { logA, logB };
  throw new UsageError(`'${text}' is not the id of an MDC (0x…,0x… or root)`);
}
