/** Uses mappings in ways that have to end well, or in a known way. Usage: child SCENE PATH */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { DeviceMapping } from '../../src/device/device-mapping.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { attachMapping } from '../../src/device/system-mapping.ts';

const MIB = 2 ** 20;
const PAGE = 4096;

interface Task {
  scene: string;
  path: string;
  handle?: number;
  /** 0 until the others are to go on. */
  flag?: Int32Array;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const host = new SystemHost();
const {
  scene,
  path,
  handle = -1,
  flag,
} = isMainThread
  ? ({ scene: process.argv[2] ?? '', path: process.argv[3] ?? '' } satisfies Task as Task)
  : (workerData as Task);

async function map(file = path): Promise<DeviceMapping> {
  return (await host.openDevice(file, { access: 'read' })).map();
}

/** Which the type definitions of Node leave to those of browsers. */
const { WebAssembly: webAssembly } = globalThis as unknown as {
  WebAssembly: {
    instantiate(
      code: Uint8Array,
    ): Promise<{ instance: { exports: Record<string, (at: number) => number> } }>;
  };
};

function say(word: string): void {
  process.stdout.write(`${word};`);
}

function pause(ms = 5): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Lines of /proc/self/maps that name the file. */
function vmaCount(file = path): number {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  return lines.filter((line) => line.endsWith(file)).length;
}

async function collectUntil(isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !isTrue(); i++) {
    collect();
    await pause();
  }
}

/** The memory of a view as whoever reads a byte stream gets it: moved into another ArrayBuffer. */
async function moved(buffer: ArrayBuffer): Promise<Uint8Array> {
  const stream = new ReadableStream({
    type: 'bytes',
    start: (controller) => controller.enqueue(new Uint8Array(buffer)),
  });
  return (await stream.getReader().read()).value as Uint8Array;
}

