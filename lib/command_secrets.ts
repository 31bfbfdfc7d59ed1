/**
 * A command line without its secrets.
 *
 * Layer 1, pure. Anybody on a machine can read the arguments of its processes,
 * and people put API keys there; a screen that is shared, a log and a JSON file
 * must not carry them further. Masked are the values of options and variables
 * whose names sound like secrets (`--api-key X`, `HF_TOKEN=X`, `"password": X`),
 * headers that log in, passwords in URLs, and what has the shape of a token
 * wherever it stands. Rather too much than too little: all words up to the next
 * option belong to a secret option, as vLLM's `--api-key` takes several.
 *
 * @module
 */

const MASK = "***";

/** Whether any of the rules below can apply: most command lines of a machine have nothing of the kind. */
const SUSPICIOUS =
  /key|token|secret|passw|passphrase|pwd|credential|auth|bearer|cookie|:\/\/|\s-(?:u|-user)[\s=]|hf_|sk-|gh[a-z]_|github_pat|glpat-|nvapi-|xox|AKIA|eyJ/i;

/** Names of secrets: these words anywhere, or at the end, where a number may follow them. */
const SECRET_NAME =
  /secret|passw|passphrase|pwd|credential|authorization|bearer|cookie|(?:api|auth|access)[-_.]?(?:key|token)|(?:keys?|token|auth)(?:[-_.]?\d+)?$/i;

/** Names that end so are of files, which hold the secret and are none. */
const FILE_NAME = /(?:file|path|dir)$/i;

/** `name=value`, `name: value` and `"name": "value"`; a value in quotes goes up to the closing one. */
const ASSIGNMENT =
  /([A-Za-z_][\w.-]*)(["']?\s*[=:]\s*)(?!\/\/)("[^"]*"?|'[^']*'?|(?:(?:Bearer|Basic)\s+)?[^\s,;"'}\]]+)/g;

/** A password between user and host, and a user that stands alone, which may be a token. */
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;

/** curl's user and password. */
const CURL_USER = /(\s(?:-u|--user)[\s=]\S+?:)\S+/g;

/** A header's scheme and what follows it. */
const BEARER = /\b(Bearer|Basic)\s+[^\s"']+/gi;

/** Tokens of Hugging Face, OpenAI, GitHub, GitLab, NVIDIA, Slack, AWS; JSON web tokens. */
const TOKEN_SHAPE =
  /\b(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|nvapi-[\w-]{8,}|xox[abeoprs]-[\w-]{8,}|AKIA[A-Z0-9]{8,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)/g;

/** Whether a value under this name must not be shown. Dashes in front do not matter. */
function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !FILE_NAME.test(name);
}

/** Masks what follows options whose names sound like secrets, up to the next option. */
function maskOptions(words: readonly string[]): string[] {
  let isSecret = false;
  return words.map((word) => {
    if (!/^-+[A-Za-z]/.test(word)) return isSecret && word !== "" ? MASK : word;
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    isSecret = isSecretName(name);
    return isSecret && equals >= 0 ? `${name}=${MASK}` : word;
  });
}

/**
 * The command line with `***` in place of whatever may be a secret.
 *
 * @example
 * ```ts
 * import { maskSecrets } from "./command_secrets.ts";
 * maskSecrets("vllm serve m --api-key abc --port 80"); // "vllm serve m --api-key *** --port 80"
 * ```
 */
export function maskSecrets(commandLine: string): string {
  if (!SUSPICIOUS.test(commandLine)) return commandLine;
  const withoutOptions = maskOptions(commandLine.split(" ")).join(" ");
  return withoutOptions
    .replace(USER_INFO, `$1${MASK}@`)
    .replace(BEARER, `$1 ${MASK}`)
    .replace(
      ASSIGNMENT,
      (whole, name: string, sign: string) => isSecretName(name) ? `${name}${sign}${MASK}` : whole,
    )
    .replace(CURL_USER, `$1${MASK}`)
    .replace(TOKEN_SHAPE, MASK);
}
