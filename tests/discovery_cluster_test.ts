import { assertEquals } from "@std/assert";
import { describeAbsence, describeRefusal } from "../lib/discovery_cluster.ts";
import { readPods } from "../lib/discovery_pods.ts";
import { readRecordedPods } from "./kubernetes_api.ts";

interface RecordedRequest {
  readonly what: string;
  readonly status: number;
  readonly body: string;
}

const RECORDED: readonly RecordedRequest[] = JSON.parse(
  Deno.readTextFileSync(new URL("fixtures/kubernetes/kubectl-proxy-runs.json", import.meta.url)),
).requests;

function explain(what: string): readonly string[] {
  const found = RECORDED.find((one) => one.what === what);
  if (found === undefined) throw new Error(`No recording "${what}"`);
  const { kind, message } = describeRefusal({ name: "prod" }, { ...found, nowEpoch: 0 });
  return [kind, message];
}

Deno.test("describeRefusal() names the missing verb and resource of a recorded refusal", () => {
  assertEquals(explain("forbidden"), [
    "unauthorized",
    'the API server of "prod" does not let "viewer" get pods/proxy in the namespace "chart": ' +
    "ask for a role with the verb get on pods/proxy",
  ]);
  assertEquals(explain("listing everywhere forbidden"), [
    "unauthorized",
    'the API server of "prod" does not let "viewer" list pods in all namespaces: ask for a role ' +
    "with the verb list on pods",
  ]);
});

Deno.test("describeRefusal() has a next step for every other refusal", () => {
  const say = (status: number, body: string, retryAfter: string | null = null) =>
    describeRefusal({ name: "prod" }, { status, body, retryAfter, nowEpoch: 0 });
  assertEquals(say(401, "").kind, "unauthorized");
  assertEquals(
    say(401, "").message,
    'the API server of "prod" refused the login, which may have expired: log in again, and check ' +
      "with kubectl get pods",
  );
  const busy = say(429, "Too many requests, please try again later.\n", "7");
  assertEquals([busy.kind, busy.retryAfter], ["http_status", 7]);
  assertEquals(say(429, "").retryAfter, undefined);
  const webhook = '{"kind":"Status","apiVersion":"v1","message":"denied by policy \\u001b[2J"}';
  assertEquals(say(403, webhook), {
    kind: "cluster",
    message:
      'the API server of "prod" answered 403 ("denied by policy \\x1b[2J"): check with kubectl get pods',
  });
  assertEquals(
    say(500, "").message,
    'the API server of "prod" answered 500: check with kubectl get pods',
  );
});

Deno.test("describeAbsence() says why a recorded pod cannot be asked, and how to find out more", () => {
  const pods = readPods(readRecordedPods());
  const absent = pods.flatMap((pod) => {
    const problem = describeAbsence(pod);
    return problem === null ? [] : [[problem.kind, problem.message]];
  });
  assertEquals(absent, [
    [
      "pod",
      "the pod keeps failing (CrashLoopBackOff): see kubectl logs --previous -n states " +
      "crashing-7d9f8c6b5-bbbbb",
    ],
    [
      "pod",
      "the pod is pending (Unschedulable: 0/8 nodes are available: 8 Insufficient nvidia.com/gpu): " +
      "see kubectl describe pod -n states pending-7d9f8c6b5-ccccc",
    ],
  ]);
});
