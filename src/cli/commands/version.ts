import { featuresText, knownFeatures, namesOfFeatures } from '../../format/features.ts';
import { FORMAT_VERSION } from '../../format/superblock.ts';
import { command, type Context } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { packageVersion } from '../system.ts';

/** Also what -V does. */
export async function writeVersion(
  options: { verbosity: number; json: boolean },
  context: Context,
): Promise<void> {
  const version = packageVersion();
  const { node, napi } = process.versions;
  if (options.json) {
    const features = namesOfFeatures(knownFeatures());
    const format = { formatVersion: FORMAT_VERSION, features };
    const content = { version, ...format, node, napi, arch: process.arch };
    await context.out.write(jsonDocument('version', content));
    return;
  }
  await context.out.write(`mpool ${version}\n`);
  if (options.verbosity === 0) return;
  const features = featuresText(knownFeatures());
  const beside = features === '' ? '' : `, features: ${features}`;
  await context.out.write(`on-media format ${FORMAT_VERSION}${beside}\n`);
  const machine = `${process.platform} ${process.arch}`;
  await context.out.write(`node ${node} (Node-API ${napi}) on ${machine}\n`);
}

export const version = command({
  name: 'version',
  summary: 'Show the version; with -v of what it runs on, too',
  about: 'tool',
  examples: ['mpool version', 'mpool -V'],
  run: (call, context) =>
    writeVersion({ verbosity: call.verbosity, json: call.options.has('json') }, context),
});
