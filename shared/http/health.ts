/** One thing a process needs, and how to ask whether it is there: rejects or gives a sentence when not. */
export interface HealthCheck {
  readonly name: string;
  /** False: it is told in the body but doesn't decide readiness. */
  readonly required: boolean;
  readonly check: () => Promise<string | undefined>;
}

export interface Health {
  readonly ready: boolean;
  /** `up`, or what is wrong, for each check by its name. */
  readonly checks: Readonly<Record<string, string>>;
}

const CHECK_TIMEOUT_MS = 2_000;

/** Asks all checks at once, each for 2 s at most, so that a probe never hangs. */
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
  // What exactly is wrong stands in the log; a page that is open to anyone only says that it is away.
  return Promise.race([check().catch(() => 'away'), late]);
}
