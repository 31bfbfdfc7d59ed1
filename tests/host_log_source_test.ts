/** Where a process logs, and how its last lines are read. */

import { assertEquals } from "@std/assert";
import { findLogPlace, nameLogPlace, readLogText } from "../lib/host_log_source.ts";
import { type LogPlace, parseLogPlace } from "../lib/log.ts";
import type { ProgramCall, ProgramOutcome } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { needsProgram } from "./programs.ts";

const ID = "3f2a".repeat(16);

/** A machine whose programs print so. */
function createMachine(outputs: Readonly<Record<string, Partial<ProgramOutcome>>>) {
  const calls: string[] = [];
  const runProgram = ({ name, arguments: words }: ProgramCall): Promise<ProgramOutcome> => {
    calls.push([name, ...words].join(" "));
    const outcome = outputs[name] ?? { kind: "missing" };
    return Promise.resolve(
      { kind: "exited", code: 0, stdout: "", stderr: "", ...outcome } as ProgramOutcome,
    );
  };
  return { runProgram, calls };
}

for (
  const [name, group, links, expected] of [
    ["a file", "0::/user.slice/session-3.scope", "/var/log/vllm.log\n/var/log/vllm.log\n", {
      kind: "file",
      path: "/var/log/vllm.log",
    }],
    ["the error stream", "0::/", "/dev/null\n/srv/err.log\n", {
      kind: "file",
      path: "/srv/err.log",
    }],
    ["Docker, systemd's groups", `0::/system.slice/docker-${ID}.scope`, "/in/it.log\n", {
      kind: "docker",
      container: ID,
    }],
    ["Docker, its own groups", `12:memory:/docker/${ID}\n`, "", { kind: "docker", container: ID }],
    ["Podman", `0::/machine.slice/libpod-${ID}.scope/container`, "pipe:[1]\n", {
      kind: "podman",
      container: ID,
    }],
    ["another container", `0::/kubepods.slice/cri-containerd-${ID}.scope`, "/in/it.log\n", null],
    ["a service", "0::/system.slice/vllm@7b.service", "socket:[7]\nsocket:[7]\n", {
      ...{ kind: "journal", unit: "vllm@7b.service", isUser: false },
    }],
    ["another user's service", "0::/system.slice/vllm.service", "", {
      ...{ kind: "journal", unit: "vllm.service", isUser: false },
    }],
    [
      "a user's service",
      "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service",
      "socket:[7]\n",
      { kind: "journal", unit: "vllm.service", isUser: true },
    ],
    ["a terminal", "0::/user.slice/user-1000.slice/session-3.scope", "/dev/pts/3\n", null],
    ["a terminal of a service", "0::/system.slice/ssh.service", "/dev/pts/3\n", null],
    ["a deleted file", "0::/", "/tmp/x.log (deleted)\n", null],
  ] as const
) {
  Deno.test(`findLogPlace() finds ${name}`, async () => {
    const machine = createMachine({ ps: { stdout: group }, readlink: { stdout: links } });
    assertEquals(await findLogPlace(machine, 7), expected as LogPlace | null);
    assertEquals(machine.calls, [
      "ps -ww -o cgroup= -p 7",
      "readlink /proc/7/fd/1 /proc/7/fd/2",
    ]);
  });
}

Deno.test("readLogText() merges a container's streams by time", async () => {
  const machine = createMachine({
    docker: {
      stdout: "2026-11-28T15:04:05.1Z a\n2026-11-28T15:04:05.3Z c\n",
      stderr: "2026-11-28T15:04:05.2Z b\n",
    },
  });
  const read = await readLogText(machine, { kind: "docker", container: ID });
  assertEquals(read, {
    text: "2026-11-28T15:04:05.1Z a\n2026-11-28T15:04:05.2Z b\n2026-11-28T15:04:05.3Z c",
  });
  assertEquals(machine.calls, [`docker logs --timestamps --tail 1000 ${ID}`]);
});

Deno.test("readLogText() asks the journal for all of the unit's lines", async () => {
  const machine = createMachine({ journalctl: { stdout: "line\n" } });
  const place = { kind: "journal", unit: "vllm.service", isUser: true } as const;
  assertEquals(await readLogText(machine, place), { text: "line\n" });
  assertEquals(machine.calls, [
    "journalctl --quiet --no-pager --all --output short-iso-precise --lines 1000 --user-unit vllm.service",
  ]);
});

Deno.test("readLogText() says why it cannot read", async () => {
  const docker = { kind: "docker", container: "c" } as const;
  const read = async (outputs: Parameters<typeof createMachine>[0], place: LogPlace) =>
    await readLogText(createMachine(outputs), place);
  assertEquals(await read({}, docker), { problem: "docker is not installed" });
  const denied = "permission denied while trying to connect to the Docker daemon socket";
  assertEquals(await read({ docker: { code: 1, stderr: `warning\n${denied}.\n` } }, docker), {
    problem: denied,
  });
  assertEquals(await read({ docker: { kind: "timeout" } }, docker), {
    problem: "docker took longer than 3 s",
  });
  const unit = { kind: "journal", unit: "vllm.service", isUser: false } as const;
  assertEquals(await read({ journalctl: {} }, unit), {
    problem: "the journal shows nothing of vllm.service: it may need the group adm",
  });
});

Deno.test(
  "readLogText() and findLogPlace() read a real process's file, its last part",
  needsProgram("readlink"),
  async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/a log=1`;
    // The shell ends with its input.
    const child = new Deno.Command("sh", {
      args: ["-c", 'exec > "$0" 2>&1; seq 60000; echo end; read x', path],
      stdin: "piped",
    }).spawn();
    try {
      const machine = createDenoPlatform();
      const place = { kind: "file", path } as const;
      for (;;) {
        const read = await readLogText(machine, place);
        if (!("text" in read) || !read.text.endsWith("\nend\n")) continue;
        assertEquals(read.text.length <= 256 * 1024, true);
        // Begins with a whole line.
        assertEquals(/^\d{5}\n/.test(read.text), true);
        break;
      }
      assertEquals(await findLogPlace(machine, child.pid), place);
      const gone = await readLogText(machine, { kind: "file", path: `${path}2` });
      assertEquals("problem" in gone && gone.problem.includes("No such file"), true);
    } finally {
      await child.stdin.close();
      await child.status;
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("parseLogPlace() and nameLogPlace() take what a user writes, and no option of a program", () => {
  const name = (text: string): string | null => {
    const place = parseLogPlace(text);
    return place === null ? null : nameLogPlace(place);
  };
  assertEquals(name("docker:vllm-1"), "docker logs vllm-1");
  assertEquals(name(`podman:${ID}`), "podman logs 3f2a3f2a3f2a");
  assertEquals(name("journal:vllm@7b.service"), "journalctl -u vllm@7b.service");
  assertEquals(name("/var/log/vllm.log"), "/var/log/vllm.log");
  for (const text of ["docker:--help", "docker:", "journal:-f", "podman:a b", "vllm.log", ""]) {
    assertEquals(name(text), null, text);
  }
});
