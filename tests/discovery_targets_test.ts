import { assertEquals, assertThrows } from "@std/assert";
import { parseTargetPlace } from "../lib/cli_values.ts";
import { NOTHING_WATCHED, type Source } from "../lib/discovery_source.ts";
import { createTargetSource, parseTargetGroups, TargetError } from "../lib/discovery_targets.ts";
import type { TypedEndpoint } from "../lib/endpoint.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { createPageClient } from "../lib/scrape_page.ts";

const PLATFORM = createDenoPlatform();

function describe({ endpoint }: TypedEndpoint): string {
  const { metricsUrl, label, targetLabels } = endpoint;
  const labels = [...targetLabels ?? []].map(([name, value]) => ` ${name}=${value}`);
  return `${label ?? "-"} ${metricsUrl}${labels.join("")}`;
}

Deno.test("parseTargetGroups() obeys scheme, address and path, and names a target by its pod", () => {
  const groups = [
    { targets: ["gpu1:8000", "gpu2"], labels: { pod: "llama-0", namespace: "prod" } },
    {
      targets: ["gpu3"],
      labels: { __scheme__: "https", __metrics_path__: "/prometheus", job: "trt\u001b[2J" },
    },
    { targets: ["10"], labels: { __address__: "localhost:8001", __metrics_path__: "/v1/metrics" } },
    { targets: ["[::1]:8000", "gpu1:8000"], labels: null },
    { targets: [] },
  ];
  assertEquals(parseTargetGroups(groups).map(describe), [
    "llama-0 http://gpu1:8000/metrics pod=llama-0 namespace=prod",
    "llama-0 http://gpu2/metrics pod=llama-0 namespace=prod",
    "- https://gpu3/prometheus job=trt\\x1b[2J",
    "- http://localhost:8001/v1/metrics",
    "- http://[::1]:8000/metrics",
  ]);
  const keys = parseTargetGroups(groups).map(({ endpoint }) => endpoint.key);
  assertEquals(keys[2], "https://gpu3/prometheus");
  assertEquals(keys[3], "http://localhost:8001/v1");
});

Deno.test("parseTargetGroups() says where a list is wrong", () => {
  for (
    const [groups, words] of [
      [{}, "must be a list of target groups"],
      [[["a:1"]], 'group 1 must have "targets"'],
      [[{ targets: ["a:1"] }, { targets: "a:1" }], 'group 2 must have "targets"'],
      [[{ targets: [8000] }], "group 1: a target must be a text"],
      [[{ targets: ["a:1"], labels: ["x"] }], 'group 1: "labels" must be an object'],
      [[{ targets: ["a:1"], labels: { x: {} } }], 'group 1: the label "x" must be a text'],
      [[{ targets: ["a:1/x y@b"] }], 'has an "@" in its path'],
      [[{ targets: ["a:99999"] }], "has an invalid port"],
      [[{ targets: ["a:1"], labels: { __scheme__: "ftp" } }], "has an unsupported scheme"],
    ] as const
  ) {
    assertThrows(() => parseTargetGroups(groups), TargetError, words);
  }
});

/** Asks a source again and again, as the program does. */
function startLooking(source: Source) {
  const keys = new Set<string>();
  return async (): Promise<string> => {
    const { found, goneKeys, notices } = await source.look({ ...NOTHING_WATCHED, keys });
    for (const { endpoint } of found) keys.add(endpoint.key);
    for (const key of goneKeys) keys.delete(key);
    const parts = [found.map((one) => `+${describe(one)}`), goneKeys.map((key) => `-${key}`)];
    return [...parts.flat(), ...notices ?? []].join("\n");
  };
}

const list = (...targets: string[]): string => JSON.stringify([{ targets }]);

