/**
 * Option table -> completions for a shell: names, fixed values, comma-separated lists and files.
 * They never start the program. Sources: the manuals of bash 5.2 (runs in 3.2 of macOS, too), zsh
 * 5.9 (zshcompsys), fish 3.6 and PowerShell 7.
 * @module
 */

import { OPTION_ROWS, type OptionRow, type SHELLS } from "./cli_option_table.ts";

type Shell = typeof SHELLS[number];

/** How to complete a value; `words`: several, comma-separated. */
type ValueKind = "none" | "file" | "word" | "words" | "text";

function getValueKind({ value, choices, words }: OptionRow): ValueKind {
  if (value === null) return "none";
  if (choices !== undefined || words !== undefined) return value === "LIST" ? "words" : "word";
  return /\bFILE$/.test(value) ? "file" : "text";
}

const COMPLETIONS = OPTION_ROWS.map((row) => {
  return { ...row, kind: getValueKind(row), words: row.choices ?? row.words ?? [] };
});
type Completion = typeof COMPLETIONS[number];

/** Single quotes for bash, zsh and fish. */
function quotePosix(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function writeBash(): string {
  const flags = COMPLETIONS.flatMap(({ name, short }) =>
    short === undefined ? `--${name}` : [`--${name}`, `-${short}`]
  );
  const withWords = COMPLETIONS.filter(({ words }) => words.length > 0).map(
    ({ name, kind, words }) => {
      const before = kind === "words" ? ' -P "$before"' : "";
      const current = kind === "words" ? '"${current##*,}"' : '"$current"';
      // A word may follow this switch, or an option.
      const list = quotePosix([...words, ...(kind === "none" ? flags : [])].join(" "));
      return `    --${name}) COMPREPLY=($(compgen${before} -W ${list} -- ${current})) ;;`;
    },
  );
  const listNames = (wanted: ValueKind): string =>
    COMPLETIONS.filter(({ kind }) => kind === wanted).map(({ name }) => `--${name}`).join("|");
  return `# vllm-htop: completions for bash. In ~/.bashrc:
#   source <(vllm-htop --completions bash)
_vllm_htop() {
  local current=\${COMP_WORDS[COMP_CWORD]} option=\${COMP_WORDS[COMP_CWORD-1]} before=
  # Bash splits "--theme=light" at the sign.
  if [ "$current" = = ]; then
    current=
  elif [ "$option" = = ]; then
    option=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $current in *,*) before=\${current%,*}, ;; esac
  local IFS=$' \\t\\n'
  COMPREPLY=()
  case $option in
${withWords.join("\n")}
    ${listNames("file")}) IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$current")) ;;
    ${listNames("text")}) ;;
    *)
      case $current in
        -*) COMPREPLY=($(compgen -W ${quotePosix(flags.join(" "))} -- "$current")) ;;
      esac ;;
  esac
}
complete -o bashdefault -F _vllm_htop vllm-htop
`;
}

/** Escapes what ends a part of an argument of `_arguments`. */
function escapeZsh(text: string): string {
  return text.replace(/[\\:[\]]/g, "\\$&");
}

function describeZshValue({ value, kind, words }: Completion): string {
  const list = words.map(escapeZsh).join(" ");
  const actions = {
    file: "_files",
    word: `(${list})`,
    words: `_sequence compadd - ${list}`,
    text: "",
  };
  if (kind === "none") return list === "" ? "" : `::word:(${list})`;
  return `:${escapeZsh(value ?? "")}:${actions[kind]}`;
}

function writeZsh(): string {
  const lines = COMPLETIONS.map((option) => {
    const { name, short, help, kind, repeatable } = option;
    const assign = kind === "none" ? "" : "=";
    const rest = quotePosix(`[${escapeZsh(help)}]${describeZshValue(option)}`);
    if (short === undefined) return `    '${repeatable ? "*" : ""}--${name}${assign}'${rest} \\`;
    return `    '(-${short} --${name})'{-${short},--${name}${assign}}${rest} \\`;
  });
  return `#compdef vllm-htop
# vllm-htop: completions for zsh. As a file named _vllm-htop in a folder of $fpath, or in ~/.zshrc:
#   source <(vllm-htop --completions zsh)
_vllm_htop() {
  _arguments -s -S \\
${lines.join("\n")}
    '*:URL:'
}
if [ "$funcstack[1]" = _vllm_htop ]; then
  _vllm_htop "$@"
else
  compdef _vllm_htop vllm-htop
fi
`;
}

/** fish knows the backslash in single quotes. */
function quoteFish(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}

function describeFishValue({ kind, words }: Completion): string {
  const list = words.join(" ");
  return {
    none: "",
    file: " -r -F",
    word: ` -x -a ${quoteFish(list)}`,
    words: ` -x -a ${quoteFish(`(__fish_append , ${list})`)}`,
    text: " -x",
  }[kind];
}

function writeFish(): string {
  const lines = COMPLETIONS.map((option) => {
    const { name, short, help } = option;
    const flags = short === undefined ? `-l ${name}` : `-l ${name} -s ${short}`;
    return `complete -c vllm-htop ${flags}${describeFishValue(option)} -d ${quoteFish(help)}`;
  });
  return `# vllm-htop: completions for fish. In ~/.config/fish/config.fish:
#   vllm-htop --completions fish | source
complete -c vllm-htop -f
${lines.join("\n")}
`;
}

/** PowerShell doubles a quote. */
function quotePowerShell(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function writePowerShell(): string {
  const lines = COMPLETIONS.map(({ name, help, kind, words }) => {
    const list = kind === "none" ? "" : words.map(quotePowerShell).join(", ");
    return `    ${quotePowerShell(`--${name}`)} = @(${quotePowerShell(help)}, @(${list}))`;
  });
  const lists = COMPLETIONS.filter(({ kind }) => kind === "words").map(({ name }) => `--${name}`);
  return `# vllm-htop: completions for PowerShell. In $PROFILE:
#   vllm-htop --completions powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName vllm-htop -ScriptBlock {
  param($word, $command, $position)
  $options = [ordered]@{
${lines.join("\n")}
  }
  $typed = @($command.CommandElements | Where-Object { $_.Extent.EndOffset -lt $position } |
    ForEach-Object { $_.ToString() })
  $option = if ($typed.Count -gt 1) { $typed[-1] } else { '' }
  if ($options.Contains($option) -and $options[$option][1].Count -gt 0) {
    $before = ''
    if (@(${lists.map(quotePowerShell).join(", ")}) -contains $option -and $word.Contains(',')) {
      $before = $word.Substring(0, $word.LastIndexOf(',') + 1)
    }
    $options[$option][1] | ForEach-Object { $before + $_ } |
      Where-Object { $_.StartsWith($word) } |
      ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }
  } elseif ($word.StartsWith('-')) {
    $options.GetEnumerator() | Where-Object { $_.Key.StartsWith($word) } | ForEach-Object {
      [System.Management.Automation.CompletionResult]::new($_.Key, $_.Key, 'ParameterName', $_.Value[0])
    }
  }
}
`;
}

const WRITERS: Readonly<Record<Shell, () => string>> = {
  bash: writeBash,
  zsh: writeZsh,
  fish: writeFish,
  powershell: writePowerShell,
};

/** The script that makes the shell complete the program's arguments. */
export function writeCompletions(shell: Shell): string {
  return WRITERS[shell]();
}
