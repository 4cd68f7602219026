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

const HEAD = `#compdef mpool
# Completion of mpool for zsh, made by: mpool completion zsh
# To load it:  source <(mpool completion zsh)
# For good:    mpool completion zsh > "\${fpath[1]}/_mpool"
`;

/** The script, for zsh 5; to be loaded by compinit or by itself. */
export function zshScript(verbs: readonly ShellVerb[]): string {
  const nouns = [...secondWords(verbs)].map(([noun, words]) => {
    return `    (${noun}) names=${described(words)} ;;\n`;
  });
  const cases = verbs.map((verb) => {
    const parameters = verb.parameters.map(({ word, meaning }) => {
      return { word: word.slice(0, -1), meaning };
    });
    const values = verb.parameters.map(({ candidates }) => quote(candidates));
    return `    (${quote(verb.name)})
      options=${described(verb.options)}
      columns=${described(verb.columns)}
      parameters=${described(parameters)}
      values=(${values.join(' ')})
      arguments=(${verb.arguments.map(quote).join(' ')})
      repeats=${verb.repeats ? 1 : 0} ;;
`;
  });
  return `${HEAD}
_mpool_first_words() {
  names=${described(firstWords(verbs))}
}

_mpool_second_words() {
  case $1 in
${nouns.join('')}    (*) names=() ;;
  esac
}

_mpool_command() {
  case $1 in
${cases.join('')}  esac
}
${LOGIC}`;
}

const LOGIC = `
# The one of the words that $1 is or begins, or nothing.
_mpool_resolve() {
  local word=$1
  local -a matches
  shift
  found=
  if (( \${@[(Ie)$word]} )); then
    found=$word
  elif [[ -n $word ]]; then
    matches=("\${(@M)@:#\${(b)word}*}")
    if (( $#matches == 1 )); then found=$matches[1]; fi
  fi
}

# Completes to what $1 stands for: '@file' or words.
_mpool_candidates() {
  local -a pools
  case $1 in
    (@pool)
      pools=(\${(f)"$(_call_program pools \${(q)tool} complete-pools 2>/dev/null)"})
      _wanted pools expl pool compadd -a pools
      _files
      ;;
    (@file) _files ;;
    (@user) _users ;;
    (@group) _groups ;;
    (?*) _wanted values expl value compadd -- \${(s: :)1} ;;
  esac
}

# Completes the last of a list with commas.
_mpool_columns() {
  compset -P '*,' || compset -P '[+-]'
  compset -P '[+-]'
  _describe -t columns column columns -qS ,
}

_mpool() {
  local tool=$words[1] found command part expl
  local -a names options columns parameters values arguments extras
  extras=(${COLUMN_EXTRAS.join(' ')})
  integer i=2 place=1 ended=0 repeats=0 at
  setopt local_options extended_glob

  while (( i < CURRENT )) && [[ $words[i] == -* ]]; do (( i++ )); done
  _mpool_first_words
  if (( i >= CURRENT )); then
    if [[ $words[CURRENT] == -* ]]; then
      names=${described(TOOL_OPTIONS)}
      _describe -o -t options option names
    else
      _describe -t commands command names
    fi
    return
  fi
  _mpool_resolve "$words[i]" "\${(@)names%%:*}"
  command=$found
  (( i++ ))
  _mpool_second_words "$command"
  if (( $#names )); then
    if (( i >= CURRENT )); then
      _describe -t commands command names
      return
    fi
    _mpool_resolve "$words[i]" "\${(@)names%%:*}"
    command="$command $found"
    (( i++ ))
  fi
  _mpool_command "$command"

  # Which argument it is, and whether options are over.
  for (( ; i < CURRENT; i++ )); do
    part=$words[i]
    if (( ended )); then (( place++ ))
    elif [[ $part == -- ]]; then ended=1
    elif (( $#columns )) && [[ $part == (-[^-oO]#[oO]|--output|--sort) ]]; then
      (( i++ ))
      if (( i == CURRENT )); then
        if [[ $part != (-*O|--sort) ]]; then columns+=($extras); fi
        _mpool_columns
        return
      fi
    elif [[ $part == -?* ]]; then :
    elif [[ $part == *=* ]] && (( \${\${(@)parameters%%:*}[(Ie)\${part%%=*}]} )); then :
    else (( place++ ))
    fi
  done

  part=$words[CURRENT]
  if (( ! ended && $#columns )) && [[ $part == --(output|sort)=* ]]; then
    if [[ $part == --output=* ]]; then columns+=($extras); fi
    compset -P '--[a-z]#='
    _mpool_columns
    return
  elif (( ! ended )) && [[ $part == -* ]]; then
    _describe -o -t options option options
    return
  elif (( ! ended )) && [[ $part == *=* ]]; then
    at=\${\${(@)parameters%%:*}[(Ie)\${part%%=*}]}
    if (( at )); then
      compset -P '*='
      _mpool_candidates "$values[at]"
      return
    fi
  fi
  if (( repeats && place > $#arguments )); then place=$#arguments; fi
  _mpool_candidates "$arguments[place]"
  if (( ! ended && $#parameters )); then
    _describe -t parameters parameter parameters -S =
  fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _mpool "$@"
elif typeset -f compdef >/dev/null; then
  compdef _mpool mpool
fi
`;

/** An array for _describe: 'word:meaning'. */
function described(words: readonly Described[]): string {
  return `(${words.map(({ word, meaning }) => quote(item(word, meaning))).join(' ')})`;
}

function item(word: string, meaning: string): string {
  const [name, text] = [word, meaning].map((each) => each.replaceAll(':', '\\:'));
  return meaning === '' ? name! : `${name}:${text}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
