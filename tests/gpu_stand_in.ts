/**
 * Programs that stand in for nvidia-smi and amd-smi: shell scripts of these
 * names in a folder of their own, which goes first on the PATH.
 *
 * They print what is recorded in `fixtures/gpu`, as asked, note each start, and
 * read anew at each how they are to behave: so one can hang and come back while
 * a test runs.
 *
 * @module
 */

import { GPU_FIXTURES } from "./fixtures/gpus.ts";

/** What a stand-in does. A word of its own prints that with the code. */
export type Behaviour =
  | "ok"
  | "hang"
  | "crash"
  | "flood"
  | { readonly code: number; readonly stdout: string };

/** What a stand-in replays: names of files in `fixtures/gpu`. */
export interface NvidiaMachine {
  readonly gpus: string;
  readonly help?: string;
  readonly apps?: string;
  readonly list?: string;
  readonly detail?: string;
}

/** A folder with stand-ins. */
export interface StandIns {
  /** What goes first on the PATH. */
  readonly folder: string;
  readonly setNvidia: (machine: NvidiaMachine) => void;
  /** The prefix of the files, such as `amd-26`. */
  readonly setAmd: (prefix: string) => void;
  readonly behave: (program: "nvidia-smi" | "amd-smi", behaviour: Behaviour) => void;
  /** Takes the program away. */
  readonly remove: (program: "nvidia-smi" | "amd-smi") => void;
  /** The arguments of every start since the last call. */
  readonly takeStarts: () => readonly string[];
}

/** Does what the file `behaviour` says, else goes on. Nothing but what the shell has itself, awk and cat. */
const PREAMBLE = `#!/bin/sh
here=\${0%/*}
name=\${0##*/}
echo "$name $*" >> "$here/starts"
. "$here/$name.behaviour"
case "$behaviour" in
  hang) while :; do sleep 60; done ;;
  crash) kill -SEGV $$ ;;
  flood) while :; do echo "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0"; done ;;
  print) cat "$here/$name.output"; exit "$code" ;;
esac
show() { if [ -f "$here/$1" ]; then cat "$here/$1"; fi; }
`;

const NVIDIA = `${PREAMBLE}
case "$1" in
  --help-query-gpu) show help ;;
  --query-compute-apps=*) show apps ;;
  -L) show list ;;
  -q) show detail ;;
  --query-gpu=*) awk -F'\\t' -v fields="\${1#--query-gpu=}" '
    NR == 1 {
      count = split(fields, wanted, ",")
      for (i = 1; i <= NF; i++) column[$i] = i
      for (i = 1; i <= count; i++) if (!(wanted[i] in column)) {
        printf "Field \\"%s\\" is not a valid field to query.\\n\\n", wanted[i]
        exit 2
      }
      next
    }
    { for (i = 1; i <= count; i++) printf "%s%s", $column[wanted[i]], i < count ? ", " : "\\n" }
  ' "$here/gpus" ;;
  *) echo "Invalid combination of input arguments."; exit 2 ;;
esac
`;

const AMD = `${PREAMBLE}
show "amd-$1"
`;

/** Runs with stand-ins in a folder that is there for that long only. */
export async function withStandIns(run: (standIns: StandIns) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "gpu-stand-in-" });
  const write = (name: string, text: string) => Deno.writeTextFileSync(`${folder}/${name}`, text);
  const copy = (name: string, fixture: string | undefined) =>
    write(name, fixture === undefined ? "" : Deno.readTextFileSync(new URL(fixture, GPU_FIXTURES)));
  const install = (program: "nvidia-smi" | "amd-smi", script: string) => {
    // A script that is being written cannot be run: it takes its place whole.
    write(`${program}.new`, script);
    Deno.chmodSync(`${folder}/${program}.new`, 0o755);
    Deno.renameSync(`${folder}/${program}.new`, `${folder}/${program}`);
  };
  const behave = (program: "nvidia-smi" | "amd-smi", behaviour: Behaviour) => {
    if (typeof behaviour === "string") {
      write(`${program}.behaviour`, `behaviour=${behaviour}\n`);
    } else {
      write(`${program}.output`, behaviour.stdout);
      write(`${program}.behaviour`, `behaviour=print\ncode=${behaviour.code}\n`);
    }
  };
  try {
    write("starts", "");
    await run({
      folder,
      setNvidia: (machine) => {
        copy("help", machine.help ?? "help-590.txt");
        copy("gpus", machine.gpus);
        copy("apps", machine.apps);
        copy("list", machine.list);
        copy("detail", machine.detail);
        behave("nvidia-smi", "ok");
        install("nvidia-smi", NVIDIA);
      },
      setAmd: (prefix) => {
        for (const part of ["static", "metric", "process"]) {
          copy(`amd-${part}`, `${prefix}-${part}.txt`);
        }
        behave("amd-smi", "ok");
        install("amd-smi", AMD);
      },
      behave,
      remove: (program) => Deno.removeSync(`${folder}/${program}`),
      takeStarts: () => {
        const starts = Deno.readTextFileSync(`${folder}/starts`).trimEnd().split("\n");
        write("starts", "");
        return starts.filter((start) => start !== "");
      },
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
