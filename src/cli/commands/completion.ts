import { command, type Command } from '../command.ts';
import { bashScript } from '../completion/bash.ts';
import { fishScript } from '../completion/fish.ts';
import { shellVerbs, type ShellVerb } from '../completion/shell-verbs.ts';
import { zshScript } from '../completion/zsh.ts';
import { jsonDocument } from '../json.ts';
import { suggest } from '../suggest.ts';
import { UsageError } from '../usage-error.ts';

const SCRIPTS: Readonly<Record<string, (verbs: readonly ShellVerb[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const SHELLS = Object.keys(SCRIPTS);

/** @param commands all of the tool's, this one too: asked when it runs */
export function completionOf(commands: () => readonly Command[]): Command {
  return command({
    name: 'completion',
    summary: "Print a shell's script that completes commands, options, parameters and pools",
    about: 'tool',
    positionals: [{ name: 'SHELL', meaning: 'bash, zsh or fish', candidates: SHELLS }],
    details: [
      'Pools are completed by the names of those that are active, and of those in the ' +
        'current directory, or in the places of $MPOOL_PATH: block devices are not looked at ' +
        'for it.',
    ],
    examples: [
      'source <(mpool completion bash)',
      'mpool completion bash > ~/.local/share/bash-completion/completions/mpool',
      'mpool completion zsh > "${fpath[1]}/_mpool"',
      'mpool completion fish > ~/.config/fish/completions/mpool.fish',
    ],
    async run(call, context) {
      const [shell = ''] = call.words;
      const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
      if (script === undefined) {
        const near = suggest(shell, SHELLS);
        const hint = near === undefined ? '' : `, did you mean '${near}'?`;
        throw new UsageError(`no shell '${shell}'${hint || ':'} bash, zsh and fish are known`);
      }
      const text = script(shellVerbs(commands()));
      const json = call.options.has('json');
      await context.out.write(json ? jsonDocument('completion', { shell, script: text }) : text);
    },
  });
}

/** What the scripts ask for names of pools: must be fast, and quiet whatever is wrong. */
export const completePools = command({
  name: 'complete-pools',
  summary: 'Print the names of pools in the places where they are looked for, one a line',
  hidden: true,
  examples: [],
  async run(_call, context) {
    const store = await context.store();
    const [found, active] = await Promise.all([
      store.scan({ places: context.places, blockDevices: false }).catch(() => []),
      store.active().catch(() => []),
    ]);
    const names = new Set([...found, ...active.map(({ info }) => info)].map(({ name }) => name));
    await context.out.write([...names].map((name) => `${name}\n`).join(''));
  },
});
