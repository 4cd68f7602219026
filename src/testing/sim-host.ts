import { dirname } from 'node:path';
import { constants } from 'node:os';
import { assert, InvariantError } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { SeededPrng } from '../base/prng.ts';
import type { Prng } from '../base/prng.ts';
import type { Device } from '../device/device.ts';
import type { Host, OpenDeviceOptions, PathInfo } from '../device/host.ts';
import { ioError } from '../device/io-error.ts';
import { mcacheOn } from '../mcache/mcache.ts';
import type { Environment, Mcache } from '../pool/environment.ts';
import type { Fault, FaultEffect, FaultRule, OperationInfo, SimOperation } from './faults.ts';
import { Operations } from './operations.ts';
import { FaultyDisk } from './faulty-disk.ts';
import { SimBuffers } from './sim-buffers.ts';
import { SimClock } from './sim-clock.ts';
import { SimDevice } from './sim-device.ts';
import type { DeviceContext } from './sim-device.ts';
import { pieceCountOf, SimDisk } from './sim-disk.ts';
import type { Change, SimDiskOptions } from './sim-disk.ts';
import { noneSurvive } from './survivors.ts';
import { touchPages } from './sim-mapping.ts';
import { SimMemory } from './sim-memory.ts';
import { SimPageCache } from './sim-page-cache.ts';
import type { SurvivorPolicy, VolatileOperation } from './survivors.ts';
import type { OperationEvent, Trace } from './trace.ts';

export interface SimHostOptions {
  /** All that is random comes from it: the same seed and calls give the same run. */
  seed?: number | undefined;
  clock?: SimClock | undefined;
  /** Operations complete in the order of submission; by default in a random one. */
  inOrder?: boolean | undefined;
  /** Sector size of files that createFile() makes; 512 by default. */
  fileSectorBytes?: 512 | 4096 | undefined;
  /** What a discarded range then holds; by default zeros, garbage or the old content, at random. */
  discardLeaves?: 'zeros' | 'anything' | undefined;
  /**
   * A view of mapped pages uses all of them at once: they are read, and it throws when they cannot be. By
   * default it reads nothing before touch() or a read through the mapping does, and shows what is there.
   */
  viewsTouch?: boolean | undefined;
  /** Keep the trace's events, not only their hash; true by default. */
  keepTrace?: boolean | undefined;
  /** Called at each submission and each completion. Must not throw. */
  onOperation?: ((event: OperationEvent) => void) | undefined;
  /** Called when the store breaks the Device contract; by default throws an InvariantError. */
  onViolation?: ((message: string) => void) | undefined;
}

/** A file whose name or size is about to change. */
interface FileChange {
  op: 'create' | 'grow' | 'remove';
  order: number;
  path: string;
  sizeBytes: number;
}

type Volatile = VolatileOperation & { subject: Change | FileChange };

/** Where a host comes from that is no first one. */
interface Origin {
  /** How many hosts came before it: so that it draws other random bits than they did. */
  boot: number;
  /** Above every operation number that its disks remember. */
  firstNumber: number;
}

interface Claim {
  writers: number;
  readers: number;
}

const { EINVAL, EIO } = constants.errno;

/**
 * A simulated machine: disks under paths, deterministic to the last completion, whose power can be cut
 * after any operation and whose disks can fail in every way that real ones do.
 */
export class SimHost implements Host {
  readonly clock: SimClock;
  /** For the store that runs on this host: other bits after each crash() and clone(). */
  readonly prng: Prng;
  readonly memory = new SimMemory();
  readonly seed: number;
  readonly #options: SimHostOptions;
  readonly #origin: Origin;
  readonly #operations: Operations;
  readonly #context: DeviceContext;
  readonly #buffers = new SimBuffers();
  readonly #disks = new Map<string, SimDisk>();
  readonly #caches = new Map<SimDisk, SimPageCache>();
  readonly #claims = new Map<SimDisk, Claim>();
  readonly #fileChanges = new Set<FileChange>();
  #mcache: Mcache | undefined;

