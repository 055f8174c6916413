/** Something a process needs, and how to check it. */
export interface HealthCheck {
  readonly name: string;
  /** False: reported in the body without affecting readiness. */
  readonly required: boolean;
  /** Resolves with undefined if all is well, else with a sentence about the problem; may reject. */
  readonly check: () => Promise<string | undefined>;
}

/** The result of all checks. */
export interface Health {
  readonly ready: boolean;
  /** For each check, by name: `up` or what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
}

const CHECK_TIMEOUT_MS = 2_000;

/**
 * Runs all checks in parallel, each for 2 s at most, so that a probe never hangs. Never rejects.
 */
export async function checkHealth(checks: readonly HealthCheck[]): Promise<Health> {
  const answers = await Promise.all(
    checks.map(async ({ name, required, check }) => {
      const problem = await answerOf(check);
      return { name, ok: problem === undefined || !required, text: problem ?? 'up' };
    }),
  );
  return {
    ready: answers.every(({ ok }) => ok),
    checks: Object.fromEntries(answers.map(({ name, text }) => [name, text])),
  };
}

async function answerOf(check: HealthCheck['check']): Promise<string | undefined> {
  const signal = AbortSignal.timeout(CHECK_TIMEOUT_MS);
  const late = new Promise<string>((resolve) => {
    signal.addEventListener('abort', () => resolve('no answer'), { once: true });
  });
  // The log has the details. A page that anyone can read says only that much.
  return Promise.race([check().catch(() => 'away'), late]);
}
