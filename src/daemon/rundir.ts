/**
 * The directory of sockets: `ctl`, one for each active pool under its name, and the lock that makes one
 * daemon of it.
 *
 *   mpoold.lock   held with flock(2) while the daemon lives; its text is the daemon's pid
 *   .new/         sockets are made here, given their owner and mode, and moved to their place: nobody
 *                 connects to one that is still too open, and a dead daemon's is replaced in one step
 */
import { constants as flags } from 'node:fs';
import { chmod, chown, lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { createConnection } from 'node:net';
import type { Server } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { pathError, systemErrno } from '../device/io-error.ts';
import { binding, LOCK_EXCLUSIVE } from '../native/binding.ts';
import type { Ownership } from './peer.ts';

const { errno: E } = constants;
/** sockaddr_un.sun_path without its zero. */
const PATH_BYTES_MAX = 107;
const SYSTEM_RUNDIR = '/run/mpool';
export const CONTROL_SOCKET = 'ctl';
const LOCK_FILE = 'mpoold.lock';
const NEW_FOLDER = '.new';
const RESERVED = new Set([CONTROL_SOCKET, LOCK_FILE, NEW_FOLDER, '.', '..']);
const GROUP_OR_OTHERS_WRITE = 0o022;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where a daemon of this user keeps its sockets: $MPOOL_RUNDIR; else /run/mpool for root; else
 * $XDG_RUNTIME_DIR/mpool.
 * @throws ERR_MPOOL_NOT_FOUND when none is set
 */
export function rundirPath(env: Environment = process.env, uid = process.geteuid!()): string {
  const path = ownRundir(env, uid);
  if (path !== undefined) return path;
  throw new MpoolError(
    'ERR_MPOOL_NOT_FOUND',
    'no directory for the daemon: set MPOOL_RUNDIR, or XDG_RUNTIME_DIR',
  );
}

function ownRundir(env: Environment, uid: number): string | undefined {
  const { MPOOL_RUNDIR: set = '', XDG_RUNTIME_DIR: session = '' } = env;
  if (set !== '') return set;
  if (uid === 0) return SYSTEM_RUNDIR;
  return session === '' ? undefined : join(session, 'mpool');
}

/** Where a client of this user looks for a daemon, in order: the user's own before the system's. */
export function rundirCandidates(
  env: Environment = process.env,
  uid = process.geteuid!(),
): string[] {
  const own = ownRundir(env, uid);
  if (own === undefined) return [SYSTEM_RUNDIR];
  const isSaid = (env['MPOOL_RUNDIR'] ?? '') !== '';
  return isSaid || uid === 0 ? [own] : [own, SYSTEM_RUNDIR];
}

/**
 * Those of them that can be trusted: one that is not said but found must be root's, or this user's own, or
 * anyone could serve pools of names that he expects elsewhere.
 */
export async function trustedRundirs(
  env: Environment = process.env,
  uid = process.geteuid!(),
): Promise<string[]> {
  const candidates = rundirCandidates(env, uid);
  if ((env['MPOOL_RUNDIR'] ?? '') !== '') return candidates;
  const owners = await Promise.all(
    candidates.map((path) =>
      lstat(path).then(
        ({ uid: owner }) => owner,
        () => uid,
      ),
    ),
  );
  return candidates.filter((_, i) => owners[i] === 0 || owners[i] === uid);
}

export function controlSocketPath(rundir: string): string {
  return checkedPath(join(rundir, CONTROL_SOCKET));
}

/** @throws RangeError for a path that no socket can have, and for the names of the daemon's own files */
export function poolSocketPath(rundir: string, poolName: string): string {
  if (RESERVED.has(poolName) || poolName.includes('/') || poolName === '') {
    throw invalidArgument(`a pool named '${poolName}' cannot be served: rename it`);
  }
  return checkedPath(join(rundir, poolName));
}

function checkedPath(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes <= PATH_BYTES_MAX) return path;
  throw invalidArgument(
    `${path}: ${bytes} bytes, and a socket's path has at most ${PATH_BYTES_MAX}: ` +
      'set MPOOL_RUNDIR to a shorter directory',
  );
}

/**
 * Mode of the socket of a pool of that mode: connecting takes write permission, so each class that may
 * read or write has both. The daemon looks again at who connected.
 */
export function socketMode(poolMode: number): number {
  let mode = 0;
  for (const shift of [6, 3, 0]) if (((poolMode >> shift) & 0o6) !== 0) mode |= 0o6 << shift;
  return mode;
}

/** The daemon's hold on its directory. */
export class Rundir {
  readonly path: string;
  readonly #lock: FileHandle;
  #made = 0;

