import { MpoolError } from '../../base/errors.ts';
import type { PoolParameters } from '../../pool/api.ts';
import { accessOf, type Ownership, type PeerCredentials } from '../peer.ts';
import { socketMode } from '../rundir.ts';
import type { PoolAccess } from './handler.ts';

type Peer = Pick<PeerCredentials, 'uid' | 'gid' | 'groups'>;

const ROOT_UID = 0;

/**
 * Root, and the daemon's own user: they could open the devices without it. Only they may name paths for the
 * daemon to open, which it does with its own permissions.
 */
export function isManager(peer: Peer): boolean {
  return peer.uid === ROOT_UID || peer.uid === process.geteuid!();
}

/** What this peer may do with a pool of these parameters. */
export function poolAccessOf(peer: Peer, parameters: Ownership): PoolAccess | undefined {
  return isManager(peer) ? 'write' : accessOf(peer, parameters);
}

/**
 * As with files: the owner changes the mode, and the group to one of his own; only a manager
 * changes the owner.
 * @throws ERR_MPOOL_PERMISSION
 */
export function refuseOwnershipChange(
  peer: Peer,
  current: Ownership,
  changes: Partial<PoolParameters>,
): void {
  if (isManager(peer)) return;
  const changed = (key: keyof Ownership): boolean =>
    changes[key] !== undefined && changes[key] !== current[key];
  const isOwner = peer.uid === current.uid;
  const mayHaveGroup = peer.gid === changes.gid || peer.groups.includes(changes.gid ?? -1);
  const refused = changed('uid')
    ? 'uid'
    : changed('gid') && !(isOwner && mayHaveGroup)
      ? 'gid'
      : changed('mode') && !isOwner
        ? 'mode'
        : undefined;
  if (refused === undefined) return;
  throw new MpoolError(
    'ERR_MPOOL_PERMISSION',
    `user ${peer.uid} cannot change the pool's ${refused}`,
  );
}

/**
 * Owner and mode of a pool's socket. Who is not root cannot give files away: his socket stays his own, and
 * is for the group only where he is in it.
 */
export function socketOwnership({ uid, gid, mode }: Ownership): Ownership {
  const euid = process.geteuid!();
  const connectable = socketMode(mode);
  if (euid === ROOT_UID) return { uid, gid, mode: connectable };
  const own = process.getegid!();
  if (gid === own || process.getgroups!().includes(gid)) {
    return { uid: euid, gid, mode: connectable | 0o600 };
  }
  return { uid: euid, gid: own, mode: (connectable & ~0o070) | 0o600 };
}
