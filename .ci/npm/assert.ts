/**
 * `@std/assert` over `dequal` and the error of `node:assert`.
 *
 * `deepStrictEqual` itself tells 0 from -0, which the original does not.
 *
 * @module
 */

import { AssertionError } from "node:assert";
import { dequal } from "npm:dequal@2.0.3";

// deno-lint-ignore no-explicit-any
type ErrorClass<E> = abstract new (...values: any[]) => E;

function fail(message: string, explanation?: string): never {
  throw new AssertionError({
    message: explanation === undefined ? message : `${message}: ${explanation}`,
  });
}

export function assert(condition: unknown, message = "Not truthy"): asserts condition {
  if (!condition) fail(message);
}

export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (dequal(actual, expected)) return;
  // Without a message of ours the error shows where the two differ.
  const { message: difference } = new AssertionError({
    actual,
    expected,
    operator: "deepStrictEqual",
  });
  fail(message === undefined ? difference : `${message}\n${difference}`);
}

export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  if (dequal(actual, expected)) fail(`Equal: ${Deno.inspect(actual)}`, message);
}

/** Fails on what is not of that class. */
function checkClass<T>(actual: unknown, expected: ErrorClass<T>, message?: string): void {
  if (!(actual instanceof expected)) {
    fail(`${Deno.inspect(actual)} is no ${expected.name}`, message);
  }
}

export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (!actual.includes(expected)) {
    fail(`${Deno.inspect(actual)} does not hold ${Deno.inspect(expected)}`, message);
  }
}

export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (!expected.test(actual)) fail(`${Deno.inspect(actual)} does not match ${expected}`, message);
}

/** The tolerance is absolute; without one it is 1e-7 of the expected value. */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  tolerance ??= Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7;
  if (Object.is(actual, expected) || Math.abs(expected - actual) <= tolerance) return;
  fail(`${actual} is not within ${tolerance} of ${expected}`, message);
}

function checkError<E>(
  error: unknown,
  expected?: ErrorClass<E>,
  part?: string,
  message?: string,
): void {
  if (expected === undefined) return;
  checkClass(error, expected, message);
  if (part !== undefined && error instanceof Error) {
    assertStringIncludes(error.message, part, message);
  }
}

export function assertThrows(run: () => unknown): unknown;
export function assertThrows<E extends Error = Error>(
  run: () => unknown,
  expected: ErrorClass<E>,
  part?: string,
  message?: string,
): E;
export function assertThrows(
  run: () => unknown,
  expected?: ErrorClass<Error>,
  part?: string,
  message?: string,
): unknown {
  try {
    run();
  } catch (error) {
    checkError(error, expected, part, message);
    return error;
  }
  fail("Expected function to throw", message);
}

export function assertRejects(run: () => PromiseLike<unknown>): Promise<unknown>;
export function assertRejects<E extends Error = Error>(
  run: () => PromiseLike<unknown>,
  expected: ErrorClass<E>,
  part?: string,
  message?: string,
): Promise<E>;
export async function assertRejects(
  run: () => PromiseLike<unknown>,
  expected?: ErrorClass<Error>,
  part?: string,
  message?: string,
): Promise<unknown> {
  let outcome: PromiseLike<unknown>;
  try {
    outcome = run();
  } catch {
    fail("Function throws when expected to reject", message);
  }
  try {
    await outcome;
  } catch (error) {
    checkError(error, expected, part, message);
    return error;
  }
  fail("Expected function to reject", message);
}
