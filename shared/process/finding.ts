import { describeError } from '../errors.ts';

/**
 * `warning`: Tally works, but something costs time or is about to go wrong. `problem`: something
 * doesn't work.
 */
export type Level = 'ok' | 'warning' | 'problem';

/** The result of one check. `fix` says what to change; only `ok` has none. */
export type Verdict =
  | { readonly level: 'ok'; readonly text: string }
  | { readonly level: 'warning' | 'problem'; readonly text: string; readonly fix: string };

/** A check that only reads. */
export interface Check {
  /** Its subject in a word or two: `eviction policy`. */
  readonly name: string;
  readonly look: () => Promise<Verdict>;
}

/** A verdict with the name of its check. */
export type Finding = Verdict & { readonly check: string };

/** The verdict that all is well. */
export function ok(text: string): Verdict {
  return { level: 'ok', text };
}

/** The verdict that something costs time or is about to go wrong. */
export function warning(text: string, fix: string): Verdict {
  return { level: 'warning', text, fix };
}

/** The verdict that something doesn't work. */
export function problem(text: string, fix: string): Verdict {
  return { level: 'problem', text, fix };
}

/**
 * Turns one of Tally's own error sentences into a problem: what is wrong, and after the first
 * semicolon what to do. A semicolon in parentheses belongs to what a server or library said.
 * @param fix what to do if the sentence doesn't say
 */
export function problemOf(sentence: string, fix = "look at the server's log"): Verdict {
  let depth = 0;
  for (let at = 0; at < sentence.length; at++) {
    const character = sentence[at];
    if (character === '(') depth++;
    else if (character === ')') depth = Math.max(0, depth - 1);
    else if (depth === 0 && character === ';' && sentence[at + 1] === ' ') {
      return problem(sentence.slice(0, at), sentence.slice(at + 2));
    }
  }
  return problem(sentence, fix);
}

/**
 * Runs checks one after the other, so that a slow server gets one question at a time. A check that
 * fails to run becomes a warning with the cause, because it says nothing about its subject. Never
 * rejects.
 */
export async function runChecks(checks: readonly Check[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, look } of checks) {
    const verdict = await look().catch((error: unknown) =>
      warning(`could not be checked: ${describeError(error)}`, 'allow it, or check by hand'),
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
