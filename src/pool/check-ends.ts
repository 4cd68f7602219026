import { laterWitness, type LogWitness, NO_WITNESS } from '../format/log-frame.ts';
import type { LogHeader } from '../format/log-header.ts';
import { slotOfLow } from '../format/object-id.ts';
import type { Findings } from './check-findings.ts';
import { addLost } from './check-logs.ts';
import { lossAgainst, nameOfLog } from './log-evidence.ts';
import type { LogEnd, LogPlace } from './log-scan.ts';

interface Known {
  place: LogPlace;
  end: LogWitness;
}

/** Compares what logs say of the pool's own MDCs with what those hold. */
export class LogEnds {
  readonly #findings: Findings;
  /** MDC 0 and MDC 1, by name. */
  readonly #metadata = new Map<string, Known>();
  /** By the name of whom it is said: the most, and who says it. */
  readonly #said = new Map<string, { witness: LogWitness; by: string }>();

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  add(place: LogPlace, header: LogHeader, end: LogEnd, name: string): void {
    const own = nameOfLog(place);
    if (slotOfLow(place.objectId.low) === 0) {
      const { generation } = header;
      this.#metadata.set(own, { place, end: { generation, endBytes: end.endBytes } });
    }
    const of = own === 'MDC 1' ? 'MDC 0' : 'MDC 1';
    const known = this.#said.get(of);
    const witness = laterWitness(known?.witness ?? NO_WITNESS, end.witness);
    if (witness !== known?.witness) this.#said.set(of, { witness, by: name });
  }

  /** After all logs were added. */
  finish(): void {
    for (const [name, { witness, by }] of this.#said) {
      const known = this.#metadata.get(name);
      const loss = known && lossAgainst(known.end, witness);
      if (known === undefined || loss === undefined) continue;
      const detail = `${loss.detail}, and ${by} bears witness of more`;
      addLost({ findings: this.#findings }, known.place, name, { ...loss, detail });
    }
  }
}
