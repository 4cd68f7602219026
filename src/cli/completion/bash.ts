import {
  COLUMN_EXTRAS,
  COLUMN_OPTIONS,
  firstWords,
  secondWords,
  TOOL_OPTIONS,
  type ShellVerb,
} from './shell-verbs.ts';

const HEAD = `# Completion of mpool for bash, made by: mpool completion bash
# To load it:  source <(mpool completion bash)
# For good:    mpool completion bash > ~/.local/share/bash-completion/completions/mpool
`;

/** The script, for bash 4.4 and later. */
export function bashScript(verbs: readonly ShellVerb[]): string {
  const nouns = [...secondWords(verbs)].map(([noun, words]) => {
    return `  ${quote(noun)}) _mpool_words=${list(words)} ;;\n`;
  });
  const cases = verbs.map((verb) => {
    const values = verb.parameters.map(({ candidates }) => candidates);
    return `  ${quote(verb.name)})
    options=${list(verb.options)}
    columns=${list(verb.columns)}
    parameters=${list(verb.parameters)}
    values=(${values.map(quote).join(' ')})
    arguments=(${verb.arguments.map(quote).join(' ')})
    repeats=${verb.repeats ? 1 : 0} ;;
`;
  });
  return `${HEAD}
_mpool_first_words() { _mpool_words=${list(firstWords(verbs))}; }

_mpool_second_words() {
  case $1 in
${nouns.join('')}  *) _mpool_words=() ;;
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
  local word=$1 each matches=()
  shift
  for each; do
    if [[ $each == "$word" ]]; then
      found=$each
      return
    fi
    if [[ $word != '' && $each == "$word"* ]]; then matches+=("$each"); fi
  done
  found=
  if ((\${#matches[@]} == 1)); then found=\${matches[0]}; fi
}

# Replies with those of the words that begin as $1 does, $2 put before them.
_mpool_reply() {
  local start=$1 before=$2 each
  shift 2
  for each; do
    if [[ $each == "$start"* ]]; then COMPREPLY+=("$before$each"); fi
  done
}

# Replies with what $1 stands for, '@file' or words; $2 is its beginning, $3 put before it.
_mpool_candidates() {
  local IFS=$'\\n' each found=()
  case $1 in
  @file | @pool)
    if [[ $1 == @pool ]]; then _mpool_reply "$2" "$3" $("$tool" complete-pools 2>/dev/null); fi
    mapfile -t found < <(compgen -f -- "$2")
    for each in "\${found[@]}"; do
      COMPREPLY+=("$3$each")
      files=1
    done
    ;;
  @user) _mpool_reply "$2" "$3" $(compgen -u -- "$2") ;;
  @group) _mpool_reply "$2" "$3" $(compgen -g -- "$2") ;;
  *)
    IFS=' '
    _mpool_reply "$2" "$3" $1
    ;;
  esac
}

# Replies with columns for the last place in $1, a list with commas; $2 is put before it.
_mpool_columns() {
  local last=\${1##*[,+-]} each
  local before=$2\${1%"$last"}
  shift 2
  for each; do
    if [[ $each == "$last"* ]]; then COMPREPLY+=("$before$each"); fi
  done
  compopt -o nospace 2>/dev/null
}

_mpool() {
  local tool=$1 IFS=$' \\t\\n' words=() _mpool_words=() found part i
  local options=() columns=() parameters=() values=() arguments=() repeats=0 files=0
  COMPREPLY=()

  # bash breaks words at '=': here they are whole again.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    part=\${COMP_WORDS[i]}
    if [[ \${#words[@]} -gt 0 && $part != '' && ($part == =* || \${words[-1]} == ?*=) ]]; then
      words[-1]+=$part
    else
      words+=("$part")
    fi
  done
  local cur=\${words[-1]}
  unset 'words[-1]'
  # What stands before the '=' stays where it is, unless bash was told not to break there.
  local kept=\${cur%%=*}=
  if [[ $COMP_WORDBREAKS == *=* ]]; then kept=; fi

  i=0
  while ((i < \${#words[@]})) && [[ \${words[i]} == -* ]]; do i=$((i + 1)); done
  if ((i >= \${#words[@]})); then
    _mpool_first_words
    if [[ $cur == -* ]]; then _mpool_words=${list(TOOL_OPTIONS)}; fi
    _mpool_reply "$cur" '' "\${_mpool_words[@]}"
    return
  fi
  _mpool_first_words
  _mpool_resolve "\${words[i]}" "\${_mpool_words[@]}"
  local command=$found
  i=$((i + 1))
  _mpool_second_words "$command"
  if ((\${#_mpool_words[@]} > 0)); then
    if ((i >= \${#words[@]})); then
      if [[ $cur == -* ]]; then _mpool_words=(-h --help); fi
      _mpool_reply "$cur" '' "\${_mpool_words[@]}"
      return
    fi
    _mpool_resolve "\${words[i]}" "\${_mpool_words[@]}"
    command="$command $found"
    i=$((i + 1))
  fi
  _mpool_command "$command"

  # Which argument it is, and whether options are over.
  local place=0 ended=0 previous=
  for (( ; i < \${#words[@]}; i++)); do
    previous=
    part=\${words[i]}
    if ((ended)); then place=$((place + 1))
    elif [[ $part == -- ]]; then ended=1
    elif [[ \${#columns[@]} -gt 0 && $part =~ ^(-[^-oO]*[oO]|--output|--sort)$ ]]; then
      previous=$part
      i=$((i + 1))
      if ((i < \${#words[@]})); then previous=; fi
    elif [[ $part == -?* ]]; then :
    elif [[ $part == *=* && " \${parameters[*]} " == *" \${part%%=*}= "* ]]; then :
    else place=$((place + 1)); fi
  done

  case $previous in
  ${COLUMN_OPTIONS.sort[1]} | -*O) _mpool_columns "$cur" '' "\${columns[@]}" ;;
  ?*) _mpool_columns "$cur" '' "\${columns[@]}" ${COLUMN_EXTRAS.join(' ')} ;;
  *)
    if ((!ended)) && [[ $cur == --output=* && \${#columns[@]} -gt 0 ]]; then
      _mpool_columns "\${cur#*=}" "$kept" "\${columns[@]}" ${COLUMN_EXTRAS.join(' ')}
      return
    elif ((!ended)) && [[ $cur == --sort=* && \${#columns[@]} -gt 0 ]]; then
      _mpool_columns "\${cur#*=}" "$kept" "\${columns[@]}"
      return
    elif ((!ended)) && [[ $cur == -* ]]; then
      _mpool_reply "$cur" '' "\${options[@]}"
      return
    fi
    if ((!ended)) && [[ $cur == *=* ]]; then
      for i in "\${!parameters[@]}"; do
        if [[ \${parameters[i]} == "\${cur%%=*}=" ]]; then
          _mpool_candidates "\${values[i]}" "\${cur#*=}" "$kept"
          if ((files)) && [[ $kept == '' ]]; then compopt -o filenames 2>/dev/null; fi
          return
        fi
      done
    fi
    if ((repeats && place >= \${#arguments[@]})); then place=$((\${#arguments[@]} - 1)); fi
    _mpool_candidates "\${arguments[place]}" "$cur" ''
    if ((files)); then compopt -o filenames 2>/dev/null; fi
    if ((!ended)); then
      _mpool_reply "$cur" '' "\${parameters[@]}"
      if [[ \${COMPREPLY[*]} == *= ]]; then compopt -o nospace +o filenames 2>/dev/null; fi
    fi
    ;;
  esac
}

complete -F _mpool mpool
`;

function list(words: readonly { readonly word: string }[]): string {
  return `(${words.map(({ word }) => quote(word)).join(' ')})`;
}

function quote(text: string): string {
  return /^[\w=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
