// Goal: the addon's tables of mappings, windows and shares give each thing one meaning, and nonsense an
// errno. Method: wrong handles, ranges and buffers; counts and /proc/self/maps before and after.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  binding,
  MAP_EVICT,
  MAP_READ_AHEAD,
  MAP_RESIDENT,
  MAP_TOUCHED,
  MAP_ZAP,
} from '../../src/native/binding.ts';

const { EBADF, EBUSY, EINVAL, EMFILE, ENOENT } = constants.errno;
const PAGE = 4096;
const LENGTH = 16 * PAGE;
const MAPPING_COUNT_MAX = 256;
const SHARE_COUNT_MAX = 4096;

interface Scope {
  after(cleanUp: () => void): void;
}

function sparseFile(t: Scope, lengthBytes = LENGTH): string {
  const folder = mkdtempSync(join(tmpdir(), 'mpool-mapping-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'device.img');
  closeSync(openSync(path, 'w'));
  truncateSync(path, lengthBytes);
  return path;
}

function open(path: string, lengthBytes = LENGTH): number {
  const fd = openSync(path, 'r');
  const handle = binding.mapOpen(fd, path, lengthBytes);
  if (handle < 0) closeSync(fd);
  return handle;
}

function close(handle: number): Promise<void> {
  return new Promise((resolve) => {
    const result = binding.mapClose(handle, resolve);
    assert.ok(result >= 0);
    if (result === 0) resolve();
  });
}

function linesOfMaps(path: string): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(path));
}

const nothing = (): void => {};

test('one inode and length is one mapping, however often it is opened', async (t) => {
  const path = sparseFile(t);
  const handle = open(path);
  assert.ok(handle >= 0);
  assert.equal(open(path), handle);
  assert.equal(linesOfMaps(path).length, 1);
  const longer = open(path, LENGTH - 1);
  assert.notEqual(longer, handle);
  assert.equal(linesOfMaps(path).length, 2);
  const info = new Float64Array(2);
  assert.equal(binding.mapInfo(longer, info), 0);
  assert.equal(info[0], LENGTH - 1);
  await close(longer);
  await close(handle);
  assert.equal(linesOfMaps(path).length, 1, 'as long as one open is left');
  assert.equal(binding.mapAttach(handle), 0);
  await close(handle);
  await close(handle);
  assert.equal(linesOfMaps(path).length, 0);
  assert.equal(binding.mapAttach(handle), -ENOENT);
  assert.equal(binding.mapClose(handle, nothing), -EINVAL);
  const again = open(path);
  assert.notEqual(again, handle, 'a slot that is used again has another handle');
  await close(again);
});

test('a mapping that cannot be is refused, and its descriptor stays the caller’s', (t) => {
  const path = sparseFile(t);
  assert.equal(binding.mapOpen(1_000_000, path, LENGTH), -EBADF);
  assert.equal(open(path, 0), -EINVAL);
  const folder = openSync(tmpdir(), 'r');
  assert.ok(binding.mapOpen(folder, tmpdir(), LENGTH) < 0);
  closeSync(folder);
  assert.equal(binding.mapAttach(0xffffffff), -ENOENT);
});

test('the table ends at 256 mappings, and comes back whole', async (t) => {
  const path = sparseFile(t, MAPPING_COUNT_MAX * PAGE);
  const handles: number[] = [];
  for (let i = 1; i <= MAPPING_COUNT_MAX; i++) handles.push(open(path, i * PAGE));
  assert.ok(handles.every((handle) => handle >= 0));
  assert.equal(new Set(handles).size, MAPPING_COUNT_MAX);
  assert.equal(open(path, PAGE + 1), -EMFILE);
  assert.equal(open(path, PAGE), handles[0], 'what is mapped is found');
  await close(handles[0]!);
  await Promise.all(handles.map(close));
  assert.equal(linesOfMaps(path).length, 0);
});

