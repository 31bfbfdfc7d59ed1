/**
 * Long work in steps, between which others may go on.
 *
 * Layer 0, pure. There is one thread, and keys are to be answered at once: what
 * may take longer than a frame is a generator that yields now and then, and
 * whoever wants its result decides what happens meanwhile.
 *
 * @module
 */

/** Work in steps, and what comes of it. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** The result of all steps, one right after the other. */
export function finishSteps<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The result of all steps, with a pause after each but the last. */
export async function finishStepsWithPauses<Result>(
  steps: Steps<Result>,
  pause: () => Promise<void>,
): Promise<Result> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pause();
  }
}
