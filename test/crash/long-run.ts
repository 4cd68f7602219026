// Many pool lifetimes, each from its own seed, for as long as is asked:
//   SIM_SECONDS=300 node build/test/crash/long-run.js       SEED=1234 … starts (and with SIM_SECONDS=0 stays) there
import { livePool } from './lifetime.ts';

const seconds = Number(process.env['SIM_SECONDS'] ?? 60);
const given = process.env['SEED'];
const first = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
const endMs = performance.now() + seconds * 1000;
const totals = { lifetimes: 0, epochs: 0, actions: 0, errors: 0, faults: 0, crashes: 0 };
let failed = 0;
console.log(`seeds from ${first}, for ${seconds} s`);
for (let seed = first; ; seed++) {
  try {
    const result = await livePool(seed, { epochs: 6, faults: seed % 3 !== 0 });
    totals.lifetimes += 1;
    for (const name of ['epochs', 'actions', 'errors', 'faults', 'crashes'] as const) {
      totals[name] += result[name];
    }
  } catch (error) {
    failed += 1;
    console.error(error);
    if (failed === 5) break;
  }
  if (performance.now() >= endMs) break;
}
console.log(JSON.stringify(totals));
if (failed > 0) {
  console.error(`${failed} failed: repeat one with SIM_SECONDS=0 SEED=…`);
  process.exitCode = 1;
}
