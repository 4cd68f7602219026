// Goal: an operation is over when all of it is, and tells what the kernel said; durability is asked for.
// Method: an engine made up here takes the requests and answers as each test says: short, interrupted, failed; real
//   engines on a sparse file for what lies far out.
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { MpoolError } from '../../src/base/errors.ts';
import { flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import { DirectDevice } from '../../src/device/direct-device.ts';
import type { IoEngine, IoRequest } from '../../src/device/io-engine.ts';
import { IoOperation } from '../../src/device/io-operation.ts';
import { OP_FSYNC, OP_READ, OP_WRITE, RWF_DSYNC } from '../../src/native/binding.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { ENGINES, temporaryFolder } from './places.ts';

const { errno: E } = constants;

interface Asked {
  op: number;
  address: number;
  offsetBytes: number;
  lengthBytes: number;
  flags: number;
}

/** Answers each request with the next number, in a later turn. */
class ScriptedEngine implements IoEngine {
  readonly name = 'threads';
  readonly asked: Asked[] = [];
  readonly #answers: ((request: IoRequest) => number)[];

  constructor(...answers: (number | 'all')[]) {
    this.#answers = answers.map((answer) => (request) => {
      return answer === 'all' ? request.lengthBytes : answer;
    });
  }

  submit(request: IoRequest): void {
    const { op, address, offsetBytes, lengthBytes, flags } = request;
    this.asked.push({ op, address, offsetBytes, lengthBytes, flags });
    const answer = this.#answers.shift();
    assert.ok(answer !== undefined, 'asked once more than there are answers');
    setImmediate(() => request.complete(answer(request)));
  }
}

function run(engine: IoEngine, op: number, lengthBytes: number): Promise<MpoolError | null> {
  return new Promise((done) => {
    const operation = new IoOperation(op, 3, 0x10_0000, lengthBytes, 8192, 0);
    operation.engine = engine;
    operation.path = '/dev/made-up';
    operation.done = done;
    engine.submit(operation);
  });
}

test('what was moved short is continued at the right place of memory and device', async () => {
  for (const op of [OP_READ, OP_WRITE]) {
    const engine = new ScriptedEngine(512, 4096, 'all');
    assert.equal(await run(engine, op, 16_384), null);
    assert.deepEqual(
      engine.asked.map(({ address, offsetBytes, lengthBytes }) => [
        address,
        offsetBytes,
        lengthBytes,
      ]),
      [
        [0x10_0000, 8192, 16_384],
        [0x10_0000 + 512, 8192 + 512, 16_384 - 512],
        [0x10_0000 + 4608, 8192 + 4608, 16_384 - 4608],
      ],
    );
  }
});

test('what was interrupted or came too early is tried again, as often as it takes', async () => {
  const engine = new ScriptedEngine(-E.EINTR, -E.EAGAIN, 512, -E.EINTR, 'all');
  assert.equal(await run(engine, OP_WRITE, 4096), null);
  const many = new ScriptedEngine(...Array.from({ length: 40 }, () => -E.EAGAIN), 'all');
  assert.equal(await run(many, OP_READ, 4096), null);
  assert.equal(many.asked.length, 41);
});

test('an end before the end, and what fails, is an error of that kind', async () => {
  for (const op of [OP_READ, OP_WRITE]) {
    const error = await run(new ScriptedEngine(512, 0), op, 4096);
    assert.equal(error?.code, 'ERR_MPOOL_IO');
    assert.match(error.message, /8704/, 'it says where');
  }
  for (const op of [OP_READ, OP_WRITE, OP_FSYNC]) {
    const error = await run(new ScriptedEngine(-E.EIO), op, op === OP_FSYNC ? 0 : 4096);
    assert.equal(error?.code, 'ERR_MPOOL_IO');
    assert.equal(error.errno, -E.EIO);
  }
  const full = await run(new ScriptedEngine(512, -E.ENOSPC), OP_WRITE, 4096);
  assert.equal(full?.code, 'ERR_MPOOL_NO_SPACE');
});

