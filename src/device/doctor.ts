import { readFileSync } from 'node:fs';
import { constants, release } from 'node:os';
import { errnoName } from '../base/errors.ts';
import { chooseEngine, ENGINE_VARIABLE, LADDER, openRung } from './engine-ladder.ts';
import type { EngineName } from './io-engine.ts';

const { errno: E } = constants;

/** Which engine carries I/O here, why, and how to get a better one. */
export interface EngineReport {
  /** What a device opened now, with direct I/O, would use. */
  engine: EngineName;
  /** From the top of the ladder down. */
  rungs: RungReport[];
  kernel: string;
  node: string;
  hugePages: HugePageReport;
  /** Locked memory allowed to a process: an io_uring set-up may need a little; null: no limit. */
  memlockBytes: number | null;
  /** Threads of libuv's pool, which carries the lowest rung and all discards. */
  threadCount: number;
  /** What to do for better speed; empty when all is well. */
  advice: string[];
}

export interface RungReport {
  name: EngineName;
  usable: boolean;
  inUse: boolean;
  /** Why it is not usable. */
  reason?: string;
  /** How to make it usable. */
  advice?: string;
}

export interface HugePageReport {
  /** 'always', 'madvise', 'never' or 'unknown', from /sys/kernel/mm/transparent_hugepage/enabled. */
  mode: string;
  /** Whether I/O buffers get huge pages. */
  usable: boolean;
}

/** Looks at what this machine allows. Reads /proc and /sys, and tries each rung. */
// oxlint-disable-next-line typescript/require-await -- a promise, as every question to the machine
export async function diagnose(): Promise<EngineReport> {
  const engine = chooseEngine('auto', true).name;
  const rungs = LADDER.map((name) => diagnoseRung(name, engine));
  const hugePages = diagnoseHugePages();
  return {
    engine,
    rungs,
    kernel: release(),
    node: process.version,
    hugePages,
    memlockBytes: memlockLimit(),
    threadCount: threadCount(),
    advice: advise(engine, rungs, hugePages),
  };
}

function diagnoseRung(name: EngineName, engine: EngineName): RungReport {
  const inUse = name === engine;
  const rung = openRung(name);
  if (typeof rung !== 'number') return { name, usable: true, inUse };
  const [reason, advice] = name === 'io_uring' ? whyNoRing(rung) : whyNoAio(rung);
  return { name, usable: false, inUse, reason, advice };
}

function whyNoRing(errno: number): [reason: string, advice: string] {
  const answer = `io_uring_setup gives ${errnoName(errno)}`;
  const disabled = firstLine('/proc/sys/kernel/io_uring_disabled');
  if (errno === -E.EPERM && disabled === '2') {
    return [`${answer}: kernel.io_uring_disabled is 2`, 'sysctl kernel.io_uring_disabled=0'];
  }
  if (errno === -E.EPERM && disabled === '1') {
    return [
      `${answer}: kernel.io_uring_disabled is 1`,
      'sysctl kernel.io_uring_disabled=0, or join the group of kernel.io_uring_group',
    ];
  }
  if ((errno === -E.EPERM || errno === -E.ENOSYS) && underSeccomp()) {
    return [
      `${answer}: a seccomp filter refuses it, as Docker's and containerd's default profiles do`,
      "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile",
    ];
  }
  if (errno === -E.ENOSYS)
    return [`${answer}: this kernel has no io_uring`, 'use Linux 5.6 or later'];
  if (errno === -E.ENOMEM) {
    return [
      `${answer}: locked memory is limited to ${memlockLimit() ?? 'any number of'} bytes`,
      'raise the limit (ulimit -l, LimitMEMLOCK=), or free memory',
    ];
  }
  if (errno === -E.EMFILE || errno === -E.ENFILE) {
    return [`${answer}: no free descriptors`, 'raise the limit (ulimit -n, LimitNOFILE=)'];
  }
  return [answer, 'see io_uring_setup(2)'];
}

function whyNoAio(errno: number): [reason: string, advice: string] {
  const answer = `io_setup gives ${errnoName(errno)}`;
  if (errno === -E.EAGAIN) {
    return [`${answer}: the machine's AIO requests are used up`, 'raise sysctl fs.aio-max-nr'];
  }
  if (underSeccomp()) {
    return [`${answer}: a seccomp filter refuses it`, 'allow io_setup, io_submit and io_getevents'];
  }
  return [answer, 'use a kernel with CONFIG_AIO'];
}

function diagnoseHugePages(): HugePageReport {
  const line = firstLine('/sys/kernel/mm/transparent_hugepage/enabled') ?? '';
  const mode = /\[(\w+)\]/.exec(line)?.[1] ?? 'unknown';
  return { mode, usable: mode === 'always' || mode === 'madvise' };
}

function advise(engine: EngineName, rungs: RungReport[], hugePages: HugePageReport): string[] {
  const advice = rungs.flatMap((rung) =>
    rung.advice === undefined ? [] : [`for ${rung.name}: ${rung.advice}`],
  );
  const chosen = process.env[ENGINE_VARIABLE];
  if (chosen !== undefined && chosen !== '' && chosen !== 'auto') {
    advice.push(`${ENGINE_VARIABLE}=${chosen} chooses the engine: unset it to begin at the top`);
  }
  if (engine === 'threads' && threadCount() < 16) {
    advice.push('set UV_THREADPOOL_SIZE=32: the thread pool carries all I/O');
  }
  if (!hugePages.usable) {
    advice.push(
      'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: large I/O is up to twice as fast',
    );
  }
  return advice;
}

function underSeccomp(): boolean {
  return /^Seccomp:\s*[12]$/m.test(contentOf('/proc/self/status') ?? '');
}

function memlockLimit(): number | null {
  const line = /^Max locked memory\s+(\S+)/m.exec(contentOf('/proc/self/limits') ?? '');
  const value = Number(line?.[1]);
  return Number.isNaN(value) ? null : value;
}

/** libuv's own rule: four, unless the environment says otherwise, at most 1024. */
function threadCount(): number {
  const value = Number(process.env['UV_THREADPOOL_SIZE'] ?? '4');
  return Math.min(Math.max(Number.isNaN(value) ? 1 : Math.trunc(value), 1), 1024);
}

function firstLine(path: string): string | undefined {
  return contentOf(path)?.split('\n')[0]?.trim();
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