function post(message: unknown, transfer: readonly ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

function start(worker: string, mapping: DeviceMapping, more: Partial<Task> = {}): Worker {
  const task: Task = { scene: worker, path, handle: mapping.handle, ...more };
  return new Worker(new URL(import.meta.url), { workerData: task });
}

function firstMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function inUse(mapping: DeviceMapping): Promise<void> {
  const bytes = new Uint8Array(mapping.view(0, 4 * MIB));
  for (let i = 0; i < bytes.length; i += PAGE) if (bytes[i] !== 0x11) say(`wrong at ${i}`);
  await mapping.evict(new Float64Array([0, 4 * MIB]));
  if (bytes.at(-1) !== 0x11) say('wrong at the end');
  mapping.detach(bytes.buffer);
}

/** Workers of that kind, one after the other; each is to leave the owner's mapping as it was. */
async function survive(worker: string, end: (worker: Worker) => unknown): Promise<void> {
  const mapping = await map();
  for (let i = 0; i < 5; i++) {
    const child = start(worker, mapping);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await firstMessage(child);
    await end(child);
    await exited;
    await inUse(mapping);
  }
  say(String(vmaCount()));
  await mapping.close();
  say(String(vmaCount()));
}

const SCENES: Record<string, () => Promise<void>> = {
  async store() {
    const bytes = new Uint8Array((await map()).view(PAGE, 2 * PAGE));
    say(String(bytes[PAGE]));
    bytes[PAGE] = 1;
  },
  async storeRegion() {
    const mapping = await map();
    const part = { mapping, offsetBytes: 0, lengthBytes: PAGE, regionOffsetBytes: PAGE };
    const bytes = new DataView(mapping.stitch([part], 3 * PAGE));
    say(String(bytes.getUint8(PAGE)));
    bytes.setFloat64(PAGE, 1);
  },
  async shrink() {
    const bytes = new Uint8Array((await map()).view(0, 8 * PAGE));
    say(String(bytes[0]));
    truncateSync(path, PAGE);
    say(String(bytes[5 * PAGE]));
  },
  /** The handler of V8, which turns faults of WebAssembly into exceptions, still does. */
  async wasm() {
    await map();
    // (module (memory 1) (func (export "f") (param i32) (result i32) local.get 0 i32.load))
    const code =
      '0061736d0100000001060160017f017f030201000503010001070501016600000a0901070020002802000b';
    const { instance } = await webAssembly.instantiate(Buffer.from(code, 'hex'));
    const load = instance.exports['f']!;
    say(String(load(0)));
    try {
      load(0x7fff_0000);
    } catch (error) {
      say((error as Error).name);
    }
  },
  async killed() {
    await map();
    say('mapped');
    process.kill(process.pid, 'SIGSEGV');
    await pause(10_000);
  },
  /** Very many views: time is not looked at, but collections and VMAs are. */
  async views() {
    let collections = 0;
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { detail } = entry as unknown as { detail: { kind: number } };
        // Not the young generation's, which cost microseconds.
        if (detail.kind !== 1) collections++;
      }
    });
    observer.observe({ entryTypes: ['gc'] });
    const mapping = await map();
    const views: ArrayBuffer[] = [];
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 100_000; i++) {
        views.push(mapping.view((i % 512) * 8 * PAGE, 32 * MIB));
        if (i % 5000 === 0) await pause(0);
      }
      say(String(vmaCount()));
      for (const view of views) mapping.detach(view);
      say(String(views.every((view) => view.byteLength === 0)));
      views.length = 0;
    }
    await mapping.close();
    await pause(50);
    say(String(vmaCount()));
    say(collections <= 120 ? 'few' : `${collections} collections`);
    const { external } = process.memoryUsage();
    say(external < 64 * MIB ? 'settled' : `${external} bytes of external memory`);
  },
  /** Ends with evictions, reads and unmappings under way. */
  async exit() {
    const mapping = await map();
    for (let i = 0; i < 64; i++) {
      void mapping.evict(new Float64Array([0, 4 * MIB]));
      void mapping.touched(new Float64Array([0, 4 * MIB]));
      mapping.read(i * PAGE, new Uint8Array(i % 2 === 0 ? PAGE : MIB), () => {});
    }
    mapping.stitch([{ mapping, offsetBytes: 0, lengthBytes: MIB, regionOffsetBytes: 0 }], MIB);
    void mapping.close();
    await pause(1);
    say('exit');
    process.exit(0);
  },
  exits: () => survive('busyExit', () => {}),
  terminated: () => survive('busy', (worker) => worker.terminate()),
  returns: () => survive('brief', () => {}),
  /** Touches, reads and evicts for ever. */
  async busy() {
    const mapping = attachMapping(handle, path);
    const bytes = new Uint8Array(mapping.view(0, 4 * MIB));
    const part = { mapping, offsetBytes: 0, lengthBytes: MIB, regionOffsetBytes: 0 };
    const region = new Uint8Array(mapping.stitch([part], 2 * MIB));
    post('busy');
    for (let round = 0; ; round++) {
      for (let i = 0; i < bytes.length; i += PAGE) if (bytes[i] !== 0x11) throw new Error('wrong');
      if (region[PAGE] !== 0x11) throw new Error('wrong');
      void mapping.evict(new Float64Array([0, 4 * MIB]));
      mapping.read(0, new Uint8Array(MIB), () => {});
      await pause(0);
    }
  },
  async busyExit() {
    setTimeout(() => process.exit(0), 20);
    await SCENES['busy']!();
  },
  async brief() {
    const mapping = attachMapping(handle, path);
    post(new Uint8Array(mapping.view(0, PAGE))[0]);
    mapping.read(0, new Uint8Array(MIB), () => {});
  },
  /** A view whose memory a stream took keeps it mapped until that is collected. */
  async moved() {
    const mapping = await map();
    const view = mapping.view(0, MIB);
    let bytes: Uint8Array | undefined = await moved(view);
    say(String(view.byteLength));
    mapping.detach(view);
    await mapping.close();
    say(String(vmaCount()));
    say(String(bytes.every((byte) => byte === 0x11)));
    bytes = undefined;
    await collectUntil(() => vmaCount() === 0);
    say(String(vmaCount()));
  },
  /** Memory that got to a thread which outlives the view's is never another's. */
  async posted() {
    const mapping = await map();
    const worker = start('postMoved', mapping);
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    const bytes = (await firstMessage(worker)) as Uint8Array;
    await exited;
    say(String(bytes[0]));
    await mapping.close();
    say(String(vmaCount()));
    const other = `${path}.other`;
    writeFileSync(other, new Uint8Array(4 * MIB).fill(0x22));
    const others = await map(other);
    say(String(new Uint8Array(others.view(0, PAGE))[0]));
    say(`reachable: ${bytes[0]}`);
  },
  async postMoved() {
    const bytes = await moved(attachMapping(handle, path).view(0, MIB));
    post(bytes, [bytes.buffer as ArrayBuffer]);
  },
  /** A mapping that nobody closed goes with what was seen of it. */
  async forgotten() {
    process.on('warning', ({ message }) => say(message.replace(path, 'FILE')));
    await (async () => {
      const mapping = await map();
      say(String(new Uint8Array(mapping.view(0, PAGE))[0]));
      mapping.stitch([{ mapping, offsetBytes: 0, lengthBytes: MIB, regionOffsetBytes: 0 }], MIB);
    })();
    await collectUntil(() => vmaCount() === 0);
    await pause();
    say(String(vmaCount()));
  },
  /** Counts pages however that can be done here. */
  async counting() {
    const mapping = await map();
    const all = new Float64Array([0, 4 * MIB]);
    await mapping.evict(all);
    say(String((await mapping.resident(all))[0]));
    const bytes = new Uint8Array(mapping.view(MIB, 3 * MIB));
    let sum = 0;
    for (let i = 0; i < 100; i++) sum += bytes[i * PAGE]!;
    say(String(sum));
    say((await mapping.resident(new Float64Array([0, MIB, MIB, 3 * MIB]))).join());
    await mapping.zap(all);
    say((await mapping.resident(all)).join());
    await mapping.close();
  },
  /** Touches until it is told to stop. */
  async racer() {
    const mapping = attachMapping(handle, path);
    const bytes = new Uint8Array(mapping.view(0, mapping.lengthBytes));
    post('racing');
    let sum = 0;
    while (Atomics.load(flag!, 0) === 0)
      for (let i = 0; i < bytes.length; i += PAGE) sum += bytes[i]!;
    post(sum);
  },
};

await SCENES[scene]!();
