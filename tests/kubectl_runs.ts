/**
 * The real `kubectl`, as a child of the program under test.
 *
 * @module
 */

/** Ids of the running `kubectl proxy` that were given this file, by `KUBECONFIG` or as an argument. */
export function listProxies(kubeconfig: string): readonly number[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      if (!/^[^\0]*kubectl[^\0]*\0proxy\0/.test(command)) return [];
      const known = command + Deno.readTextFileSync(`/proc/${name}/environ`);
      return known.includes(kubeconfig) ? [Number(name)] : [];
    } catch {
      // It has ended.
      return [];
    }
  });
}