  /** @param origin given by crash() and clone() */
  constructor(options: SimHostOptions = {}, origin: Origin = { boot: 0, firstNumber: 0 }) {
    this.seed = options.seed ?? 1;
    this.clock = options.clock ?? new SimClock();
    this.#options = options;
    this.#origin = origin;
    this.prng = this.#stream(0);
    this.#operations = new Operations({
      clock: this.clock,
      seed: this.#stream(1).u32(),
      firstNumber: origin.firstNumber,
      inOrder: options.inOrder ?? false,
      keepTrace: options.keepTrace ?? true,
      onOperation: options.onOperation,
    });
    this.#context = {
      operations: this.#operations,
      buffers: this.#buffers,
      prng: this.#stream(2),
      discardLeaves: options.discardLeaves ?? 'anything',
      violation: options.onViolation ?? fail,
      memory: this.memory,
      viewsTouch: options.viewsTouch ?? false,
      cacheOf: (disk, path) => this.#cacheOf(disk, path),
    };
  }

  /** Host, clock and random numbers for the store; simulatedLibrary() makes a library of it. */
  get environment(): Environment {
    const { clock, prng } = this;
    this.#mcache ??= mcacheOn({ clock, gauge: this.memory });
    return { host: this, clock, prng, mcache: this.#mcache };
  }

  get trace(): Trace {
    return this.#operations.trace;
  }

  /** Writes, flushes, discards, and files created, grown and removed, submitted so far. */
  get operationCount(): number {
    return this.#operations.count;
  }

  get inFlightCount(): number {
    return this.#operations.inFlightCount;
  }

  /** Buffers allocated by devices of this host and not released. */
  get liveBufferCount(): number {
    return this.#buffers.liveCount;
  }

  get powerIsCut(): boolean {
    return this.#operations.powerIsCut;
  }

  addDisk(path: string, options: SimDiskOptions): SimDisk {
    assert(!this.#disks.has(path), 'there is one disk at a path');
    const disk = new SimDisk(options);
    this.#disks.set(path, disk);
    return disk;
  }

  disk(path: string): SimDisk {
    const disk = this.#disks.get(path);
    assert(disk !== undefined, `there is no disk at ${path}`);
    return disk;
  }

  get paths(): string[] {
    return [...this.#disks.keys()].toSorted();
  }

  /** The disk is gone, under whoever has it open. */
  pullDisk(path: string): void {
    this.disk(path).pullOut();
    this.#disks.delete(path);
  }

  /** The same disk is then at another path, as after a new enumeration. */
  moveDisk(from: string, to: string): void {
    assert(!this.#disks.has(to), 'there is one disk at a path');
    this.#disks.set(to, this.disk(from));
    this.#disks.delete(from);
  }

  /** A copy of the disk, bit for bit, as of a cloned volume. Nothing may be in flight. */
  copyDisk(from: string, to: string): SimDisk {
    assert(!this.#disks.has(to), 'there is one disk at a path');
    const copy = this.disk(from).clone();
    this.#disks.set(to, copy);
    return copy;
  }

  /**
   * A program reads bytes of a mapped device in a view of it: what is not cached comes from the disk, now.
   * @throws what the program would die of
   */
  touch(path: string, offsetBytes: number, lengthBytes: number): void {
    const cache = this.#cacheOf(this.disk(path), path);
    touchPages(this.#context, cache, path, offsetBytes, lengthBytes);
  }

  /** How many pages of a range the page cache holds, whoever mapped the device. */
  cachedPages(path: string, offsetBytes: number, lengthBytes: number): number {
    return this.#cacheOf(this.disk(path), path).residentPages(offsetBytes, lengthBytes);
  }

  /** The first rule that matches an operation decides about it. */
  addFault(rule: FaultRule): Fault {
    return this.#operations.addFault(rule);
  }

  /**
   * There is no memory for the how-manieth buffer that a device of this host is asked for from now on, and
   * for so many.
   * @returns how many of those did not come yet
   */
  failAllocations(nth: number, times = 1): () => number {
    this.#buffers.failAfter(nth, times);
    return () => this.#buffers.failuresLeft;
  }

  /** Faults stop, and held operations go on. */
  clearFaults(): void {
    this.#operations.clearFaults();
    this.#buffers.failAfter(Infinity, 0);
  }

  /**
   * Cuts the power once that many more operations are submitted: the last one is then in flight. All
   * that is in flight, and all later, fails with ERR_MPOOL_IO 'power cut'.
   */
  cutPowerAfter(operations: number): void {
    this.#operations.cutPowerAfter(operations);
  }

  cutPower(): void {
    this.#operations.cutPower();
  }

  /** What the next power cut may undo, or the last one may have, in the order of their effect. */
  volatileOperations(): VolatileOperation[] {
    return this.#volatile();
  }

  /**
   * Cuts the power, if it was not, and starts another machine with what survived. This one stays cut;
   * crash() may be called again with other survivors.
   */
  crash(options: { survivors?: SurvivorPolicy; seed?: number } = {}): SimHost {
    this.cutPower();
    const { survivors = noneSurvive, seed = this.seed } = options;
    const operations = this.#volatile();
    const byChange = new Map(operations.map((operation) => [operation.subject, operation]));
    const clock = new SimClock({
      wallMs: this.clock.wallMs() + 1000,
      autoAdvance: this.clock.autoAdvance,
    });
    const image = this.#next(seed, clock);
    const survives = (subject: Change | FileChange, piece: number): boolean =>
      survivors.survives(byChange.get(subject)!, piece);
    for (const [path, disk] of this.#disks) image.#disks.set(path, disk.afterPowerCut(survives));
    for (const change of this.#fileChanges) {
      if (survives(change, 0)) image.#applyFileChange(change);
    }
    return image;
  }

  /** A copy of the machine with closed devices: the same media, volatile state and time. */
  clone(options: { seed?: number } = {}): SimHost {
    assert(this.inFlightCount === 0, 'a host with operations in flight cannot be cloned');
    const clock = new SimClock({
      wallMs: this.clock.wallMs(),
      monotonicMs: this.clock.monotonicMs(),
      autoAdvance: this.clock.autoAdvance,
    });
    const seed = options.seed ?? this.seed;
    const copy = this.#next(seed, clock);
    for (const [path, disk] of this.#disks) copy.#disks.set(path, disk.clone());
    return copy;
  }

  openDevice(path: string, options: OpenDeviceOptions): Promise<Device> {
    return this.#run({ op: 'open', disk: path }, (effect) => {
      const disk = this.#find(path);
      this.#throwIf(effect, 'open', path);
      return new SimDevice({
        path,
        disk,
        readOnly: options.access === 'read',
        context: this.#context,
        onClose: this.#claim(path, disk, options.access),
      });
    });
  }

  createFile(path: string, sizeBytes: number): Promise<void> {
    return this.#changeFile({ op: 'create', order: 0, path, sizeBytes });
  }

  growFile(path: string, sizeBytes: number): Promise<void> {
    return this.#changeFile({ op: 'grow', order: 0, path, sizeBytes });
  }

  removeFile(path: string): Promise<void> {
    return this.#changeFile({ op: 'remove', order: 0, path, sizeBytes: 0 });
  }

  stat(path: string): Promise<PathInfo | undefined> {
    return this.#run({ op: 'peek', disk: path }, (effect) => {
      this.#throwIf(effect, 'stat', path);
      const disk = this.#disks.get(path);
      return disk && { path, kind: disk.kind, sizeBytes: disk.sizeBytes };
    });
  }

  peek(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#run({ op: 'peek', disk: path, offsetBytes, lengthBytes }, (effect) => {
      const disk = this.#find(path);
      this.#throwIf(effect, 'read', path);
      const length = Math.max(0, Math.min(lengthBytes, disk.sizeBytes - offsetBytes));
      if (!disk.isReadable(offsetBytes, length)) throw ioError(-EIO, 'read', path);
      return disk.bytes(offsetBytes, length);
    });
  }

  candidates(places: readonly string[], blockDevices: boolean): Promise<string[]> {
    return this.#run({ op: 'peek', disk: '' }, (effect) => {
      this.#throwIf(effect, 'open', '');
      return this.paths.filter((path) => {
        if (this.disk(path).kind === 'block') return blockDevices;
        return places.some((place) => path === place || dirname(path) === place);
      });
    });
  }

  #stream(number: number): SeededPrng {
    return new SeededPrng(Math.imul(this.seed, 0x9e3779b1) + this.#origin.boot * 16 + number);
  }

  /** One for each disk, whoever maps it. */
  #cacheOf(disk: SimDisk, path: string): SimPageCache {
    const existing = this.#caches.get(disk);
    if (existing !== undefined) return existing;
    const { prng } = this.#context;
    const nextOrder = (): number => this.#operations.nextNumber();
    const cache = new SimPageCache(new FaultyDisk(disk, path, prng, nextOrder));
    this.#caches.set(disk, cache);
    this.memory.add(cache);
    return cache;
  }

  /** The machine after this one, still without disks. */
  #next(seed: number, clock: SimClock): SimHost {
    const { onOperation: _, ...options } = this.#options;
    const origin = {
      boot: this.#origin.boot + 1,
      firstNumber: this.#operations.nextNumber(),
    };
    const next = new SimHost({ ...options, seed, clock }, origin);
    next.memory.machine = { ...this.memory.machine };
    next.memory.group = this.memory.group && { ...this.memory.group };
    return next;
  }

  #find(path: string): SimDisk {
    const disk = this.#disks.get(path);
    if (disk === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
    return disk;
  }

  /** @returns what gives the claim back */
  #claim(path: string, disk: SimDisk, access: 'read' | 'write'): () => void {
    const claim = this.#claims.get(disk) ?? { writers: 0, readers: 0 };
    if (claim.writers > 0 || (access === 'write' && claim.readers > 0)) {
      const holder = claim.writers > 0 ? 'a simulated writer' : 'a simulated reader';
      throw new MpoolError('ERR_MPOOL_BUSY', `${path}: held by ${holder}`, { path });
    }
    const kind = access === 'write' ? 'writers' : 'readers';
    claim[kind]++;
    this.#claims.set(disk, claim);
    return () => void claim[kind]--;
  }

  #volatile(): Volatile[] {
    const found: Omit<Volatile, 'index'>[] = [];
    for (const [path, disk] of this.#disks) {
      for (const subject of disk.volatileChanges()) {
        const { kind: op, offsetBytes, lengthBytes, inFlight } = subject;
        const pieceCount = pieceCountOf(subject);
        found.push({ op, disk: path, offsetBytes, lengthBytes, pieceCount, inFlight, subject });
      }
    }
    for (const change of this.#fileChanges) {
      const { op, path: disk, sizeBytes: lengthBytes } = change;
      const rest = { offsetBytes: 0, lengthBytes, pieceCount: 1, inFlight: true };
      found.push({ op, disk, ...rest, subject: change });
    }
    const order = (operation: (typeof found)[number]): number =>
      operation.subject.order + (operation.inFlight ? 2 ** 40 : 0);
    return found
      .toSorted((a, b) => order(a) - order(b))
      .map((operation, index) => ({ ...operation, index }));
  }

  #changeFile(change: FileChange): Promise<void> {
    const { op, path, sizeBytes } = change;
    const begin = (): void => {
      change.order = this.#operations.nextNumber();
      this.#fileChanges.add(change);
    };
    return this.#run(
      { op, disk: path, lengthBytes: sizeBytes },
      (effect) => {
        this.#fileChanges.delete(change);
        this.#throwIf(effect, op, path);
        if (effect?.kind === 'lost') return;
        const disk = this.#disks.get(path);
        if (op === 'create' && disk !== undefined) {
          throw new MpoolError('ERR_MPOOL_EXISTS', path, { path });
        }
        if (op !== 'create' && this.#find(path).kind !== 'file') throw ioError(-EINVAL, op, path);
        this.#applyFileChange(change);
      },
      begin,
    );
  }

  /** Does nothing where it makes no sense any more: after a power cut it may not. */
  #applyFileChange({ op, path, sizeBytes }: FileChange): void {
    const disk = this.#disks.get(path);
    const sectorBytes = this.#options.fileSectorBytes;
    if (op === 'create' && disk === undefined) {
      this.#disks.set(path, new SimDisk({ sizeBytes, sectorBytes, kind: 'file' }));
    } else if (op === 'grow' && disk?.kind === 'file' && sizeBytes > disk.sizeBytes) {
      disk.resize(sizeBytes);
    } else if (op === 'remove' && disk?.kind === 'file') {
      this.#caches.get(disk)?.drop(0, disk.sizeBytes);
      this.#disks.delete(path);
    }
  }

  /** Runs something of the host's as an operation. */
  #run<T>(
    info: { op: SimOperation; disk: string; offsetBytes?: number; lengthBytes?: number },
    perform: (effect: FaultEffect | undefined) => T,
    begin: () => void = () => {},
  ): Promise<T> {
    const whole: OperationInfo = { offsetBytes: 0, lengthBytes: 0, ...info };
    return new Promise<T>((resolve, reject) => {
      let result: T;
      this.#operations.start({
        info: whole,
        checksum: () => (result instanceof Uint8Array ? crc32c(result) : 0),
        begin,
        perform: (effect) => {
          try {
            result = perform(effect);
            return null;
          } catch (error) {
            if (error instanceof MpoolError) return error;
            throw error;
          }
        },
        done: (error) => (error === null ? resolve(result) : reject(error)),
      });
    });
  }

  #throwIf(effect: FaultEffect | undefined, syscall: string, path: string): void {
    if (effect?.kind !== 'error') return;
    throw ioError(-constants.errno[effect.errno ?? 'EIO'], syscall, path);
  }
}

function fail(message: string): never {
  throw new InvariantError(message);
}
