/**
 * Numbers of what is asked and told, as they stand in frames. A number never changes its meaning and
 * is never used again: docs/daemon.md lists them for clients in other languages.
 */
import type { ControlRequests, Hello, Notices, PoolRequests, Welcome } from './protocol.ts';

/** Everything that can be asked: [what is asked, what is answered]. */
export interface Requests extends PoolRequests, ControlRequests {
  /** The first request of every connection. */
  hello: [Hello, Welcome];
}

export type Operation = keyof Requests;
export type NoticeName = keyof Notices;

const OPERATIONS = {
  hello: 1,

  info: 16,
  parameters: 17,
  setParameters: 18,
  usage: 19,
  devices: 20,
  addMediaClass: 21,
  grow: 22,
  sync: 23,
  stats: 24,
  'reaper.report': 25,

  'mblock.alloc': 32,
  'mblock.write': 33,
  'mblock.commit': 34,
  'mblock.abort': 35,
  'mblock.delete': 36,
  'mblock.lease': 37,
  'mblock.release': 38,
  'mblock.list': 39,

  'mlog.alloc': 48,
  'mlog.commit': 49,
  'mlog.abort': 50,
  'mlog.open': 51,
  'mlog.properties': 52,
  'mlog.delete': 53,
  'mlog.list': 54,

  'log.append': 64,
  'log.sync': 65,
  'log.read': 66,
  'log.skip': 67,
  'log.rewind': 68,
  'log.closeReader': 69,
  'log.erase': 70,
  'log.startCompaction': 71,
  'log.endCompaction': 72,
  'log.cancelCompaction': 73,
  'log.state': 74,
  'log.close': 75,

  'mdc.alloc': 80,
  'mdc.commit': 81,
  'mdc.abort': 82,
  'mdc.open': 83,
  'mdc.delete': 84,
  'mdc.list': 85,

  status: 128,
  pools: 129,
  scan: 130,
  create: 131,
  activate: 132,
  deactivate: 133,
  destroy: 134,
  rename: 135,
  add: 136,
  set: 137,
  clients: 138,
  metrics: 139,
  reaper: 140,
  reload: 141,
  shutdown: 142,
  scrub: 143,
  'scrub.wait': 144,
  'scrub.stop': 145,
} as const satisfies Record<Operation, number>;

const NOTICES = {
  closing: 1,
  revoked: 2,
  parameters: 3,
  devices: 4,
  reaper: 5,
} as const satisfies Record<NoticeName, number>;

const operationNames = namesOf(OPERATIONS);
const noticeNames = namesOf(NOTICES);

function namesOf<Name extends string>(table: Record<Name, number>): (Name | undefined)[] {
  const names: (Name | undefined)[] = [];
  for (const [name, number] of Object.entries<number>(table)) names[number] = name as Name;
  return names;
}

export function numberOfOperation(operation: Operation): number {
  return OPERATIONS[operation];
}

/** Undefined for a number of a later protocol. */
export function operationOfNumber(number: number): Operation | undefined {
  return operationNames[number];
}

export function numberOfNotice(notice: NoticeName): number {
  return NOTICES[notice];
}

export function noticeOfNumber(number: number): NoticeName | undefined {
  return noticeNames[number];
}
