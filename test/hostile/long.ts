// How long hostile tests go on: a slice by default; HOSTILE_SECONDS=600 for longer, SEED=… to repeat one.

export const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
/** Of each test that goes on and on. */
const SECONDS = Number(process.env['HOSTILE_SECONDS'] ?? 0);
export const isLong = SECONDS > 0;

/** Seeds from SEED: so many, or for HOSTILE_SECONDS; at least one. */
export function* seeds(count: number): Generator<number> {
  const endMs = performance.now() + SECONDS * 1000;
  for (let i = 0; isLong ? i === 0 || performance.now() < endMs : i < count; i++) yield SEED + i;
}

/** What went wrong, with the seed that brings it back. */
export async function withSeed(seed: number, work: () => Promise<void> | void): Promise<void> {
  try {
    await work();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`SEED=${seed}: ${reason}`, { cause: error });
  }
}
