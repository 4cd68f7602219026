import { Findings } from './check-findings.ts';
import { checkLog, checkLogPair, ioMessage, locationIn, type LogChecks } from './check-logs.ts';
import { FrameCursor } from './frame-cursor.ts';
import type { Log } from './log.ts';
import type { LogPair } from './log-pair.ts';
import { ChunkParser, type LogPlace, readLogHeader } from './log-scan.ts';

/**
 * Verifies logs that others append to, erase and compact meanwhile.
 *
 * Invariant: what is told, were it only a note, was seen while the log was the same before and after: the
 * same log, of the same generation, open or not. What changed under the scan is looked at again, a few
 * times; when it changes each time, there is nothing old left in it to verify.
 */
export class LogScrub {
  readonly #checks: LogChecks;
  readonly #paced: (place: LogPlace) => LogPlace;

  /** @param paced the same place, read at the rate of the scrub */
  constructor(checks: LogChecks, paced: (place: LogPlace) => LogPlace) {
    this.#checks = checks;
    this.#paced = paced;
  }

  /**
   * A log of its own.
   * @param openLog the log when it is open, asked again after each look
   */
  async log(place: LogPlace, name: string, openLog: () => Log | undefined): Promise<void> {
    await this.#settled(openLog, async (part, log) => {
      if (log !== undefined) await this.#open(part, log, name);
      else await checkLog({ ...this.#checks, findings: part }, place, name);
    });
  }

  /** The two logs of an MDC. @param openPair as `openLog` of log() */
  async pair(
    places: readonly [LogPlace, LogPlace],
    name: string,
    openPair: () => LogPair | undefined,
  ): Promise<void> {
    const active = (): Log | undefined => openPair()?.active;
    await this.#settled(active, async (part, log) => {
      if (log === undefined) {
        await checkLogPair({ ...this.#checks, findings: part }, places, name);
        return;
      }
      await this.#open(part, log, name);
      const [other] = openPair()?.places.filter((place) => place !== log.place) ?? [];
      if (other !== undefined) await this.#spare(part, this.#paced(other), name);
    });
  }

  async #settled(
    openLog: () => Log | undefined,
    look: (part: Findings, log: Log | undefined) => Promise<void>,
  ): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const part = new Findings();
      const log = openLog();
      const generation = log?.generation;
      await look(part, log);
      const same = openLog() === log && log?.generation === generation;
      if (part.count === 0 || (same && attempt > 1)) {
        this.#checks.findings.absorb(part);
        return;
      }
    }
  }

  /** An open log: its header as it must be, and its frames up to what the device had when this began. */
  async #open(part: Findings, log: Log, name: string): Promise<void> {
    const { header } = log;
    const place = this.#paced(log.place);
    part.counts.logs += 1;
    const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
    const bad = (structure: 'log' | 'log header', at: number, message: string): void =>
      part.add('error', structure, locationIn(place, at), `${name}: ${message}`, id);
    const endBytes = log.writtenBytes;
    const cursor = new FrameCursor(place, header, { endBytes });
    const chunks = new ChunkParser(undefined, Number.MAX_SAFE_INTEGER);
    try {
      const found = await readLogHeader(place);
      if (!found.ok) bad('log header', 0, `${found.detail} (${found.problem})`);
      else if (found.header.generation !== header.generation || found.header.salt !== header.salt) {
        bad('log header', 0, 'the header on media is of another generation than the log');
      }
      for (let frame = await cursor.next(); frame !== undefined; frame = await cursor.next()) {
        part.counts.frames += 1;
        const problem = chunks.parse(frame);
        if (problem !== undefined) return bad('log', frame.offsetBytes, problem);
      }
      part.counts.records += chunks.recordCount;
      const { offsetBytes } = cursor.position;
      if (offsetBytes >= endBytes) return;
      bad('log', offsetBytes, `acknowledged records are damaged (${cursor.stop})`);
    } catch (error) {
      bad('log', cursor.position.offsetBytes, ioMessage(error));
    } finally {
      await cursor.close();
    }
  }

  /** The header of the log that does not count: the next compaction needs it, nothing else does. */
  async #spare(part: Findings, place: LogPlace, name: string): Promise<void> {
    const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
    part.counts.logs += 1;
    const at = locationIn(place, 0);
    try {
      const found = await readLogHeader(place);
      if (found.ok) return;
      const message = `the spare log of ${name}: ${found.detail} (${found.problem})`;
      part.add('warning', 'log header', at, message, id);
    } catch (error) {
      part.add('warning', 'log header', at, `the spare log of ${name}: ${ioMessage(error)}`, id);
    }
  }
}

/** The first look may be at a moment of change; damage is told of when a second one, undisturbed, agrees. */
const ATTEMPTS = 4;
