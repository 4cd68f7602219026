// Goal: docs/daemon.md is enough to talk to the daemon in another language, and its numbers are the program's.
// Method: a client of a few lines of Python, written from that document alone; the numbers are read from it.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { MpoolError } from '../../src/base/errors.ts';
import {
  noticeOfNumber,
  numberOfNotice,
  numberOfOperation,
  operationOfNumber,
} from '../../src/daemon/operations.ts';
import type { NoticeName, Operation } from '../../src/daemon/operations.ts';
import { ServerChannel } from '../../src/daemon/server-channel.ts';
import { SharedMemory } from '../../src/daemon/shared-slots.ts';
import { serve, socketPath, WELCOME } from './sockets.ts';

const hasPython = spawnSync('python3', ['-c', 'import socket; socket.recv_fds']).status === 0;
const DOCUMENT = join(import.meta.dirname, '..', '..', '..', 'docs', 'daemon.md');

test('the numbers of the document are those of the program, all of them', () => {
  const found: Record<string, [string, number][]> = { operations: [], notices: [] };
  for (const line of readFileSync(DOCUMENT, 'utf8').split('\n')) {
    const [, title = '', cells] = /^\| ([^|]+) \| (`.*) \|$/.exec(line) ?? [];
    for (const [, name, number] of (cells ?? '').matchAll(/`([\w.]+)` (\d+)/g)) {
      found[title === 'notices' ? title : 'operations']!.push([name!, Number(number)]);
    }
  }
  const numbers = Array.from({ length: 65536 }, (_, i) => i);
  const known = numbers.filter((number) => operationOfNumber(number) !== undefined);
  const told = numbers.filter((number) => noticeOfNumber(number) !== undefined);
  assert.deepEqual(
    found['operations']!.map(([, number]) => number).toSorted((a, b) => a - b),
    known,
  );
  assert.deepEqual(
    found['notices']!.map(([, number]) => number),
    told,
  );
  for (const [name, number] of found['operations']!) {
    assert.equal(numberOfOperation(name as Operation), number);
    assert.equal(operationOfNumber(number), name);
  }
  for (const [name, number] of found['notices']!) {
    assert.equal(numberOfNotice(name as NoticeName), number);
    assert.equal(noticeOfNumber(number), name);
  }
});

const CLIENT = `
import json, mmap, os, socket, struct, sys

def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(sys.argv[1])
    return s

def send(s, ident, kind, body, payload=b''):
    text = json.dumps(body).encode() if body else b''
    s.sendall(struct.pack('<IIHHI', 12 + len(text) + len(payload), ident, kind, 0, len(text)) + text + payload)

def exactly(s, count):
    data = b''
    while len(data) < count:
        more = s.recv(count - len(data))
        if not more: sys.exit('ended')
        data += more
    return data

def parse(data):
    length, ident, kind, zero, size = struct.unpack('<IIHHI', data[:16])
    assert zero == 0 and length + 4 == len(data)
    return ident, kind, json.loads(data[16:16 + size] or b'{}'), data[16 + size:]

def receive(s):
    head = exactly(s, 4)
    return parse(head + exactly(s, struct.unpack('<I', head)[0]))

hello = {'protocol': 1, 'client': 'python', 'pid': os.getpid()}
s = connect()
send(s, 7, 1, hello)
send(s, 8, 33, {'id': '0x1201'}, b'some data')
send(s, 9, 23, {})
send(s, 10, 65000, {})
seen = [receive(s) for _ in range(5)]
d = connect()
send(d, 1, 1, dict(hello, descriptorsFor=seen[0][2]['token']))
data, fds, _, _ = socket.recv_fds(d, 65536, 10)
count = parse(data)[2]['count']
memory = mmap.mmap(fds[0], 8192)
memory[4096:4101] = b'slot1'
print(json.dumps({'count': count, 'fds': len(fds), 'end': len(d.recv(1)),
  'seen': [[i, k, b.get('code') or b, p.decode()] for i, k, b, p in seen[1:]]}))
`;

test('a client in another language', { skip: hasPython ? false : 'needs python3' }, async (t) => {
  const path = socketPath(t);
  const memory = new SharedMemory({ slotBytes: 4096, slotCount: 2 });
  await serve(t, path, (socket) => {
    ServerChannel.accept(socket).then((channel) => {
      if (channel.hello.descriptorsFor === 'abc') {
        channel.sendDescriptors([memory.fd, memory.fd]).catch(assert.fail);
        return;
      }
      channel.admit({ ...WELCOME, token: 'abc' } as never, ({ operation, payload }) => {
        if (operation === 'sync') throw new MpoolError('ERR_MPOOL_BUSY', 'p1');
        channel.notify('revoked', { ids: ['0x1201'] });
        return { body: { writtenBytes: payload.length }, payload: Buffer.from(operation) };
      });
    }, assert.fail);
  });
  const { stdout } = await promisify(execFile)('python3', ['-c', CLIENT, path]);
  assert.deepEqual(JSON.parse(stdout), {
    count: 2,
    fds: 2,
    end: 0,
    seen: [
      [0, 2, { ids: ['0x1201'] }, ''],
      [8, 0, { writtenBytes: 9 }, 'mblock.write'],
      [9, 1, 'ERR_MPOOL_BUSY', ''],
      [10, 1, 'ERR_MPOOL_PROTOCOL', ''],
    ],
  });
  const [view] = memory.views([{ slot: 1, lengthBytes: 5 }]);
  assert.equal(Buffer.from(view!).toString(), 'slot1');
  memory.close();
});
