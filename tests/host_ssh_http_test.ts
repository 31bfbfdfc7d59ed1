import { assertEquals, assertThrows } from "@std/assert";
import { parseCurlAnswer, writeCurl } from "../lib/host_ssh_http.ts";
import { startSshSession } from "../lib/host_ssh_session.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { needsProgram } from "./programs.ts";

const SECRET = "a\"b\\c'd$(id)`id`";

Deno.test("writeCurl() asks as the HTTP client does, with no secret in its arguments", {
  ...needsProgram("curl"),
}, async () => {
  const seen: Headers[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    seen.push(request.headers);
    return new Response("vllm:x 1\r\n\r\nmore\n", { headers: { "x-a": "b: c" }, status: 203 });
  });
  const url = `http://127.0.0.1:${server.addr.port}/metrics`;
  const command = writeCurl({ url, headers: { authorization: SECRET, host: "localhost" } }, {});
  const curl = command.slice(command.lastIndexOf("| limit"));
  assertEquals([curl.includes("a"), curl.includes(SECRET)], [true, false]);
  const platform = createDenoPlatform();
  const program = platform.startProgram({ name: "sh", arguments: ["-s"], variables: ["PATH"] });
  if ("kind" in program) throw new Error(program.kind);
  const session = startSshSession(platform, program, "nonce");
  const outcome = await session.call({ command, timeout: 20, maxOutputBytes: 10_000 });
  session.end();
  await session.ended;
  await server.shutdown();
  assertEquals(outcome.kind, "exited");
  if (outcome.kind !== "exited") return;
  assertEquals([seen[0].get("authorization"), seen[0].get("host")], [SECRET, "localhost"]);
  const response = parseCurlAnswer(outcome.stdout);
  assertEquals([response.status, response.header("x-a"), response.header("x-b")], [
    203,
    "b: c",
    null,
  ]);
  assertEquals(await new Response(response.body).text(), "vllm:x 1\r\n\r\nmore\n");
});

Deno.test("parseCurlAnswer() refuses what is no response", () => {
  for (const text of ["", "hello", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n\r\n"]) {
    assertThrows(() => parseCurlAnswer(text), Error, "invalid HTTP");
  }
});
