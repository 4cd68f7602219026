// The addon: checksums, claims, what the kernel answered, which pages count as touched.
import type { Mutant } from './mutant.ts';

export const NATIVE: readonly Mutant[] = [
  {
    name: 'native-crc-tail',
    file: 'native/crc32c.cc',
    find: 'for (; count > 0; bytes++, count--) crc = _mm_crc32_u8(static_cast<uint32_t>(crc), *bytes);',
    replace: '',
    breaks: 'the last bytes of what is no multiple of eight are in no checksum',
    tests: ['native/crc32c'],
  },
  {
    name: 'native-crc-last-page',
    file: 'native/crc32c.cc',
    find: 'left < PAGE ? left : PAGE);',
    replace: 'PAGE);',
    breaks: 'the checksum of a short last page covers what lies behind it',
    tests: ['native/crc32c'],
  },
  {
    name: 'native-lock-shared',
    file: 'native/blkdev.cc',
    find: 'mode == 1 ? LOCK_EX : LOCK_UN',
    replace: 'mode == 1 ? LOCK_SH : LOCK_UN',
    breaks: 'two writers claim one device',
    tests: ['device/claim'],
  },
  {
    name: 'native-lock-lost',
    file: 'native/blkdev.cc',
    find: 'return number(env, flock(fd, operation | LOCK_NB) < 0 ? -errno : 0);',
    replace: 'flock(fd, operation | LOCK_NB);\n  return number(env, 0);',
    breaks: 'a claim that was refused counts as had',
    tests: ['device/claim'],
  },
  {
    name: 'native-thread-error-lost',
    file: 'native/offload.cc',
    find: 'if (call->result < 0) call->result = -errno;',
    replace: 'if (call->result < 0) call->result = static_cast<int64_t>(call->bytes);',
    breaks: 'an error of the lowest engine counts as done',
    tests: ['device/', 'e2e/full-disk'],
  },
  {
    name: 'native-aio-offset',
    file: 'native/ring.cc',
    find: 'control->aio_offset = static_cast<int64_t>(sqe->off);',
    replace: 'control->aio_offset = static_cast<int64_t>(static_cast<uint32_t>(sqe->off));',
    breaks: 'Linux AIO writes what lies beyond 4 GiB to where it does not belong',
    tests: ['device/engines'],
  },
  {
    name: 'native-page-present',
    file: 'native/page-count.cc',
    find: 'touched[i] = (entries[i] & PRESENT_BIT) != 0;',
    replace: 'touched[i] = false;',
    breaks: 'pages that a process has touched count as cold',
    tests: ['device/system-mapping', 'mcache/'],
  },
];
