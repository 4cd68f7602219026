/** The verb that changes what a pool's format may hold: nothing else ever does. */
import type { FeatureNames } from '../../format/features.ts';
import type { UpgradeReport } from '../../pool/upgrade.ts';
import { command } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { POOL } from './common.ts';
import { tellPlan } from './deed.ts';

export const upgrade = command({
  name: 'upgrade',
  summary: 'Give a pool the features of this version that it lacks',
  positionals: [POOL],
  options: ['dry-run'],
  details: [
    'A pool of an older version is used as it is, for ever: nothing but this verb changes which ' +
      'features it has. Objects stay as they are; one write decides, and a pool that has all the ' +
      'features of this version is not written to. Asks nothing: say -n first.',
    'What an older version may do with the pool afterwards is told: there is no way back. The pool ' +
      'must not be in use, nor active.',
  ],
  examples: ['mpool upgrade -n mp1', 'mpool upgrade mp1'],
  async run(call, context) {
    const [target = ''] = call.words;
    const store = await context.store();
    const report = await store.upgrade(target, { searchPlaces: context.places });
    const { name, added } = report;
    const has = listOf(report.features);
    const isChange = listOf(added) !== '';
    if (call.options.has('dry-run')) {
      const deed = isChange
        ? `add to mpool ${name}: ${listOf(added)}; it has ${has || 'none'}; ${olderText(report)}`
        : `leave mpool ${name} as it is: it has ${has || 'no features, and this version knows none'}`;
      return tellPlan(call, context, 'upgrade', [deed]);
    }
    if (call.options.has('json')) {
      const { name: _, ...rest } = report;
      return context.out.write(jsonDocument('upgrade', { pool: name, ...rest }));
    }
    const text = isChange
      ? `mpool ${name} upgraded: ${listOf(added)}; ${olderText(report)}`
      : `mpool ${name} is as new as this version: it has ${has || 'no features, and there are none'}`;
    await context.out.write(`${text}\n`);
  },
});

function listOf({ incompatible, readOnlyCompatible, compatible }: FeatureNames): string {
  return [...incompatible, ...readOnlyCompatible, ...compatible].join(', ');
}

function olderText({ olderVersions }: UpgradeReport): string {
  if (olderVersions === 'read-write') return 'older versions can use it as before';
  return olderVersions === 'none'
    ? 'versions without them refuse it from then on'
    : 'versions without them can only read it from then on';
}