function deviceOn(engine: IoEngine): DirectDevice {
  const path = join(temporaryFolder({ after }), 'device.img');
  writeFileSync(path, new Uint8Array(65_536));
  return new DirectDevice({
    path,
    kind: 'file',
    fd: openSync(path, 'r+'),
    backingFd: undefined,
    readOnly: false,
    limits: {
      sizeBytes: 65_536,
      sectorBytes: 512,
      optimalWriteBytes: 4096,
      direct: true,
      mayBlock: false,
      readOnly: false,
    },
    engine,
    measure: () => Promise.resolve(65_536),
  });
}

test('a durable write and a flush ask the kernel for durability, a volatile write does not', async () => {
  const engine = new ScriptedEngine('all', 'all', 512, 'all', 0);
  const device = deviceOn(engine);
  const buffer = device.allocate(4096);
  await writeAsync(device, 0, buffer, 'volatile');
  await writeAsync(device, 4096, buffer, 'durable');
  await writeAsync(device, 8192, buffer, 'durable');
  await flushAsync(device);
  assert.deepEqual(
    engine.asked.map(({ op, flags }) => [op, op === OP_WRITE && (flags & RWF_DSYNC) !== 0]),
    [
      [OP_WRITE, false],
      [OP_WRITE, true],
      [OP_WRITE, true],
      [OP_WRITE, true],
      [OP_FSYNC, false],
    ],
  );
  device.release(buffer);
  await device.close();
});

test('a failed flush fails, and close() waits for what is in flight', async () => {
  const engine = new ScriptedEngine(-E.EIO, 'all');
  const device = deviceOn(engine);
  await assert.rejects(flushAsync(device), { code: 'ERR_MPOOL_IO' });
  const buffer = device.allocate(512);
  const order: string[] = [];
  device.write(0, buffer, 'volatile', () => order.push('written'));
  await device.close();
  order.push('closed');
  assert.deepEqual(order, ['written', 'closed']);
  device.release(buffer);
});

for (const engine of ENGINES) {
  test(`what lies beyond 4 GiB goes there and nowhere else, on ${engine}`, async (t) => {
    const path = join(temporaryFolder({ after }), 'device.img');
    const far = 2 ** 32;
    writeFileSync(path, '');
    truncateSync(path, far + 65_536);
    let device;
    try {
      device = await new SystemHost().openDevice(path, { access: 'write', engine });
    } catch (error) {
      return t.skip(`${engine} cannot be had here: ${String(error)}`);
    }
    const buffer = device.allocate(4096);
    buffer.fill(0x5a);
    await writeAsync(device, far + 8192, buffer, 'volatile');
    await flushAsync(device);
    buffer.fill(0);
    await readAsync(device, far + 8192, buffer);
    assert.ok(buffer.every((byte) => byte === 0x5a));
    await readAsync(device, 8192, buffer);
    assert.ok(buffer.every((byte) => byte === 0));
    device.release(buffer);
    await device.close();
    const seen = new Uint8Array(4096);
    const fd = openSync(path, 'r');
    readSync(fd, seen, 0, 4096, far + 8192);
    closeSync(fd);
    assert.ok(
      seen.every((byte) => byte === 0x5a),
      'others see it there too',
    );
  });
}

test('a descriptor that is passed to others can only be read', async () => {
  const path = join(temporaryFolder({ after }), 'device.img');
  writeFileSync(path, new Uint8Array(65_536));
  const device = await new SystemHost().openDevice(path, { access: 'write' });
  assert.ok(device instanceof DirectDevice);
  for (const direct of [true, false]) {
    const fd = await device.openReadOnly({ direct });
    assert.throws(() => writeSync(fd, new Uint8Array(4096), 0, 4096, 0), { code: 'EBADF' });
    closeSync(fd);
  }
  await device.close();
});
