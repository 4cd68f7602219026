import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { systemErrno } from '../device/io-error.ts';
import { binding } from '../native/binding.ts';
import { connectionLost } from './channel.ts';
import { descriptorOf } from './descriptors.ts';

const { errno: E } = constants;
const ROOT_UID = 0;
const GROUPS_USUAL = 64;
/** NGROUPS_MAX of Linux. */
const GROUPS_MAX = 65536;

/** Who connected, as the kernel noted it at connect(2): what the process does later changes nothing. */
export interface PeerCredentials {
  /** 0: a process that this one cannot see (another PID namespace). */
  pid: number;
  uid: number;
  gid: number;
  /** Supplementary groups; `gid` may be among them or not. */
  groups: readonly number[];
  /** By which a process is told from a later one of the same id; undefined when /proc does not say. */
  startTicks: number | undefined;
}

/** Whose a pool is: its parameters uid, gid and mode. */
export interface Ownership {
  uid: number;
  gid: number;
  mode: number;
}

/** @throws ERR_MPOOL_CONNECTION_LOST when the socket is closed already */
export function credentialsOf(socket: Socket): PeerCredentials {
  const fd = descriptorOf(socket);
  const out = new Uint32Array(3);
  if (binding.peerCredentials(fd, out) < 0) throw connectionLost('closed before it was looked at');
  const [pid, uid, gid] = out as unknown as [number, number, number];
  const { startTicks } = pid === 0 ? {} : (statusOf(pid) ?? {});
  return { pid, uid, gid, groups: groupsOf(fd), startTicks };
}

function groupsOf(fd: number): number[] {
  for (const count of [GROUPS_USUAL, GROUPS_MAX]) {
    const out = new Uint32Array(count);
    const found = binding.peerGroups(fd, out);
    if (found >= 0) return [...out.subarray(0, found)];
    if (found !== -E.ERANGE) break;
  }
  throw connectionLost('closed before it was looked at');
}

/**
 * What the owner, group and mode of a pool let this peer do: as with files, the first class that fits
 * decides. Root may always write.
 */
export function accessOf(
  peer: Pick<PeerCredentials, 'uid' | 'gid' | 'groups'>,
  { uid, gid, mode }: Ownership,
): 'write' | 'read' | undefined {
  if (peer.uid === ROOT_UID) return 'write';
  const isMember = peer.gid === gid || peer.groups.includes(gid);
  const bits = peer.uid === uid ? mode >> 6 : isMember ? mode >> 3 : mode;
  if ((bits & 0o2) !== 0) return 'write';
  return (bits & 0o4) !== 0 ? 'read' : undefined;
}

/** False when the process is gone for certain, with all that it had mapped. */
export function peerAlive({ pid, startTicks }: PeerCredentials): boolean {
  if (pid === 0) return true;
  if (startTicks === undefined) return existsForSignals(pid);
  const status = statusOf(pid);
  // Gone, or not to be looked at: this process may have no descriptor left.
  if (status === undefined) return existsForSignals(pid);
  if (status.startTicks !== startTicks) return false;
  // A zombie has no memory any more, unless only its first thread ended.
  return !(status.state === 'Z' || status.state === 'X') || status.threadCount > 1;
}

function existsForSignals(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemErrno(error) !== -E.ESRCH;
  }
}

interface Status {
  state: string;
  threadCount: number;
  startTicks: number;
}

/** Of proc(5), /proc/PID/stat: fields 3, 20 and 22; the name in field 2 may hold anything. */
function statusOf(pid: number): Status | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    state: fields[0] ?? '',
    threadCount: Number(fields[17]),
    startTicks: Number(fields[19]),
  };
}
