// A single log, or a pair, on a simulated disk, below the pool: for the tests of the machinery of logs.
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { Device } from '../../src/device/device.ts';
import { makeObjectId, halvesOfId } from '../../src/format/object-id.ts';
import { FlushGate } from '../../src/pool/flush-gate.ts';
import { Log } from '../../src/pool/log.ts';
import { firstHeader, LogPair, refuseDamage } from '../../src/pool/log-pair.ts';
import { freshLogEnd, logPlace, resumedLogEnd, writeLogHeader } from '../../src/pool/log-place.ts';
import { readLogHeader, scanLog, type LogPlace } from '../../src/pool/log-scan.ts';
import { SimHost, type SimHostOptions } from '../../src/testing/index.ts';
import { watchedDevice } from './watched-host.ts';

export const DISK = '/dev/log';
export const FIRST_PAGE = 32;
const POOL_UUID = new Uint8Array(16).fill(7);

export interface LogRig {
  host: SimHost;
  device: Device;
  gate: FlushGate;
}

export function logHost(
  options: SimHostOptions & { sectorBytes?: 512 | 4096; pages?: number } = {},
): SimHost {
  const { sectorBytes, pages = 4096, ...rest } = options;
  const host = new SimHost({ seed: 1, ...rest });
  host.addDisk(DISK, { sizeBytes: pages * PAGE_BYTES, sectorBytes });
  return host;
}

/** @param kind with 'file' the log writes zeros ahead of its frames */
export async function openRig(host: SimHost, kind: 'block' | 'file' = 'block'): Promise<LogRig> {
  const claimed = await host.openDevice(DISK, { access: 'write' });
  const device = watchedDevice(claimed, () => {}, kind);
  return { host, device, gate: new FlushGate(device) };
}

export function placeAt(rig: LogRig, pageCount: number, n = 0): LogPlace {
  const extent = { pageAddress: FIRST_PAGE + n * pageCount, pageCount };
  const id = halvesOfId(makeObjectId(10 + n, 2, 1));
  return logPlace(rig.device, extent, POOL_UUID, id, rig.device.sectorBytes, undefined);
}

export async function newLog(rig: LogRig, pageCount: number): Promise<Log> {
  const place = placeAt(rig, pageCount);
  const header = firstHeader(place, rig.host.prng);
  await writeLogHeader(place, header, 'durable', { whole: true });
  return new Log(place, rig.gate, header, freshLogEnd());
}

/** As the pool opens a log: @throws ERR_MPOOL_CORRUPT when acknowledged records are damaged */
export async function reopenLog(
  rig: LogRig,
  pageCount: number,
): Promise<{ log: Log; records: Uint8Array[]; verdict: string }> {
  const place = placeAt(rig, pageCount);
  const found = await readLogHeader(place);
  if (!found.ok) throw new Error(found.detail);
  const records: Uint8Array[] = [];
  const end = await scanLog(place, found.header, (bytes, start, to) => {
    records.push(bytes.slice(start, to));
  });
  refuseDamage(place, end);
  const log = new Log(place, rig.gate, found.header, resumedLogEnd(end, rig.host.prng));
  return { log, records, verdict: end.verdict };
}

export async function newPair(rig: LogRig, pageCount: number): Promise<LogPair> {
  const places = [placeAt(rig, pageCount), placeAt(rig, pageCount, 1)] as const;
  const pair = await LogPair.create(places, rig.gate, rig.host.prng);
  await rig.gate.flush();
  return pair;
}

export async function reopenPair(
  rig: LogRig,
  pageCount: number,
  readOnly = false,
): Promise<{ pair: LogPair; texts: string[] }> {
  const places = [placeAt(rig, pageCount), placeAt(rig, pageCount, 1)] as const;
  const texts: string[] = [];
  const visit = (bytes: Uint8Array, start: number, end: number): void => {
    texts.push(Buffer.from(bytes.subarray(start, end)).toString());
  };
  const pair = await LogPair.open(places, rig.gate, rig.host.prng, readOnly, visit);
  return { pair, texts };
}

/** Lets the device go, and starts again on a machine without power cut: all it had is there. */
export async function reboot(rig: LogRig): Promise<LogRig> {
  await rig.device.close();
  return openRig(rig.host);
}
