import { TallyError } from './errors.ts';

/** What a refresh is about: one execution and what kind of run it is. */
export interface Identity {
  readonly executionId: number;
  readonly vendor: string;
}

const VENDOR = /^[A-Z0-9_]{1,64}$/;
const WHOLE_NUMBER = /^\d+$/;

/** `42:REPLICATION`, the form of an identity in deduplication ids, arguments and markers. */
export function formatIdentity({ executionId, vendor }: Identity): string {
  return `${executionId}:${vendor}`;
}

/** What is wrong with an execution id, or undefined: it is a whole number from 1 to 2^53 - 1. */
export function executionIdProblem(value: unknown): string | undefined {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) {
    return 'the execution id must be a whole number from 1';
  }
  return Number.isSafeInteger(value) ? undefined : 'the execution id is beyond 2^53 - 1';
}

/** What is wrong with a vendor, or undefined: it is 1 to 64 of the characters A-Z, 0-9 and _. */
export function vendorProblem(value: unknown): string | undefined {
  return typeof value === 'string' && VENDOR.test(value)
    ? undefined
    : 'the vendor must be 1 to 64 characters of A-Z, 0-9 and _';
}

/**
 * Reads `42:REPLICATION`.
 * @throws TallyError BAD_IDENTITY with what is wrong and an example
 */
export function parseIdentity(text: string): Identity {
  const colon = text.indexOf(':');
  const idText = colon < 0 ? text : text.slice(0, colon);
  const vendor = colon < 0 ? '' : text.slice(colon + 1);
  const executionId = WHOLE_NUMBER.test(idText) ? Number(idText) : Number.NaN;
  const problem =
    colon < 0
      ? 'there is no colon between execution id and vendor'
      : (executionIdProblem(executionId) ?? vendorProblem(vendor));
  if (problem !== undefined) {
    throw new TallyError(
      'BAD_IDENTITY',
      `${JSON.stringify(text.slice(0, 100))} is not an identity: ${problem}; write for example 42:REPLICATION`,
    );
  }
  return { executionId, vendor };
}
