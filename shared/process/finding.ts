import { describeError } from '../errors.ts';

/** `warning`: Tally works, and something will cost time or is about to go wrong. `problem`: something doesn't work. */
export type Level = 'ok' | 'warning' | 'problem';

/** What one check saw. `fix` is a sentence that says what to change; only what is right has none. */
export type Verdict =
  | { readonly level: 'ok'; readonly text: string }
  | { readonly level: 'warning' | 'problem'; readonly text: string; readonly fix: string };

/** A question to a server that only reads. */
export interface Check {
  /** What it is about, in a word or two: `eviction policy`. */
  readonly name: string;
  readonly look: () => Promise<Verdict>;
}

export type Finding = Verdict & { readonly check: string };

export function ok(text: string): Verdict {
  return { level: 'ok', text };
}

export function warning(text: string, fix: string): Verdict {
  return { level: 'warning', text, fix };
}

export function problem(text: string, fix: string): Verdict {
  return { level: 'problem', text, fix };
}

/**
 * A problem of which a sentence of ours tells: what is wrong, and what to do behind the first semicolon.
 * @param fix what to do where the sentence doesn't say it
 */
export function problemOf(sentence: string, fix = "look at the server's log"): Verdict {
  const at = sentence.indexOf('; ');
  return at < 0 ? problem(sentence, fix) : problem(sentence.slice(0, at), sentence.slice(at + 2));
}

/**
 * Runs checks one after the other, so that a server which answers slowly is asked one thing at a time. A check that
 * can't be made is a warning with the cause: it says nothing about what it was to look at.
 */
export async function runChecks(checks: readonly Check[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, look } of checks) {
    const verdict = await look().catch((error: unknown) =>
      warning(`could not be checked: ${describeError(error)}`, 'allow it, or look by hand'),
    );
    findings.push({ check: name, ...verdict });
  }
  return findings;
}

/** The most serious level among these. */
export function worstLevel(findings: readonly { readonly level: Level }[]): Level {
  for (const level of ['problem', 'warning'] as const) {
    if (findings.some((finding) => finding.level === level)) return level;
  }
  return 'ok';
}