Deno.test("createTargetSource() follows a file that is changed, truncated, replaced and removed", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/targets.json`;
  const look = startLooking(createTargetSource(PLATFORM, { kind: "file", path }, null));
  const problem = (words: string): string => `the targets file "${path}" ${words}`;
  assertEquals(await look(), problem("does not exist: check the path"));
  await Deno.writeTextFile(path, list("a:1", "b:2"));
  assertEquals(await look(), "+- http://a:1/metrics\n+- http://b:2/metrics");
  assertEquals(await look(), "");
  await Deno.writeTextFile(path, list("b:2", "c:3"));
  assertEquals(await look(), "+- http://c:3/metrics\n-http://a:1");
  const kept = "; its last good targets stay";
  for (const text of ["", "[", '[{"targets": ["b:2", "c:3"']) {
    await Deno.writeTextFile(path, text);
    assertEquals(await look(), problem(`is not JSON${kept}`), text);
  }
  await Deno.writeTextFile(path, "{}");
  assertEquals(await look(), problem(`must be a list of target groups${kept}`));
  await Deno.writeTextFile(
    `${path}.new`,
    JSON.stringify([{ targets: ["c:3"], labels: { x: "1" } }]),
  );
  await Deno.rename(`${path}.new`, path);
  assertEquals(await look(), "+- http://c:3/metrics x=1\n-http://b:2");
  await Deno.remove(path);
  assertEquals(await look(), problem(`does not exist: check the path${kept}`));
  await Deno.writeTextFile(path, "[]");
  assertEquals(await look(), "-http://c:3");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("createTargetSource() reads YAML as JSON, and every label as text", async () => {
  const path = await Deno.makeTempFile({ suffix: ".yml" });
  const look = startLooking(createTargetSource(PLATFORM, { kind: "file", path }, null));
  await Deno.writeTextFile(
    path,
    "- targets:\n    - a:1\n  labels:\n    pod: llama-1\n    rack: 07\n    on: yes\n" +
      "- targets: [b:2]\n  labels: {__metrics_path__: /x}\n",
  );
  assertEquals(
    await look(),
    "+llama-1 http://a:1/metrics pod=llama-1 rack=07 on=yes\n+- http://b:2/x",
  );
  await Deno.writeTextFile(path, "- targets: [a:1\n");
  assertEquals(await look(), `the targets file "${path}" is not YAML; its last good targets stay`);
  await Deno.remove(path);
});

Deno.test("createTargetSource() leaves alone what another source watches", async () => {
  const path = await Deno.makeTempFile({ suffix: ".json" });
  const source = createTargetSource(PLATFORM, { kind: "file", path }, null);
  const watched = { ...NOTHING_WATCHED, keys: new Set(["http://a:1"]) };
  await Deno.writeTextFile(path, list("a:1"));
  assertEquals((await source.look(watched)).found, []);
  await Deno.writeTextFile(path, "[]");
  assertEquals((await source.look(watched)).goneKeys, []);
  await Deno.remove(path);
});

Deno.test("createTargetSource() asks a URL, and keeps its targets while that fails", async () => {
  let answer = (): Response => new Response(list("a:1"));
  const asked: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname, search } = new URL(request.url);
    const interval = request.headers.get("x-prometheus-refresh-interval-seconds");
    asked.push(`${request.method} ${pathname}${search} ${interval}`);
    return answer();
  });
  const url = `http://localhost:${server.addr.port}/sd/list?team=a`;
  const place = parseTargetPlace({ level: "option", origin: "--targets", text: url });
  if (!("kind" in place)) throw new Error("The URL is refused");
  const client = await createPageClient(PLATFORM, { access: ANONYMOUS_ACCESS, timeout: 10 });
  const look = startLooking(createTargetSource(PLATFORM, place, client));
  assertEquals(await look(), "+- http://a:1/metrics");
  assertEquals(asked, ["GET /sd/list?team=a 60"]);
  const kept = "; its last good targets stay";
  const shown = `"http://localhost:${server.addr.port}/sd/list"`;
  answer = () => new Response("", { status: 401 });
  assertEquals(
    await look(),
    `the list of targets ${shown} cannot be read: ${shown} answered 401 (credentials required): give them with ` +
      `--token-file or --basic-auth-file${kept}`,
  );
  answer = () => new Response("<html>");
  assertEquals(await look(), `the list of targets ${shown} is not JSON${kept}`);
  answer = () => new Response(list("b:2"));
  assertEquals(await look(), "+- http://b:2/metrics\n-http://a:1");
  await server.shutdown();
  // On Deno 2.6 the first question meets the connection that was kept.
  await look();
  assertEquals((await look()).includes("refused"), true);
  client.close();
});
