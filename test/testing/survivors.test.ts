// Goal: survivor policies choose what their name says, repeatably, and the generator covers every subset
// when it can and the telling ones when it cannot. Method: policies applied to lists of operations.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allSurvive,
  allSurviveBut,
  noneSurvive,
  onlySurvive,
  piecesSurvive,
  prefixSurvives,
  randomSurvive,
  survivorPolicies,
} from '../../src/testing/index.ts';
import type { SurvivorPolicy, VolatileOperation } from '../../src/testing/index.ts';

function writes(...pieceCounts: number[]): VolatileOperation[] {
  return pieceCounts.map((pieceCount, index) => ({
    index,
    op: 'write',
    disk: '/dev/sim',
    offsetBytes: index * 4096,
    lengthBytes: pieceCount * 512,
    pieceCount,
    inFlight: false,
  }));
}

/** '11 0 101': what survives of each operation. */
function choice(policy: SurvivorPolicy, operations: readonly VolatileOperation[]): string {
  const parts = operations.map((operation) =>
    Array.from({ length: operation.pieceCount }, (_, piece) =>
      policy.survives(operation, piece) ? '1' : '0',
    ).join(''),
  );
  return parts.join(' ');
}

test('each policy keeps what its name says', () => {
  const operations = writes(2, 1, 3);
  const cases: [SurvivorPolicy, string][] = [
    [noneSurvive, '00 0 000'],
    [allSurvive, '11 1 111'],
    [prefixSurvives(1), '11 0 000'],
    [prefixSurvives(2, 2), '11 1 110'],
    [onlySurvive([0, 2]), '11 0 111'],
    [allSurviveBut([0]), '00 1 111'],
    [piecesSurvive(operations, 0b101_0_01n), '10 0 101'],
  ];
  for (const [policy, expected] of cases) {
    assert.equal(choice(policy, operations), expected, policy.name);
  }
});

test('a random policy is the same for the same seed, and of every kind', () => {
  const operations = writes(8, 8);
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const found = choice(randomSurvive(seed), operations);
    assert.equal(choice(randomSurvive(seed), operations.toReversed().toReversed()), found);
    seen.add(found.slice(0, 8));
  }
  assert.ok(seen.has('00000000') && seen.has('11111111') && seen.has('11110000'));
  assert.ok(
    [...seen].some((pieces) => /01/.test(pieces)),
    'holes too',
  );
});

test('few pieces: every subset, once', () => {
  const operations = writes(1, 2);
  const options = { limit: 8, seed: 1 };
  const found = [...survivorPolicies(operations, options)].map((each) => choice(each, operations));
  assert.equal(found.length, 8);
  assert.equal(new Set(found).size, 8);
});

test('few operations of many pieces: every subset of whole ones, then torn ones', () => {
  const operations = writes(8, 8, 8);
  const options = { limit: 12, seed: 1 };
  const found = [...survivorPolicies(operations, options)].map((each) => choice(each, operations));
  assert.equal(found.length, 12);
  assert.equal(new Set(found.slice(0, 8)).size, 8);
  for (const each of found.slice(0, 8)) assert.match(each, /^(0+|1+) (0+|1+) (0+|1+)$/);
});

test('many operations: none and all first, and never more than the limit', () => {
  const operations = writes(...Array<number>(30).fill(4));
  const options = { limit: 50, seed: 1 };
  const policies = [...survivorPolicies(operations, options)];
  assert.equal(policies.length, 50);
  assert.deepEqual(
    policies.slice(0, 2).map(({ name }) => name),
    ['none', 'all'],
  );
  const names = policies.map(({ name }) => name.split(' ')[0]);
  for (const kind of ['random', 'prefix', 'only', 'all']) assert.ok(names.includes(kind), kind);
  assert.equal([...survivorPolicies([], options)].length, 1, 'nothing volatile: one image');
});
