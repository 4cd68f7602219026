import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { Channel, connectionLost } from './channel.ts';
import type { Payload } from './channel.ts';
import { noticeOfNumber, numberOfOperation } from './operations.ts';
import type { NoticeName, Operation, Requests } from './operations.ts';
import type { Hello, Notices, Welcome } from './protocol.ts';
import { errorFromWire } from './wire-values.ts';
import { FRAME_BYTES_MAX, KIND_DONE, KIND_ERROR, protocolError } from './wire.ts';
import type { Frame } from './wire.ts';

const { errno: E } = constants;
const CONNECT_MS = 5000;
const ID_MAX = 2 ** 32 - 1;

export interface Answer<Body> {
  /** As the daemon sent it. */
  body: Body;
  /** The receiver's own; empty when there was none. */
  payload: Uint8Array;
}

export type NoticeHandler = <Name extends NoticeName>(name: Name, body: Notices[Name]) => void;

export interface ConnectOptions {
  /** Called for every notice but `closing`, which `ended` tells. */
  onNotice?: NoticeHandler | undefined;
  /** Of connecting and the hello: 5,000 by default. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

interface Pending {
  resolve: (answer: Answer<unknown>) => void;
  reject: (error: Error) => void;
}

/** The end that asks. It keeps the process alive only while something is asked. */
export class ClientChannel extends Channel {
  readonly #pending = new Map<number, Pending>();
  readonly #onNotice: NoticeHandler | undefined;
  #lastId = 0;
  #welcome: Welcome | undefined;
  #farewell: MpoolError | undefined;

  private constructor(socket: Socket, onNotice: NoticeHandler | undefined) {
    super(socket, FRAME_BYTES_MAX);
    this.#onNotice = onNotice;
    // Not before the socket is closed: until then it may be sending what callers lent.
    void this.ended.then((end) => this.#rejectAll(end.error));
  }

  /**
   * Connects and says hello.
   * @throws what the daemon refuses with; ERR_MPOOL_PROTOCOL when it admits, but speaks another version
   *   of the protocol or says none; ERR_MPOOL_NOT_FOUND when nobody listens there;
   *   ERR_MPOOL_ACCESS when the socket's mode forbids it; ERR_MPOOL_CONNECTION_LOST when the connection
   *   ends before the answer, or none comes in time; ERR_MPOOL_ABORTED by the signal
   */
  static async connect(
    path: string,
    hello: Hello,
    options: ConnectOptions = {},
  ): Promise<ClientChannel> {
    const { onNotice, timeoutMs = CONNECT_MS, signal } = options;
    if (signal?.aborted === true) throw aborted(signal);
    const socket = createConnection({ path });
    const channel = new ClientChannel(socket, onNotice);
    let why: MpoolError | undefined;
    const give = (error: MpoolError): void => {
      why ??= error;
      channel.destroy();
    };
    const onAbort = (): void => give(aborted(signal!));
    signal?.addEventListener('abort', onAbort);
    socket.on('error', (error) => (why ??= connectError(error, path)));
    const timer = channel.clock.after(timeoutMs, () =>
      give(connectionLost(`${path}: no answer within ${timeoutMs} ms`)),
    );
    try {
      const { body } = await channel.request('hello', hello);
      if (body.protocol !== hello.protocol) {
        const theirs = typeof body.protocol === 'number' ? body.protocol : 'none';
        throw protocolError(`the daemon speaks protocol ${theirs}, this client ${hello.protocol}`);
      }
      channel.#welcome = body;
      return channel;
    } catch (error) {
      channel.destroy();
      throw isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST') ? (why ?? error) : error;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** What the daemon answered to the hello. */
  get welcome(): Welcome {
    return this.#welcome!;
  }

  get requestsInFlight(): number {
    return this.#pending.size;
  }

  /**
   * Asks. Frames of one turn leave in one write.
   * @param payload borrowed until the promise settles
   * @throws what the daemon answers: MpoolError, RangeError or TypeError as they were thrown there;
   *   ERR_MPOOL_CONNECTION_LOST when the connection ends first (nothing was asked when `open` was false
   *   before); RangeError when the message is longer than a frame
   */
  request<Op extends Operation>(
    operation: Op,
    body: Requests[Op][0],
    payload?: Payload,
  ): Promise<Answer<Requests[Op][1]>> {
    return new Promise((resolve, reject) => {
      if (!this.open) throw connectionLost('not connected: nothing was asked');
      const id = this.#nextId();
      this.writer.frame(id, numberOfOperation(operation), body, payload);
      if (this.#pending.size === 0) this.socket.ref();
      this.#pending.set(id, { resolve: resolve as Pending['resolve'], reject });
    });
  }

  /** What was asked in this turn leaves now. */
  flush(): void {
    this.writer.flush();
  }

  protected override onFrames(): void {
    for (;;) {
      const frame = this.open ? this.decoder.next() : undefined;
      if (frame === undefined) return;
      if (frame.id === 0) this.#notice(frame);
      else this.#answer(frame);
    }
  }

  protected override onFlushed(): void {
    // A client may queue what it likes: it is its own memory.
  }

  protected override onStop(): void {
    // What was asked is rejected once the socket is closed.
  }

  protected override farewell(): MpoolError | undefined {
    return this.#farewell;
  }

  #rejectAll(error: MpoolError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }

  #nextId(): number {
    do {
      this.#lastId = this.#lastId === ID_MAX ? 1 : this.#lastId + 1;
    } while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #answer({ id, kind, body, payload }: Frame): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) throw protocolError(`an answer to ${id}, which was not asked`);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.socket.unref();
    if (kind === KIND_DONE) pending.resolve({ body, payload });
    else if (kind === KIND_ERROR) pending.reject(errorFromWire(body));
    else pending.reject(protocolError(`an answer of kind ${kind}`));
  }

  #notice({ kind, body }: Frame): void {
    const name = noticeOfNumber(kind);
    // A later daemon may tell what this client does not know.
    if (name === undefined) return;
    if (name === 'closing') {
      const error = errorFromWire({ name: 'MpoolError', ...body });
      this.#farewell = error instanceof MpoolError ? error : undefined;
    } else {
      this.#onNotice?.(name, body);
    }
  }
}

function aborted(signal: AbortSignal): MpoolError {
  return new MpoolError('ERR_MPOOL_ABORTED', 'connecting', { cause: signal.reason });
}

function connectError(error: NodeJS.ErrnoException, path: string): MpoolError {
  const { errno = -E.EIO } = error;
  const details = { errno, syscall: 'connect', path, cause: error };
  if (errno === -E.EACCES || errno === -E.EPERM) {
    return new MpoolError('ERR_MPOOL_ACCESS', path, details);
  }
  if (errno === -E.ENOENT || errno === -E.ECONNREFUSED || errno === -E.ENOTDIR) {
    return new MpoolError('ERR_MPOOL_NOT_FOUND', `${path}: no daemon listens there`, details);
  }
  return new MpoolError('ERR_MPOOL_CONNECTION_LOST', path, details);
}
