import { shortened } from './printable.ts';

/**
 * An error that a person can act on: a stable code for programs and one sentence that says what
 * to do. Commands print the sentence alone; anything else that is thrown is a defect.
 */
export class TallyError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TallyError';
    this.code = code;
  }
}

/** The wrong way to call a command or a setting with a wrong value: exit code 2. */
export class UsageError extends TallyError {
  constructor(message: string, options?: ErrorOptions) {
    super('USAGE', message, options);
    this.name = 'UsageError';
  }
}

// A message may carry a whole statement or answer; what tells the cause comes first.
const MESSAGE_MAX = 2_000;

/**
 * One line that tells what went wrong, whatever was thrown (an AggregateError's message is empty). Line breaks are gone and
 * an endless message is cut, so that it fits a log.
 */
export function describeError(error: unknown): string {
  if (error instanceof AggregateError && error.message === '' && error.errors.length > 0) {
    return error.errors.map(describeError).join('; ');
  }
  const text = error instanceof Error ? error.message || error.name : String(error);
  return shortened(text, MESSAGE_MAX).replaceAll(/\s*[\r\n]+\s*/g, ' ');
}
