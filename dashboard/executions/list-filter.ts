import { vendorProblem } from '../../shared/execution.ts';

/** What the list of executions can be limited to, because an index or a short scan answers it. */
export const STATES = [
  'all',
  'stuck',
  'failed',
  'waiting',
  'by-hand',
  'running',
  'final',
  'Success',
  'Error',
  'Stopped',
] as const;
export type ListState = (typeof STATES)[number];

/** Ages that are offered: since the execution started, in seconds. */
export const AGES: Readonly<Record<string, number>> = {
  'over-1h': 3_600,
  'over-1d': 86_400,
  'over-7d': 604_800,
};

/** Which executions are listed, and from where. */
export interface ListFilter {
  readonly state: ListState;
  /** Exactly this vendor; empty: any. */
  readonly vendor: string;
  /** A key of {@link AGES}; empty: any. */
  readonly age: string;
  /** Where the page starts, as the page before named it; empty: the first page. */
  readonly from: string;
}

const FROM = /^\d{1,16}(?:~[^\0]{1,400})?$/s;

/** Reads the filter from an address. @returns or what is wrong with it */
export function readFilter(
  query: Readonly<Record<string, unknown>>,
): ListFilter | { readonly problem: string } {
  const text = (name: string): string => {
    const value = query[name] ?? '';
    return typeof value === 'string' ? value.trim() : '\0';
  };
  const [given, vendor, age, from] = [text('state'), text('vendor'), text('age'), text('from')];
  const state = STATES.find((one) => one === (given || 'all'));
  if (state === undefined) return { problem: `state is one of ${STATES.join(', ')}` };
  if (vendor !== '' && vendorProblem(vendor) !== undefined) {
    return { problem: vendorProblem(vendor) ?? '' };
  }
  if (age !== '' && !Object.hasOwn(AGES, age)) {
    return { problem: `age is one of ${Object.keys(AGES).join(', ')}` };
  }
  if (from !== '' && !FROM.test(from)) return { problem: 'from is what the page before named' };
  return { state, vendor, age, from };
}

/** The query of a list's address; a page other than the first is named with `from`. */
export function filterQuery(filter: ListFilter, changes: Partial<ListFilter> = {}): string {
  const { state, vendor, age, from } = { ...filter, from: '', ...changes };
  const query = new URLSearchParams();
  if (state !== 'all') query.set('state', state);
  if (vendor !== '') query.set('vendor', vendor);
  if (age !== '') query.set('age', age);
  if (from !== '') query.set('from', from);
  return query.size === 0 ? '' : `?${query.toString()}`;
}
