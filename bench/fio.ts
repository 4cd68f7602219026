import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** fio, the measure of what the disk gives to a program in C. */
export interface Fio {
  readonly version: string;
  /** @returns operations and MiB a second, both directions together */
  run(options: Record<string, string | number>): Promise<{ iops: number; mibps: number }>;
}

export const HOW_TO_GET_FIO = 'fio is not installed: apt-get install fio, or dnf install fio';

/** @returns null where there is none */
export function findFio(): Fio | null {
  let version: string;
  try {
    version = execFileSync('fio', ['--version'], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return null;
  }
  return { version, run };
}

/** Whether `lengthBytes` of huge pages are free, which fio must be given by the machine. */
export function hasHugePages(lengthBytes: number): boolean {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const read = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return read('HugePages_Free') * read('Hugepagesize') * 1024 >= lengthBytes;
}

interface FioReport {
  jobs: { error: number; read: FioSide; write: FioSide }[];
}
interface FioSide {
  iops: number;
  bw_bytes: number;
}

async function run(
  options: Record<string, string | number>,
): Promise<{ iops: number; mibps: number }> {
  const words = Object.entries({ name: 'peer', ...options }).map(([key, value]) => {
    return `--${key}=${value}`;
  });
  const text = await new Promise<string>((resolve, reject) => {
    execFile('fio', [...words, '--output-format=json'], (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`fio ${words.join(' ')}: ${error.message}\n${stderr}`));
    });
  });
  // Warnings come before the report.
  const report = JSON.parse(text.slice(text.indexOf('{'))) as FioReport;
  const [job] = report.jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio ${words.join(' ')} failed`);
  return {
    iops: job.read.iops + job.write.iops,
    mibps: (job.read.bw_bytes + job.write.bw_bytes) / 2 ** 20,
  };
}
