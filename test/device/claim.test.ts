// Goal: one writer or many readers, whoever they are; a refusal names the holder; a dead holder holds
// nothing. Method: this process and children open the same file and loop device.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { openAlone } from '../../src/device/claim.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { loopDevice, noLoopDevices, program, temporaryFolder } from './places.ts';

const host = new SystemHost();

async function hold(t: TestContext, path: string, access: string): Promise<[ChildProcess, string]> {
  const child = spawn(process.execPath, [program('claim-child'), path, access]);
  // A test that fails must not leave a holder behind, whom everyone after it would wait for.
  t.after(() => child.kill('SIGKILL'));
  const [answer] = (await once(child.stdout, 'data')) as [Buffer];
  return [child, answer.toString().trim()];
}

async function letGo(child: ChildProcess): Promise<void> {
  child.stdin!.end();
  await once(child, 'exit');
}

for (const kind of ['file', 'loop device'] as const) {
  const skip = kind === 'file' ? undefined : noLoopDevices();
  test(`claims of a ${kind}`, { skip }, async (t) => {
    const image = join(temporaryFolder(t), 'device.img');
    writeFileSync(image, new Uint8Array(4 * MIB));
    const path = kind === 'file' ? image : loopDevice(t, image, 512);
    const busy = { code: 'ERR_MPOOL_BUSY', path };

    await t.test('a writer keeps all others out', async () => {
      const device = await host.openDevice(path, { access: 'write' });
      for (const access of ['read', 'write'] as const) {
        await assert.rejects(host.openDevice(path, { access }), busy);
        const [child, answer] = await hold(t, path, access);
        assert.match(answer, access === 'read' || kind === 'file' ? /held by pid/ : /held/);
        if (kind === 'file') assert.ok(answer.includes(`pid ${process.pid}`), answer);
        await letGo(child);
      }
      await device.close();
    });

    await t.test('readers share, and keep writers out', async () => {
      const device = await host.openDevice(path, { access: 'read' });
      const second = await host.openDevice(path, { access: 'read' });
      const [reader, answer] = await hold(t, path, 'read');
      assert.equal(answer, 'held');
      await assert.rejects(host.openDevice(path, { access: 'write' }), busy);
      await device.close();
      await second.close();
      await assert.rejects(host.openDevice(path, { access: 'write' }), (error: Error) => {
        assert.ok(
          error.message.includes(`held by pid ${reader.pid} (node claim-child.js)`),
          error.message,
        );
        return true;
      });
      await letGo(reader);
      await (await host.openDevice(path, { access: 'write' })).close();
    });

    await t.test('a killed writer holds nothing', async () => {
      const [writer, answer] = await hold(t, path, 'write');
      assert.equal(answer, 'held');
      await assert.rejects(host.openDevice(path, { access: 'read' }), busy);
      writer.kill('SIGKILL');
      await once(writer, 'exit');
      await (await host.openDevice(path, { access: 'write' })).close();
    });

    await t.test('an instant claim, as udev makes, is waited for', async () => {
      const other = await host.openDevice(path, { access: 'read' });
      setTimeout(() => void other.close(), 5);
      await (await host.openDevice(path, { access: 'write' })).close();
    });
  });
}

test(
  'a mounted block device is refused with its mount point',
  { skip: noLoopDevices() },
  async (t) => {
    const folder = temporaryFolder(t);
    const image = join(folder, 'device.img');
    writeFileSync(image, new Uint8Array(4 * MIB));
    const path = loopDevice(t, image, 512);
    try {
      execFileSync('mkfs.ext4', ['-q', path]);
    } catch {
      return t.skip('mkfs.ext4 is missing');
    }
    const point = join(folder, 'point');
    mkdirSync(point);
    execFileSync('mount', [path, point]);
    try {
      await assert.rejects(host.openDevice(path, { access: 'write' }), (error: Error) => {
        assert.ok(error.message.includes(`mounted at ${point}`), error.message);
        return true;
      });
    } finally {
      execFileSync('umount', [point]);
    }
  },
);

test(
  'who has a loop device has its file, and the other way round',
  { skip: noLoopDevices() },
  async (t) => {
    const image = join(temporaryFolder(t), 'device.img');
    writeFileSync(image, new Uint8Array(4 * MIB));
    const path = loopDevice(t, image, 512);
    for (const [first, second] of [
      [path, image],
      [image, path],
    ] as const) {
      const device = await host.openDevice(first, { access: 'write' });
      await assert.rejects(host.openDevice(second, { access: 'write' }), {
        code: 'ERR_MPOOL_BUSY',
      });
      await assert.rejects(host.openDevice(second, { access: 'read' }), { code: 'ERR_MPOOL_BUSY' });
      await device.close();
      await (await host.openDevice(second, { access: 'write' })).close();
    }
  },
);

test(
  'a block device that somebody is just letting go of is waited for; one that stays is told of',
  { skip: noLoopDevices() },
  async (t) => {
    const image = join(temporaryFolder(t), 'device.img');
    writeFileSync(image, new Uint8Array(4 * MIB));
    const path = loopDevice(t, image, 512);
    let tries = 0;
    const refuseUntil = (last: number) => async (): Promise<string> => {
      tries += 1;
      if (tries < last) throw Object.assign(new Error('busy'), { errno: -16, code: 'EBUSY' });
      return 'open';
    };
    assert.equal(await openAlone(path, refuseUntil(4)), 'open');
    tries = 0;
    await assert.rejects(openAlone(path, refuseUntil(Infinity)), { code: 'ERR_MPOOL_BUSY' });
    assert.ok(tries > 3, 'nobody is seen there: it may be over soon');
    const device = await host.openDevice(path, { access: 'write' });
    tries = 0;
    await assert.rejects(openAlone(path, refuseUntil(Infinity)), (error: Error) => {
      assert.match(error.message, new RegExp(`held by pid ${process.pid} `));
      return true;
    });
    assert.equal(tries, 1, 'whoever lives keeps it');
    await device.close();
  },
);
