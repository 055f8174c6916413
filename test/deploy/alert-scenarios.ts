/** Values of a series, one a minute, in the notation of `promtool test rules`. */
type Series = Readonly<Record<string, string>>;

/** An hour of an installation, and the alerts that fire at a minute of it. */
export interface Scenario {
  readonly title: string;
  /** Instead of, or in addition to, the series of a healthy installation. */
  readonly series: Series;
  /** Series of the healthy installation that are missing, by the beginning of their names. */
  readonly without?: string;
  readonly minute: number;
  readonly firing: readonly string[];
}

/** An installation in which no alert fires. */
export const HEALTHY: Series = {
  'tally_build_info{namespace="a",version="1.0.0"}': '1x60',
  'tally_outbox_rows{namespace="a"}': '3x60',
  'tally_outbox_oldest_seconds{namespace="a"}': '36x60',
  'tally_oldest_waiting_seconds{namespace="a"}': '0.1x60',
  'tally_workers{namespace="a"}': '2x60',
  'tally_failures{namespace="a"}': '0x60',
  'tally_queue_jobs{namespace="a",state="failed"}': '0x60',
  'tally_stalled_total{namespace="a"}': '4x60',
  'tally_disagreements_repaired_total{namespace="a"}': '0x60',
  'tally_failed_removed_total{namespace="a",reason="retention"}': '0x60',
  'tally_failed_removed_total{namespace="a",reason="refreshed"}': '0+5x60',
  'tally_refreshes_total{namespace="a",vendor="SCAN",outcome="changed"}': '0+6000x60',
  'tally_refreshes_total{namespace="a",vendor="SCAN",outcome="failed"}': '0+60x60',
  'tally_refresh_lag_seconds_bucket{namespace="a",source="capture",le="1"}': '0+6000x60',
  'tally_refresh_lag_seconds_bucket{namespace="a",source="capture",le="60"}': '0+6000x60',
  'tally_refresh_lag_seconds_bucket{namespace="a",source="capture",le="+Inf"}': '0+6000x60',
  // Harbor's markers wait for 35 s on purpose.
  'tally_refresh_lag_seconds_bucket{namespace="a",source="marker",le="1"}': '0x60',
  'tally_refresh_lag_seconds_bucket{namespace="a",source="marker",le="60"}': '0+6000x60',
  'tally_refresh_lag_seconds_bucket{namespace="a",source="marker",le="+Inf"}': '0+6000x60',
};

const LATE = { 'tally_outbox_oldest_seconds{namespace="a"}': '0+60x60' };
const SLOW = {
  'tally_refresh_lag_seconds_bucket{namespace="a",source="capture",le="1"}': '0+5000x60',
};
const FAILING = {
  'tally_refreshes_total{namespace="a",vendor="SCAN",outcome="failed"}': '0+900x60',
};
const UNKNOWN = { 'tally_unknown_status_tasks{namespace="a",vendor="SCAN"}': '7x60' };

export const SCENARIOS: readonly Scenario[] = [
  { title: 'a healthy installation', series: {}, minute: 30, firing: [] },
  // Older than two minutes from the third minute on.
  { title: 'a row that has waited for four minutes', series: LATE, minute: 4, firing: [] },
  {
    title: 'a row that has waited for five',
    series: LATE,
    minute: 5,
    firing: ['TallyRefreshesLate'],
  },
  {
    title: 'a job that nobody takes',
    series: { 'tally_oldest_waiting_seconds{namespace="a"}': '121x60' },
    minute: 2,
    firing: ['TallyQueueStuck'],
  },
  {
    title: 'a job that waited for as long as is allowed',
    series: { 'tally_oldest_waiting_seconds{namespace="a"}': '120x60' },
    minute: 30,
    firing: [],
  },
  {
    title: 'ten minutes in which every sixth refresh is slow',
    series: SLOW,
    minute: 10,
    firing: [],
  },
  { title: 'a quarter of an hour of that', series: SLOW, minute: 15, firing: ['TallyLagHigh'] },
  {
    title: 'workers that are gone for a minute',
    series: { 'tally_workers{namespace="a"}': '2x9 0x50' },
    minute: 11,
    firing: ['TallyNoWorkers'],
  },
  {
    title: 'workers that come back within the minute',
    series: { 'tally_workers{namespace="a"}': '2x9 0x0 2x49' },
    minute: 11,
    firing: [],
  },
  {
    title: 'another installation that has workers',
    series: {
      'tally_workers{namespace="a"}': '0x60',
      'tally_workers{namespace="b"}': '5x60',
    },
    minute: 5,
    firing: ['TallyNoWorkers'],
  },
  {
    title: 'a killed worker',
    series: { 'tally_stalled_total{namespace="a"}': '4x9 9x50' },
    minute: 12,
    firing: ['TallyWorkersLost'],
  },
  {
    title: 'a worker that was killed long ago',
    series: { 'tally_stalled_total{namespace="a"}': '4x9 9x50' },
    minute: 30,
    firing: [],
  },
  {
    title: 'a producer that does not reach Postgres',
    series: {},
    without: 'tally_outbox',
    minute: 3,
    firing: ['TallyPostgresUnknown'],
  },
  {
    title: 'another installation whose producer reaches Postgres',
    series: { 'tally_outbox_rows{namespace="b"}': '3x60' },
    without: 'tally_outbox',
    minute: 3,
    firing: ['TallyPostgresUnknown'],
  },
  {
    title: 'a producer that does not reach Redis',
    series: {},
    without: 'tally_queue',
    minute: 3,
    firing: ['TallyRedisUnknown'],
  },
  {
    title: 'nothing of Tally at all',
    series: {},
    without: 'tally_',
    minute: 3,
    firing: ['TallyPostgresUnknown', 'TallyRedisUnknown'],
  },
  {
    title: 'an execution that failed for good, whose job Redis has lost',
    series: { 'tally_failures{namespace="a"}': '1x60' },
    minute: 6,
    firing: ['TallyFailedJobs'],
  },
  {
    title: 'an execution that failed for good while Postgres does not say so',
    series: { 'tally_queue_jobs{namespace="a",state="failed"}': '1x60' },
    minute: 6,
    firing: ['TallyFailedJobs'],
  },
  {
    title: 'a failure that is gone within five minutes',
    series: { 'tally_failures{namespace="a"}': '1x4 0x55' },
    minute: 6,
    firing: [],
  },
  {
    title: 'attempts of which an eighth fail',
    series: FAILING,
    minute: 12,
    firing: ['TallyFailuresMany'],
  },
  {
    title: 'attempts of which a twentieth fail',
    series: {
      'tally_refreshes_total{namespace="a",vendor="SCAN",outcome="failed"}': '0+300x60',
    },
    minute: 30,
    firing: [],
  },
  {
    title: 'a failed job that was too old',
    series: { 'tally_failed_removed_total{namespace="a",reason="retention"}': '0x9 1x50' },
    minute: 15,
    firing: ['TallyFailedJobsDropped'],
  },
  {
    title: 'a disagreement',
    series: { 'tally_disagreements_repaired_total{namespace="a"}': '0x9 1x50' },
    minute: 15,
    firing: ['TallyDisagreements'],
  },
  {
    title: 'tasks of an unknown status',
    series: UNKNOWN,
    minute: 6,
    firing: ['TallyUnknownStatuses'],
  },
];