test('views, ranges and buffers that are not are refused', async (t) => {
  const path = sparseFile(t, LENGTH - 512);
  const handle = open(path, LENGTH - 512);
  const window = new Uint32Array(1);
  const view = (offset: number, length: number, to = handle): unknown =>
    binding.mapView(to, offset, length, window);
  assert.equal(view(1, PAGE), -EINVAL);
  assert.equal(view(0, LENGTH), -EINVAL, 'longer than the mapping');
  assert.equal(view(0, 0), -EINVAL);
  assert.equal(view(LENGTH, PAGE), -EINVAL);
  assert.equal(view(2 ** 52, 2 ** 52), -EINVAL);
  assert.equal(view(-PAGE, PAGE), -EINVAL);
  assert.equal(view(0, PAGE, handle + 256), -EINVAL, 'of another generation');
  assert.equal(binding.mapView(handle, 0, PAGE, new Uint32Array(0)), -EINVAL);

  const out = new Float64Array(2);
  const work = (op: number, ...ranges: number[]): number =>
    binding.mapWork(handle, op, Float64Array.from(ranges), out, nothing);
  for (const op of [MAP_EVICT, MAP_ZAP, MAP_READ_AHEAD, MAP_RESIDENT, MAP_TOUCHED]) {
    assert.equal(work(op, 1, PAGE), -EINVAL);
    assert.equal(work(op, 0, PAGE - 1), -EINVAL);
    assert.equal(work(op, 0, LENGTH + PAGE), -EINVAL);
    assert.equal(work(op, LENGTH, PAGE), -EINVAL);
    assert.equal(work(op, -PAGE, PAGE), -EINVAL);
    assert.equal(work(op, Number.NaN, PAGE), -EINVAL);
    assert.equal(work(op, 0, Infinity), -EINVAL);
    assert.equal(work(op, 0.5, PAGE), -EINVAL);
    assert.equal(work(op, 0), -EINVAL, 'half a range');
    assert.equal(work(op, 0, PAGE, 0, PAGE), -EINVAL, 'no room for the results');
  }
  assert.equal(work(5, 0, PAGE), -EINVAL);
  assert.equal(work(-1, 0, PAGE), -EINVAL);
  const range = new Float64Array([0, LENGTH]);
  const noFunction = undefined as unknown as () => void;
  assert.equal(binding.mapWork(handle, MAP_ZAP, range, out, noFunction), -EINVAL);

  const buffer = view(0, LENGTH - 512) as ArrayBuffer;
  assert.equal(buffer.byteLength, LENGTH - 512);
  const [index] = window;
  assert.equal(binding.windowDetach(index! + 1, buffer, nothing), -EINVAL);
  assert.equal(binding.windowDetach(0xffffffff, buffer, nothing), -EINVAL);
  assert.equal(binding.windowDetach(index!, new ArrayBuffer(LENGTH - 512), nothing), -EINVAL);
  const other = view(0, PAGE) as ArrayBuffer;
  assert.equal(binding.windowDetach(index!, other, nothing), -EINVAL, 'another’s buffer');
  assert.equal(binding.windowDetach(window[0]!, other, nothing), 0);
  assert.equal(binding.windowDetach(window[0]!, other, nothing), -EINVAL, 'twice');
  assert.equal(binding.windowDetach(index!, new ArrayBuffer(0), nothing), -EBUSY);
  assert.equal(binding.windowDetach(index!, buffer, nothing), 0);
  assert.equal(buffer.byteLength, 0);
  await close(handle);
});

