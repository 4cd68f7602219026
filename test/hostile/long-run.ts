// Every bit of every structure of a small pool, wrong:
//   npm run hostile                      each byte once, with one of its bits; BITS=8 for all of them
//   SECTOR_BYTES=4096 PART=1/2 FROM=1000 npm run hostile
//   STRUCTURE=superblock BITS=8 npm run hostile
// What fails is printed and the run goes on; HOSTILE_SECONDS ends it, and says where to go on from.
import { addSight, noSight, type Sight } from './memory.ts';
import { type Flip, flipsOf, flipSubject, judgeFlip } from './flips.ts';

const TOLD_EVERY_MS = 60_000;
const FAILURES_MAX = 20;

const { env } = process;
const seconds = Number(env['HOSTILE_SECONDS'] ?? Infinity);
const sectorBytes = env['SECTOR_BYTES'] === '4096' ? 4096 : 512;
const bits = Number(env['BITS'] ?? 1);
const [part = 1, parts = 1] = (env['PART'] ?? '1/1').split('/').map(Number);
const from = Number(env['FROM'] ?? 0);
/** Only structures with that in their name: superblock, metadata log, log, mblock. */
const wanted = env['STRUCTURE'] ?? '';

const beginMs = performance.now();
const counts = new Map<string, { flips: number; sight: Sight }>();
let number = 0;
let flips = 0;
let failures = 0;
let toldMs = beginMs;

function tell(): void {
  const minutes = ((performance.now() - beginMs) / 60_000).toFixed(1);
  console.log(`${minutes} min: ${flips} flips, ${failures} failures; go on with FROM=${number}`);
}

async function judge(flip: Flip): Promise<void> {
  const { name } = flip.region;
  const count = counts.get(name) ?? { flips: 0, sight: noSight() };
  counts.set(name, count);
  try {
    addSight(count.sight, await judgeFlip(subject, flip, number));
  } catch (error) {
    failures += 1;
    process.exitCode = 1;
    console.error(`FROM=${number}: ${error instanceof Error ? error.message : String(error)}`);
  }
  count.flips += 1;
  flips += 1;
}

const subject = await flipSubject(sectorBytes);
let total = 0;
for (const _ of flipsOf(subject, bits)) total += 1;
console.log(
  `sectors of ${sectorBytes}: ${total} flips of ${bits} bits a byte, part ${part}/${parts}`,
);
for (const flip of flipsOf(subject, bits)) {
  const isWanted = flip.region.name.includes(wanted);
  const isMine = isWanted && number >= from && number % parts === part - 1;
  if (isMine) await judge(flip);
  number += 1;
  const nowMs = performance.now();
  if (nowMs - toldMs > TOLD_EVERY_MS) {
    tell();
    toldMs = nowMs;
  }
  if (failures >= FAILURES_MAX || nowMs - beginMs > seconds * 1000) break;
}
tell();
for (const [name, count] of counts) console.log(`${name}: ${JSON.stringify(count)}`);
