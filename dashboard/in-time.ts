const LIMIT_MS = 2_500;

/** What a page shows of a store: what it said, or why it said nothing. */
export type Answer<T> = { readonly value: T } | { readonly problem: unknown };

/** Waits 2.5 s at most and never rejects, so that a page with what is known comes in any case. */
export async function inTime<T>(asked: Promise<T>): Promise<Answer<T>> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const late = new Promise<Answer<T>>((resolve) => {
    signal.addEventListener('abort', () => resolve({ problem: new Error('no answer in time') }), {
      once: true,
    });
  });
  const answered = asked.then(
    (value): Answer<T> => ({ value }),
    (problem: unknown): Answer<T> => ({ problem }),
  );
  return Promise.race([answered, late]);
}
