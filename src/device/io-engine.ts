/** A rung of the engine ladder: what carries requests to the kernel and back. */
export interface IoEngine {
  readonly name: EngineName;
  /** How the system took it away, and what carries requests instead. */
  readonly lost?: string | undefined;
  /** Starts the request; its complete() is called once, later, on this thread. */
  submit(request: IoRequest): void;
}

export type EngineName = 'io_uring' | 'aio' | 'threads';

/**
 * One operation on a descriptor, as the kernel takes it. The engine borrows it until it completes;
 * whoever made it keeps the memory at `address` alive.
 */
export interface IoRequest {
  readonly op: number;
  readonly fd: number;
  readonly address: number;
  readonly lengthBytes: number;
  readonly offsetBytes: number;
  readonly flags: number;
  /** Even what a ring takes without waiting for it may wait here: it is not to be started on this thread. */
  readonly mayBlock: boolean;
  /** @param result bytes moved, 0, or a negative errno */
  complete(result: number): void;
}