  private constructor(path: string, lock: FileHandle) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes the directory where it is not there (0755 for root, else 0700), and locks it.
   * @throws ERR_MPOOL_BUSY naming the daemon that has it; ERR_MPOOL_PERMISSION when the directory is
   *   another user's, or others may write to it; RangeError when its path is too long
   */
  static async open(path: string): Promise<Rundir> {
    checkedPath(join(path, NEW_FOLDER, '0000'));
    try {
      await makeFolder(path, process.geteuid!() === 0 ? 0o755 : 0o700);
      const lock = await takeLock(join(path, LOCK_FILE));
      try {
        await rm(join(path, NEW_FOLDER), { recursive: true, force: true });
        await mkdir(join(path, NEW_FOLDER), { mode: 0o700 });
        return new Rundir(path, lock);
      } catch (error) {
        await lock.close();
        throw error;
      }
    } catch (error) {
      throw pathError(error, path);
    }
  }

  /**
   * Lets the server listen on a socket of this directory, which replaces one that nobody listens on.
   * @param path of controlSocketPath() or poolSocketPath()
   * @param ownership the mode is the socket's own: see socketMode()
   * @throws ERR_MPOOL_BUSY when a live process listens there; ERR_MPOOL_EXISTS when what is there is no
   *   socket; ERR_MPOOL_PERMISSION when this user cannot give the socket away
   */
  async listen(server: Server, path: string, ownership: Ownership): Promise<void> {
    await checkReplaceable(path);
    const fresh = join(this.path, NEW_FOLDER, String(this.#made++ % 10_000));
    try {
      await listening(server, fresh);
      await this.#own(fresh, ownership);
      await rename(fresh, path);
    } catch (error) {
      server.close();
      await rm(fresh, { force: true });
      throw pathError(error, path);
    }
  }

  /** Changes who may connect; who is connected stays. @throws ERR_MPOOL_PERMISSION */
  async setOwnership(path: string, ownership: Ownership): Promise<void> {
    try {
      await this.#own(path, ownership);
    } catch (error) {
      throw pathError(error, path);
    }
  }

  /** Removes a socket's file, when it is there. The server is closed by its owner. */
  async remove(path: string): Promise<void> {
    await rm(path, { force: true });
  }

  /** Gives the directory up, which stays. */
  async close(): Promise<void> {
    await rm(join(this.path, NEW_FOLDER), { recursive: true, force: true });
    // The lock file stays: another daemon may be waiting for its lock.
    await this.#lock.close();
  }

  async #own(path: string, { uid, gid, mode }: Ownership): Promise<void> {
    await chown(path, uid, gid);
    await chmod(path, mode);
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
    // Whatever the umask is.
    await chmod(path, mode);
  } catch (error) {
    if (systemErrno(error) !== -E.EEXIST) throw error;
  }
  const facts = await lstat(path);
  const refuse = (why: string): MpoolError =>
    new MpoolError('ERR_MPOOL_PERMISSION', `${path}: ${why}`, { path });
  if (!facts.isDirectory()) throw refuse('is no directory');
  if (facts.uid !== process.geteuid!()) throw refuse(`belongs to user ${facts.uid}`);
  if ((facts.mode & GROUP_OR_OTHERS_WRITE) !== 0) throw refuse('others may write to it');
}

async function takeLock(path: string): Promise<FileHandle> {
  const file = await open(path, flags.O_RDWR | flags.O_CREAT | flags.O_NOFOLLOW, 0o644);
  try {
    const result = binding.lock(file.fd, LOCK_EXCLUSIVE);
    if (result < 0) {
      const holder = (await readFile(path, 'latin1')).trim();
      const who = /^\d+$/.test(holder) ? `the daemon of pid ${holder}` : 'another daemon';
      throw new MpoolError('ERR_MPOOL_BUSY', `${path}: ${who} is at work here`, {
        errno: result,
        syscall: 'flock',
        path,
      });
    }
    await file.truncate(0);
    await file.write(`${process.pid}\n`, 0);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/** Only the socket of a dead process may be replaced. */
export async function checkReplaceable(path: string): Promise<void> {
  const facts = await lstat(path).catch(() => undefined);
  if (facts === undefined) return;
  if (!facts.isSocket()) {
    throw new MpoolError('ERR_MPOOL_EXISTS', `${path}: is no socket`, { path });
  }
  if (await isLive(path)) {
    throw new MpoolError('ERR_MPOOL_BUSY', `${path}: another process listens there`, { path });
  }
}

/** Whether someone listens on a socket; a full backlog is someone. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.on('connect', () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', (error) => {
      const errno = systemErrno(error);
      resolve(errno !== -E.ENOENT && errno !== -E.ECONNREFUSED);
    });
  });
}
