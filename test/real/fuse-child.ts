/**
 * A file system of one file, by the kernel's FUSE protocol and nothing else: node fuse-child FILE SIZE LOG [CONTENT]
 * It is told on its channel what to do (see Commands), and ends when that is closed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, read, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  ERRNO,
  formatAttributes,
  formatInit,
  formatOpen,
  formatReply,
  formatStatfs,
  formatWritten,
  OP,
  parseFallocate,
  parseRead,
  parseRequest,
  parseSetSize,
  parseWrite,
  type Request,
  REQUEST_BYTES_MAX,
  seek,
} from './fuse-abi.ts';
import { type Answer, type Fault, type Jitter, Medium } from './fuse-medium.ts';

export interface Commands {
  fault: [readonly Fault[], null];
  /** Answers what was held. */
  release: [null, null];
  jitter: [Jitter | null, null];
  listenTo: [string, number];
  counts: [null, Medium['counts'] & { logBytes: number; held: number }];
  /** What a reader finds now goes to that file. */
  save: [string, null];
  /** The file is gone, its log complete. */
  unmount: [null, null];
}

/** What was told is heard at the latest then, when nothing else happens. */
const HEAR_MS = 20;
const readDescriptor = promisify(read);

const [path, sizeText, logPath, contentPath] = process.argv.slice(2);
const content =
  contentPath === undefined ? Buffer.alloc(Number(sizeText)) : readFileSync(contentPath);
const medium = new Medium(content, logPath!);
const fuse = openSync('/dev/fuse', 'r+');
const hearing = setInterval(() => medium.hear(), HEAR_MS);

function reply({ unique }: Request, error: number, body?: Uint8Array): void {
  try {
    writeSync(fuse, formatReply(unique, error, body));
  } catch (error_) {
    // ENOENT: nobody waits for it any more; ENODEV: unmounted.
    const { code } = error_ as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENODEV') throw error_;
  }
}

function change(request: Request, body?: () => Uint8Array): Answer {
  return (errno, data) => reply(request, errno, errno === 0 ? (body?.() ?? data) : undefined);
}

/** Each request has one answer, but for those that want none. */
const answers: Partial<Record<number, (request: Request) => void>> = {
  [OP.INIT]: (request) => reply(request, 0, formatInit(request.body)),
  [OP.GETATTR]: (request) => reply(request, 0, formatAttributes(medium.sizeBytes)),
  [OP.OPEN]: (request) => reply(request, 0, formatOpen()),
  [OP.STATFS]: (request) => reply(request, 0, formatStatfs(medium.sizeBytes)),
  [OP.ACCESS]: (request) => reply(request, 0),
  [OP.RELEASE]: (request) => reply(request, 0),
  [OP.FLUSH]: (request) => reply(request, 0),
  [OP.DESTROY]: (request) => reply(request, 0),
  [OP.FORGET]: () => {},
  [OP.BATCH_FORGET]: () => {},
  // What is under way ends by itself, and is answered then.
  [OP.INTERRUPT]: () => {},
  [OP.READ](request) {
    const { offsetBytes, lengthBytes } = parseRead(request.body);
    medium.read(offsetBytes, lengthBytes, change(request));
  },
  [OP.WRITE](request) {
    const { offsetBytes, data, durable } = parseWrite(request.body);
    if (offsetBytes + data.length > medium.sizeBytes) return reply(request, ERRNO.EFBIG);
    medium.write(
      offsetBytes,
      data,
      durable,
      change(request, () => formatWritten(data.length)),
    );
  },
  [OP.FSYNC]: (request) => medium.flush(change(request)),
  [OP.SETATTR](request) {
    const sizeBytes = parseSetSize(request.body);
    const attributes = (): Uint8Array => formatAttributes(medium.sizeBytes);
    if (sizeBytes === undefined) reply(request, 0, attributes());
    else medium.resize(sizeBytes, change(request, attributes));
  },
  [OP.FALLOCATE](request) {
    const { offsetBytes, lengthBytes, isDiscard } = parseFallocate(request.body);
    if (isDiscard) medium.discard(offsetBytes, lengthBytes, change(request));
    else reply(request, ERRNO.EOPNOTSUPP);
  },
  [OP.LSEEK](request) {
    const found = seek(request.body, medium.sizeBytes);
    reply(request, found === undefined ? ERRNO.ENXIO : 0, found);
  },
};

async function serve(): Promise<void> {
  for (;;) {
    // One for each: what is late still has its own.
    const buffer = Buffer.allocUnsafe(REQUEST_BYTES_MAX);
    const request = parseRequest(buffer.subarray(0, await readRequest(buffer)));
    const answer = answers[request.opcode];
    if (answer === undefined) reply(request, ERRNO.ENOSYS);
    else answer(request);
  }
}

async function readRequest(buffer: Buffer): Promise<number> {
  for (;;) {
    try {
      return (await readDescriptor(fuse, buffer, 0, buffer.length, null)).bytesRead;
    } catch (error) {
      // EPERM: not mounted yet; ENOENT: taken back before it was read.
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPERM') await sleep(1);
      else if (code !== 'ENOENT') throw error;
    }
  }
}

async function run(program: string, args: readonly string[], descriptor?: number): Promise<void> {
  const stdio = ['ignore', 'ignore', 'pipe', ...(descriptor === undefined ? [] : [descriptor])];
  const child = spawn(program, args, { stdio: stdio as ('ignore' | 'pipe')[] });
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`${program}: ${said.trim()}`);
}

const commands: {
  [Name in keyof Commands]: (value: Commands[Name][0]) => Promise<Commands[Name][1]>;
} = {
  async fault(faults) {
    medium.setFaults(faults);
    return null;
  },
  async release() {
    medium.release();
    return null;
  },
  async jitter(settings) {
    medium.setJitter(settings ?? undefined);
    return null;
  },
  async listenTo(told) {
    return medium.listenTo(told);
  },
  async counts() {
    return { ...medium.counts, logBytes: medium.logBytes, held: medium.heldCount };
  },
  async save(to) {
    writeFileSync(to, medium.content);
    return null;
  },
  async unmount() {
    await unmount();
    return null;
  },
};

let serving: Promise<void> | undefined;

/** Lazily: whoever still has it open keeps this process until it closes it. */
async function unmount(): Promise<void> {
  await run('umount', ['--lazy', path!]);
  await serving;
  clearInterval(hearing);
  medium.close();
  closeSync(fuse);
}

process.on('message', ({ name, value }: { name: keyof Commands; value: never }) => {
  commands[name](value).then(
    (result) => process.send!({ result }),
    (error: Error) => process.send!({ error: error.message }),
  );
});
process.on('disconnect', () => {
  const unmounting = spawn('umount', ['--lazy', path!], { stdio: 'ignore' });
  // An orderly exit would wait for the read of the next request, which may never come.
  unmounting.on('close', () => process.kill(process.pid, 'SIGKILL'));
});

const options = 'fd=3,rootmode=100000,user_id=0,group_id=0,allow_other';
const mounting = run('mount', ['-i', '-t', 'fuse', '-o', options, 'mpool-test', path!], fuse);
serving = serve().catch((error: NodeJS.ErrnoException) => {
  // What was unmounted is over.
  if (error.code !== 'ENODEV') throw error;
});
await mounting;
process.send!({ result: 'mounted' });
