import { TallyError } from './errors.ts';

/** What a refresh is about: an execution and its vendor. */
export interface Identity {
  readonly executionId: number;
  readonly vendor: string;
}

// In characters, as in `tally.outbox_vendor`. Harbor's columns are varchar(64), but another host
// may use text.
const VENDOR_MAX = 255;
const WITHOUT_VENDOR = '_';
// The character 0, which Postgres can't store in a text, and lone surrogates, which no encoding
// has.
const NO_TEXT = /\0|\p{Surrogate}/u;
const WHOLE_NUMBER = /^\d+$/;

/** `42:REPLICATION`: how an identity is written in arguments, markers, logs and pages. */
export function formatIdentity({ executionId, vendor }: Identity): string {
  return `${executionId}:${vendor}`;
}

/** What is wrong with an execution id; undefined if it is a whole number from 1 to 2^53 - 1. */
export function executionIdProblem(value: unknown): string | undefined {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) {
    return 'the execution id must be a whole number from 1';
  }
  return Number.isSafeInteger(value) ? undefined : 'the execution id is beyond 2^53 - 1';
}

/**
 * What is wrong with a vendor; undefined if it is a text of 1 to 255 characters, which is what
 * `tally.outbox` accepts.
 */
export function vendorProblem(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && !NO_TEXT.test(value) && isShort(value)
    ? undefined
    : `the vendor must be a text of 1 to ${VENDOR_MAX} characters`;
}

// Postgres counts code points, `length` counts UTF-16 units.
function isShort(text: string): boolean {
  return text.length <= 2 * VENDOR_MAX && Array.from(text).length <= VENDOR_MAX;
}

/**
 * Makes a valid vendor of any `vendor_type`: cut at 255 characters, `_` if empty. The same as
 * `tally.outbox_vendor`.
 */
export function vendorOf(vendorType: string): string {
  const vendor = Array.from(vendorType.slice(0, 2 * VENDOR_MAX))
    .slice(0, VENDOR_MAX)
    .join('');
  return vendor === '' ? WITHOUT_VENDOR : vendor;
}

/**
 * Reads `42:REPLICATION`. Everything after the first colon is the vendor.
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