test('regions that are not are refused, and leave nothing', async (t) => {
  const path = sparseFile(t);
  const handle = open(path);
  const window = new Uint32Array(1);
  const stitch = (length: number, ...parts: number[]): unknown =>
    binding.mapStitch(Float64Array.from(parts), length, window);
  const before = readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  for (const parts of [
    [handle, 0, PAGE],
    [handle, 1, PAGE, 0],
    [handle, 0, PAGE, 1],
    [handle, 0, 0, 0],
    [handle, 0, LENGTH + PAGE, 0],
    [handle, LENGTH, PAGE, 0],
    [handle, 0, PAGE, LENGTH],
    [handle, 0, LENGTH, PAGE],
    [handle + 256, 0, PAGE, 0],
    [-1, 0, PAGE, 0],
    [handle, 0, 2 * PAGE, 0, handle, 0, PAGE, PAGE],
  ]) {
    assert.equal(stitch(LENGTH, ...parts), -EINVAL, parts.join(' '));
  }
  assert.equal(stitch(0), -EINVAL);
  const after = readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  assert.ok(Math.abs(after - before) < 16, `${before} and then ${after} VMAs`);
  assert.equal(linesOfMaps(path).length, 1);
  await close(handle);
});

test('shares count what threads have of them, and ids go stale', () => {
  const share = binding.shareOpen();
  assert.ok(share >= 0);
  assert.equal(binding.shareCount(share), 0);
  assert.equal(binding.shareAttach(share), 0);
  assert.equal(binding.shareAttach(share), 0);
  assert.equal(binding.shareCount(share), 2);
  assert.equal(binding.shareClosing(share), 0);
  assert.equal(binding.shareClose(share, 0), 0);
  assert.equal(binding.shareClosing(share), 1);
  assert.equal(binding.shareAttach(share), -ENOENT);
  assert.equal(binding.shareDetach(share), 0);
  assert.equal(binding.shareDetach(share), 0);
  assert.equal(binding.shareDetach(share), -ENOENT);
  assert.equal(binding.shareClose(share, 1), 0);
  for (const call of [binding.shareAttach, binding.shareDetach, binding.shareCount]) {
    assert.equal(call(share), -ENOENT);
  }
  assert.equal(binding.shareClose(share, 1), -ENOENT);
  assert.equal(binding.shareClosing(share), 1);
  const next = binding.shareOpen();
  assert.notEqual(next, share);
  assert.equal(binding.shareClose(next, 1), 0);
  const all = Array.from({ length: SHARE_COUNT_MAX }, () => binding.shareOpen());
  assert.ok(all.every((each) => each >= 0));
  assert.equal(new Set(all).size, SHARE_COUNT_MAX);
  assert.equal(binding.shareOpen(), -EMFILE);
  for (const each of all) assert.equal(binding.shareClose(each, 1), 0);
});

/** What a worker does with a share before it ends in that way. */
const ENDS = {
  returns: '',
  exits: 'process.exit(0);',
  fails: 'throw new Error("on purpose");',
  'is terminated': 'setInterval(() => {}, 1000);',
};

for (const [name, end] of Object.entries(ENDS)) {
  test(`a worker that ${name} leaves neither attachments nor shares`, async () => {
    const share = binding.shareOpen();
    assert.equal(binding.shareAttach(share), 0);
    const program = `
      import { parentPort, workerData } from 'node:worker_threads';
      const { binding } = await import(workerData.module);
      const own = binding.shareOpen();
      for (let i = 0; i < 3; i++) binding.shareAttach(workerData.share);
      binding.shareAttach(own);
      parentPort.postMessage([own, binding.shareClose(workerData.share, 1)]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      ${end}`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
      workerData: { share, module: import.meta.resolve('../../src/native/binding.js') },
    });
    worker.on('error', (error: Error) => assert.equal(error.message, 'on purpose'));
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    const [own, closed] = await new Promise<number[]>((resolve) => worker.once('message', resolve));
    assert.equal(binding.shareCount(share), 4);
    assert.equal(binding.shareCount(own!), 1);
    assert.equal(closed, -ENOENT, 'only the owner closes');
    assert.equal(binding.shareAttach(own!), 0);
    if (name === 'is terminated') await worker.terminate();
    await exited;
    assert.equal(binding.shareCount(share), 1, 'its own is left');
    assert.equal(binding.shareCount(own!), -ENOENT);
    assert.equal(binding.shareClosing(own!), 1);
    assert.equal(binding.shareDetach(own!), -ENOENT);
    assert.equal(binding.shareClose(share, 1), 0);
  });
}
