import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { maskSecrets } from "../lib/command_secrets.ts";

const EXAMPLES: readonly (readonly [commandLine: string, masked: string])[] = [
  ["vllm serve m --api-key abc --port 80", "vllm serve m --api-key *** --port 80"],
  ["vllm serve m --api-key=abc --port 80", "vllm serve m --api-key=*** --port 80"],
  ["vllm serve m --api-key a b c --port 80", "vllm serve m --api-key *** *** *** --port 80"],
  ["vllm serve m --api_key abc", "vllm serve m --api_key ***"],
  ["vllm serve m --hf-token --port 80", "vllm serve m --hf-token --port 80"],
  ["vllm serve m --hf-token abc", "vllm serve m --hf-token ***"],
  ["x --ssl-keyfile-password abc --port 80", "x --ssl-keyfile-password *** --port 80"],
  ["sh -c HF_TOKEN=abc vllm serve m", "sh -c HF_TOKEN=*** vllm serve m"],
  ["sh -c HF_TOKEN='a b' vllm serve m", "sh -c HF_TOKEN=*** vllm serve m"],
  ["docker run -e VLLM_API_KEY=abc -p 80:80 i", "docker run -e VLLM_API_KEY=*** -p 80:80 i"],
  ["env AWS_SECRET_ACCESS_KEY=a/b+c= x", "env AWS_SECRET_ACCESS_KEY=*** x"],
  [
    'x --config {"url": "u", "api_key": "a b", "n": 1}',
    'x --config {"url": "u", "api_key": ***, "n": 1}',
  ],
  ["curl -H Authorization: Bearer abc http://h", "curl -H Authorization: *** http://h"],
  ["curl -u me:abc http://h", "curl -u me:*** http://h"],
  ["x --proxy http://me:abc@h:80/p", "x --proxy http://***@h:80/p"],
  ["x --s3 https://h/o?token=abc&n=1", "x --s3 https://h/o?token=***"],
  ["x hf_abcdefghij sk-abcdefghij1234", "x *** ***"],
];

for (const [commandLine, masked] of EXAMPLES) {
  Deno.test(`maskSecrets() masks in ${commandLine}`, () => {
    assertEquals(maskSecrets(commandLine), masked);
  });
}

Deno.test("maskSecrets() leaves what is no secret", () => {
  for (
    const commandLine of [
      "vllm serve org/model --max-num-batched-tokens 8192 --tokenizer org/t --tokenizer-mode auto",
      "python3 -u -m vllm.entrypoints.openai.api_server --long-prefill-token-threshold 5 -tp 2",
      "vllm serve m --ssl-keyfile /etc/key.pem --enable-prompt-tokens-details --port 8000",
      "vllm-htop --token-file https://gpu1=token.txt http://gpu1:8000",
      "VLLM::EngineCore_DP0",
      "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8000 -container-port 80",
      "",
    ]
  ) {
    assertEquals(maskSecrets(commandLine), commandLine);
  }
});

Deno.test("maskSecrets() masks whatever follows --api-key, wherever it stands", () => {
  const secret = fc.stringMatching(/^[A-Za-z0-9+/_.:@=%]{4,40}$/)
    .map((text) => `Q${text}`);
  const others = fc.array(fc.constantFrom("--port", "80", "-tp", "x=y", "serve", "a:b", "{}"));
  fc.assert(
    fc.property(others, secret, others, fc.constantFrom(" ", "="), (before, text, after, sign) => {
      const line = [...before, `--api-key${sign}${text}`, ...after].join(" ");
      assert(!maskSecrets(line).includes(text), maskSecrets(line));
    }),
  );
});
