// The reference model: what a pool may and must hold after a crash, from what was asked of it and what it
// acknowledged. It knows nothing of logs, frames or flushes.
import assert from 'node:assert/strict';

/** What a log may hold: a prefix of `records` with at least `durable` of them. */
interface Version {
  records: Uint8Array[];
  durable: number;
}

/** An mlog or an MDC. Of its versions the last is the one in use; others are there while one is replaced. */
export class LogModel {
  versions: Version[];
  /** What it held once: a device that lies may bring it back, a right one never. */
  readonly past: Version[] = [];
  #target: Uint8Array[] | null = null;

  constructor(versions: Version[] = [{ records: [], durable: 0 }]) {
    this.versions = versions;
  }

  clone(): LogModel {
    return new LogModel(this.versions.map((v) => ({ ...v, records: [...v.records] })));
  }

  get #current(): Version {
    return this.versions.at(-1)!;
  }
  get records(): readonly Uint8Array[] {
    return this.#current.records;
  }

  /** @returns to be called once it and all before it are known to be durable */
  append(record: Uint8Array): () => void {
    const target = this.#target;
    if (target !== null) {
      target.push(record);
      return () => {};
    }
    this.#current.records.push(record);
    return this.mark();
  }

  /** The append was refused and changed nothing. */
  withdraw(record: Uint8Array): void {
    for (const records of [this.#target, ...this.versions.map((version) => version.records)]) {
      const at = records?.lastIndexOf(record) ?? -1;
      if (at >= 0) records!.splice(at, 1);
    }
  }

  /** @returns to be called once all so far is known to be durable */
  mark(): () => void {
    const version = this.#current;
    const last = version.records.at(-1);
    if (last === undefined) return () => {};
    return () => {
      const count = version.records.lastIndexOf(last) + 1;
      version.durable = Math.max(version.durable, count);
    };
  }

  startCompaction(): void {
    this.#target = [];
  }
  cancelCompaction(): void {
    this.#target = null;
  }
  /** From here on the old content or the whole of the new one is there. @returns for its success */
  endCompaction(): () => void {
    const records = this.#target ?? [];
    this.#target = null;
    return this.#replaceBy(records);
  }
  get compacting(): boolean {
    return this.#target !== null;
  }
  erase(): () => void {
    return this.#replaceBy([]);
  }

  #replaceBy(records: Uint8Array[]): () => void {
    const version = { records, durable: records.length };
    this.versions.push(version);
    return () => {
      this.past.push(...this.versions.slice(0, -1));
      this.versions = [version];
    };
  }

  /** Whether it ever held this, or a beginning of it. */
  everHeld(found: readonly Uint8Array[]): boolean {
    return [...this.past, ...this.versions].some((v) => matches({ ...v, durable: 0 }, found));
  }

  /** Why this content is none that may be there, or undefined. */
  problem(found: readonly Uint8Array[]): string | undefined {
    if (this.versions.some((version) => matches(version, found))) return undefined;
    const allowed = this.versions
      .map((v) => `${v.durable}–${v.records.length} records`)
      .join(' or ');
    return `${found.length} records, not a prefix of what was appended with ${allowed}`;
  }

  settle(found: Uint8Array[]): void {
    this.#target = null;
    this.versions = [{ records: found, durable: found.length }];
  }
}

function matches(version: Version, found: readonly Uint8Array[]): boolean {
  if (found.length < version.durable || found.length > version.records.length) return false;
  return found.every((record, i) => Buffer.compare(record, version.records[i]!) === 0);
}

export interface Content {
  kind: 'mblock' | 'mlog' | 'mdc';
  bytes?: Uint8Array;
}

interface Group {
  ids: readonly bigint[];
}

export class PoolModel {
  /** There, gone, or not known: 'maybe' while a commit or deletion is under way. */
  readonly objects = new Map<bigint, Content & { there: 'yes' | 'maybe' }>();
  readonly logs = new Map<bigint, LogModel>();
  /** Deleted ones. */
  readonly past = new Map<bigint, { content: Content; log: LogModel | undefined }>();
  readonly pastLabels = new Set<string>();
  /** Every id ever handed out. */
  readonly ids = new Set<bigint>();
  /** All of a group, or nothing of it. */
  readonly groups = new Set<Group>();
  /** What may be: the last is what was asked for. */
  names: string[] = [];
  labels: string[] = ['raw'];
  sizes: number[] = [];
  /** Whether there may be or is a staging device. */
  staging: 'no' | 'maybe' | 'yes' = 'no';
  /** Whether there may be or is a pool. */
  exists: 'no' | 'maybe' | 'yes' = 'yes';
  /** Buffers that the run left behind. */
  leakedBuffers = 0;
  /** The root MDC's log A, once known. */
  root = 0n;

  clone(): PoolModel {
    const copy = new PoolModel();
    for (const [id, object] of this.objects) copy.objects.set(id, { ...object });
    for (const [id, log] of this.logs) copy.logs.set(id, log.clone());
    for (const id of this.ids) copy.ids.add(id);
    for (const group of this.groups) copy.groups.add(group);
    copy.names = [...this.names];
    copy.labels = [...this.labels];
    copy.sizes = [...this.sizes];
    copy.staging = this.staging;
    copy.exists = this.exists;
    copy.root = this.root;
    return copy;
  }

  /** @throws when the id was handed out before (I5) */
  newId(id: bigint): void {
    assert.ok(!this.ids.has(id), `I5: id 0x${id.toString(16)} was handed out before`);
    this.ids.add(id);
  }

  /** @returns for its success */
  commit(made: readonly (readonly [bigint, Content])[]): () => void {
    for (const [id, content] of made) {
      this.objects.set(id, { ...content, there: 'maybe' });
      if (content.kind !== 'mblock') this.logs.set(id, new LogModel());
    }
    const done = this.#group(made.map(([id]) => id));
    return () => {
      done();
      for (const [id] of made) this.objects.get(id)!.there = 'yes';
    };
  }

  delete(ids: readonly bigint[]): () => void {
    for (const id of ids) this.objects.get(id)!.there = 'maybe';
    const done = this.#group(ids);
    return () => {
      done();
      for (const id of ids) {
        this.past.set(id, { content: this.objects.get(id)!, log: this.logs.get(id) });
        this.#forget(id);
      }
    };
  }

  /** The commit was refused and changed nothing. */
  withdraw(ids: readonly bigint[]): void {
    for (const id of ids) this.#forget(id);
    for (const group of this.groups) if (group.ids[0] === ids[0]) this.groups.delete(group);
  }

  setLabel(label: string): () => void {
    this.labels.push(label);
    for (const each of this.labels) this.pastLabels.add(each);
    return () => (this.labels = [label]);
  }

  rename(name: string): () => void {
    this.names.push(name);
    return () => (this.names = [name]);
  }

  grow(sizeBytes: number): () => void {
    this.sizes.push(sizeBytes);
    return () => (this.sizes = [sizeBytes]);
  }

  idsOf(kind: Content['kind']): bigint[] {
    return [...this.objects].filter(([, o]) => o.kind === kind).map(([id]) => id);
  }

  /** Takes what was found as what is; for a pool that goes on. */
  settle(found: ReadonlySet<bigint>): void {
    for (const [id, object] of this.objects) {
      if (found.has(id)) object.there = 'yes';
      else this.#forget(id);
    }
    this.groups.clear();
  }

  #forget(id: bigint): void {
    this.objects.delete(id);
    this.logs.delete(id);
  }

  #group(ids: readonly bigint[]): () => void {
    const group = { ids };
    this.groups.add(group);
    return () => this.groups.delete(group);
  }
}
