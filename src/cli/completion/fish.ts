import {
  COLUMN_EXTRAS,
  firstWords,
  secondWords,
  TOOL_OPTIONS,
  type ShellVerb,
} from './shell-verbs.ts';

interface Described {
  readonly word: string;
  readonly meaning: string;
}

const HEAD = `# Completion of mpool for fish, made by: mpool completion fish
# To load it:  mpool completion fish | source
# For good:    mpool completion fish > ~/.config/fish/completions/mpool.fish
`;

/** The script, for fish 3. */
export function fishScript(verbs: readonly ShellVerb[]): string {
  const nouns = [...secondWords(verbs)].map(([noun, words]) => {
    return `        case ${noun}\n            printf '%s\\n' ${described(words)}\n`;
  });
  const cases = verbs.map((verb) => {
    const parts = [
      ['options', described(verb.options)],
      ['columns', described(verb.columns)],
      ['parameters', described(verb.parameters)],
      ['values', verb.parameters.map(({ candidates }) => quote(candidates)).join(' ')],
      ['arguments', verb.arguments.map(quote).join(' ')],
      ['repeats', verb.repeats ? '1' : '0'],
    ];
    const lines = parts.map(([name, value]) => `            set ${name} ${value}`.trimEnd());
    return `        case ${quote(verb.name)}\n${lines.join('\n')}\n`;
  });
  return `${HEAD}
function __mpool_first_words
    printf '%s\\n' ${described(firstWords(verbs))}
end

function __mpool_second_words
    switch "$argv[1]"
${nouns.join('')}    end
end

function __mpool_command --no-scope-shadowing
    switch "$command"
${cases.join('')}    end
end
${LOGIC}`;
}

const LOGIC = `
# The one of the words, with their meanings, that the first is or begins, or nothing.
function __mpool_resolve
    set -l names (string replace -r '\\t.*' '' -- $argv[2..-1])
    if contains -- "$argv[1]" $names
        echo $argv[1]
    else if test -n "$argv[1]"
        set -l matches (string match -r -- '^'(string escape --style=regex -- $argv[1])'.*' $names)
        if test (count $matches) -eq 1
            echo $matches
        end
    end
end

# What the first stands for, '@file' or words; the second is the beginning of the word, the third what
# stands before it.
function __mpool_candidates
    set -l before $argv[3]
    switch "$argv[1]"
        case @pool
            $argv[4] complete-pools 2>/dev/null
            __fish_complete_path $argv[2]
        case @file
            printf '%s\\n' $before(__fish_complete_path $argv[2])
        case @user
            printf '%s\\n' $before(__fish_complete_users)
        case @group
            printf '%s\\n' $before(__fish_complete_groups)
        case '?*'
            printf '%s\\n' $before(string split ' ' -- $argv[1])
    end
end

# Columns for the last place of a list with commas, the first; the second stands before the list.
function __mpool_columns
    set -l before $argv[2](string match -r -- '^(?:.*,)?[+-]?' $argv[1])
    printf '%s\\n' $before$argv[3..-1]
end

function __mpool_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l tool $words[1]
    set -e words[1]
    set -l options
    set -l columns
    set -l parameters
    set -l values
    set -l arguments
    set -l repeats 0

    while string match -q -- '-*' "$words[1]"
        set -e words[1]
    end
    if test (count $words) -eq 0
        if string match -q -- '-*' "$cur"
            printf '%s\\n' ${described(TOOL_OPTIONS)}
        else
            __mpool_first_words
        end
        return
    end
    set -l command (__mpool_resolve $words[1] (__mpool_first_words))
    set -e words[1]
    set -l seconds (__mpool_second_words "$command")
    if test (count $seconds) -gt 0
        if test (count $words) -eq 0
            printf '%s\\n' $seconds
            return
        end
        set command "$command "(__mpool_resolve $words[1] $seconds)
        set -e words[1]
    end
    __mpool_command

    # Which argument it is, and whether options are over.
    set -l names (string replace -r '\\t.*' '' -- $parameters)
    set -l place 1
    set -l ended 0
    set -l previous
    while test (count $words) -gt 0
        set -l part $words[1]
        set -e words[1]
        set previous
        if test $ended -eq 1
            set place (math $place + 1)
        else if test "$part" = --
            set ended 1
        else if test -n "$columns"; and string match -qr -- '^(-[^-oO]*[oO]|--output|--sort)$' $part
            if test (count $words) -eq 0
                set previous $part
            else
                set -e words[1]
            end
        else if string match -q -- '-?*' $part
        else if contains -- (string replace -r '=.*' = -- $part) $names
        else
            set place (math $place + 1)
        end
    end

    set -l list $columns
    if not string match -qr -- '(O|--sort)$' "$previous"
        and not string match -q -- '--sort=*' "$cur"
        set list $columns ${COLUMN_EXTRAS.join(' ')}
    end
    set -l start (string replace -r '=.*' = -- "$cur")
    set -l rest (string replace -r '^[^=]*=' '' -- "$cur")
    if test -n "$previous"
        __mpool_columns "$cur" '' $list
    else if test $ended -eq 0; and string match -q -- '-*' "$cur"
        if test -n "$columns"; and contains -- $start --output= --sort=
            __mpool_columns "$rest" $start $list
        else
            printf '%s\\n' $options
        end
    else if test $ended -eq 0; and set -l at (contains -i -- "$start" $names)
        __mpool_candidates "$values[$at]" "$rest" "$start" $tool
    else
        if test $repeats -eq 1; and test $place -gt (count $arguments)
            set place (count $arguments)
        end
        if test $place -le (count $arguments)
            __mpool_candidates "$arguments[$place]" "$cur" '' $tool
        end
        if test $ended -eq 0
            printf '%s\\n' $parameters
        end
    end
end

complete -c mpool -f -a '(__mpool_complete)'
`;

/** What fish shows of each, with a tab between the word and its meaning. */
function described(words: readonly Described[]): string {
  return words.map(({ word, meaning }) => quote(`${word}\t${meaning}`)).join(' ');
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
