// Goal: mlog read refuses a damaged log, and with --salvage prints what comes before the damage, whole, and then says
//   where it is. Method: a pool whose log has two records and then the error, as text, bytes and JSON.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import type { OpenMlogOptions, Pool } from '../../src/pool/api.ts';
import { runTool } from './fake.ts';

const damage = new MpoolError('ERR_MPOOL_CORRUPT', 'mlog 0x1201: records from number 3 on');

const pool = {
  mlogs: {
    async open(_id: bigint, { salvage }: OpenMlogOptions = {}) {
      if (salvage !== true) throw damage;
      return {
        async *records() {
          yield Buffer.from('one');
          yield Buffer.from('two');
          throw damage;
        },
        close: async () => undefined,
      };
    },
  },
  close: async () => undefined,
} as unknown as Pool;

const tool = (line: string) => runTool(line.split(' '), { open: async () => pool });

test('what can be read is printed, then what is wrong', async () => {
  const said = /^mpool: mlog read: mlog 0x1201: records from number 3 on: .*\(ENODATA\)\n$/;
  for (const [line, out] of [
    ['mlog read p1 0x1201', ''],
    ['mlog read --salvage p1 0x1201', 'one\ntwo\n'],
    ['mlog read --salvage --raw p1 0x1201', 'onetwo'],
  ] as const) {
    const result = await tool(line);
    assert.deepEqual([result.status, result.out], [1, out], line);
    assert.match(result.err, said);
  }
  const json = await tool('mlog read --salvage --json p1 0x1201');
  const records = [
    { lengthBytes: 3, text: 'one' },
    { lengthBytes: 3, text: 'two' },
  ];
  assert.deepEqual(JSON.parse(json.out), { schemaVersion: 1, verb: 'mlog read', records });
  assert.deepEqual([json.status, said.test(json.err)], [1, true]);
});
