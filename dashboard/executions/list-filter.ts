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

const VENDOR_MAX = 255;

/** Reads the filter from an address. What it doesn't understand is as if it weren't there. */
export function readFilter(query: Readonly<Record<string, unknown>>): ListFilter {
  const text = (name: string): string => {
    const value = query[name];
    return typeof value === 'string' && !value.includes('\0') ? value.trim() : '';
  };
  const age = text('age');
  const from = text('from');
  return {
    state: STATES.find((state) => state === text('state')) ?? 'all',
    vendor: text('vendor').slice(0, VENDOR_MAX),
    age: Object.hasOwn(AGES, age) ? age : '',
    from: /^\d{1,16}(?:~.{1,400})?$/s.test(from) ? from : '',
  };
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
