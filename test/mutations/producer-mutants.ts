import type { Mutant } from './mutant.ts';

const CLAIMS = 'producers/outbox-claims.ts';
const RELAY = 'producers/outbox-relay.ts';
const RESENDS = 'producers/outbox-resends.ts';
const DISAGREEMENTS = 'shared/postgres/disagreements.ts';
const CLAIMS_TEST = 'test/integration/producers/outbox-claims.test.ts';
const RELAY_TEST = 'test/integration/producers/relay.test.ts';
const RESENDS_TEST = 'test/integration/producers/outbox-resends.test.ts';
const RECONCILER_TEST = 'test/integration/producers/reconciler.test.ts';
const LANE_TEST = 'test/integration/workers/backlog.test.ts';

/** Of the relay and the reconciler. */
export const PRODUCER_MUTANTS: readonly Mutant[] = [
  {
    name: 'claims rows that another relay holds',
    breaks: 'any number of producers',
    file: CLAIMS,
    edits: [
      ['             LIMIT $1\n               FOR UPDATE SKIP LOCKED))', '             LIMIT $1))'],
    ],
    test: [CLAIMS_TEST, 'a claim takes the rows that no other relay is claiming'],
  },
  {
    name: 'claims the oldest rows of a burst first',
    breaks: 'fresh before old',
    file: CLAIMS,
    edits: [["freshMs === undefined ? 'ASC' : 'DESC'", "'ASC'"]],
    test: [CLAIMS_TEST, 'while the backlog lane takes the oldest rows, a claim takes the newest'],
  },
  {
    name: 'leaves a change to the backlog that came while the relay was held up',
    breaks: 'fresh before old',
    file: CLAIMS,
    edits: [['freshMs + heldUpMs', 'freshMs']],
    test: [CLAIMS_TEST, 'a row that came while the relay was held up still counts as fresh'],
  },
  {
    name: 'never reads the outbox from its beginning again',
    breaks: 'no lost refresh: one that was asked for before its change committed',
    file: 'shared/postgres/outbox-cursor.ts',
    edits: [['beginMs >= this.#nextWholeLookMs || this.#lastS', 'this.#lastS']],
    test: [CLAIMS_TEST, 'a row that commits long after later ones were claimed is claimed'],
  },
  {
    name: 'sends a whole burst to the express lane',
    breaks: 'fresh before old',
    file: 'producers/backlog-lane.ts',
    edits: [['const BURST_JOBS = 2_000;', 'const BURST_JOBS = 2_000_000;']],
    test: [LANE_TEST, 'takes most of a sudden burst, however fast the relay is'],
  },
  {
    name: 'waits for ever for a backlog lane that nobody works on',
    breaks: 'a rolling upgrade loses and delays nothing',
    file: 'producers/backlog-lane.ts',
    edits: [['BACKLOG_JOBS > 0 && !this.#standsStill ?', 'BACKLOG_JOBS > 0 ?']],
    test: [LANE_TEST, 'gives its rows to the express lane while nobody drains it'],
  },
  {
    name: 'takes a backlog whose oldest row stays for one that nobody drains',
    breaks: 'a warning that says what is so',
    file: 'producers/backlog-lane.ts',
    edits: [['!this.#saidSo && nowMs - this.#runMs >= STANDSTILL_MS', '!this.#saidSo']],
    test: [LANE_TEST, 'is helped and not said to be unattended while jobs run'],
  },
  {
    name: "keeps rows that Redis didn't take marked as sent",
    breaks: 'an outage costs time, not attempts',
    file: RELAY,
    edits: [['      await undo?.();\n', '']],
    test: [RELAY_TEST, 'rows whose jobs Redis refuses are unsent again'],
  },
  {
    name: 'rests for as long as a read was held up',
    breaks: 'an outage costs time, and no more than it lasts',
    file: RELAY,
    edits: [['Math.min(tookMs, MIN_IDLE_POLL_MS)', 'tookMs']],
    test: [RELAY_TEST, 'a relay that was held up for minutes goes on at once'],
  },
  {
    name: 'sends an identity with every change',
    breaks: 'an execution that changes constantly harms only itself',
    file: 'producers/send-interval.ts',
    edits: [['sentAtMs + this.#intervalMs - nowMs)', '-nowMs)']],
    test: [
      'test/unit/producers/send-interval.test.ts',
      'an identity that was sent waits for the rest of the interval',
    ],
  },
  {
    name: "doesn't send again at its start what another relay had claimed",
    breaks: 'no lost refresh',
    file: RESENDS,
    edits: [
      [
        "      this.#beginWhole('start', await databaseNowS(this.#database));",
        '      this.#started = true;',
      ],
    ],
    test: [RESENDS_TEST, 'a relay that starts sends again what is marked as sent'],
  },
  {
    name: 'forgets a claim whose answer was lost',
    breaks: 'no lost refresh',
    file: RESENDS,
    edits: [['    this.#unsureSinceMs ??= sinceMs;', '    void sinceMs;']],
    test: [RESENDS_TEST, 'rows of a claim whose answer was lost are sent again'],
  },
  {
    name: "never sends again what isn't refreshed in time",
    breaks: 'no lost refresh: a failover of Redis forgets its newest jobs',
    file: RESENDS,
    edits: [['} else if (nowMs >= this.#nextLateMs) {', '} else if (nowMs < 0) {']],
    test: [RESENDS_TEST, "rows that weren't refreshed within RESEND_AFTER_MS are sent again"],
  },
  {
    name: 'says that Redis has everything before it is sent again',
    breaks: 'no lost refresh',
    file: RESENDS,
    edits: [['`${MARKER_WHILE_RESENDING}${walk.toS}`', 'MARKER']],
    test: [RESENDS_TEST, 'what a relay that died after a loss of Redis had not sent again'],
  },
  {
    name: 'says that Redis has everything although it was emptied meanwhile',
    breaks: 'no lost refresh',
    file: RESENDS,
    edits: [
      ["relayMarkerKey(this.#config), MARKER, 'XX')", 'relayMarkerKey(this.#config), MARKER)'],
    ],
    test: [RESENDS_TEST, 'a second loss of Redis while the first is being made up for is noticed'],
  },
  {
    name: "asks for refreshes of executions that aren't stuck",
    breaks: 'the reconciler finds what nobody recorded, and nothing else',
    file: DISAGREEMENTS,
    edits: [['const STUCK = `r.status IN ${FINAL}\n  AND (', 'const STUCK = `(true OR ']],
    test: [RECONCILER_TEST, 'what a person set by hand, until a task changes'],
  },
  {
    name: 'lets the reconciler overrule what the host stored meanwhile',
    breaks: "the host's word stands",
    file: DISAGREEMENTS,
    edits: [["'reconciler', true FROM found", "'reconciler', false FROM found"]],
    test: [
      'test/integration/sql/host-word.test.ts',
      'never changes a final status that the host stored after the reconciler had looked',
    ],
  },
  {
    name: 'finds nothing that nobody recorded',
    breaks: 'the reconciler finds what nobody recorded',
    file: DISAGREEMENTS,
    edits: [["'reconciler', true FROM found", "'reconciler', true FROM found WHERE false"]],
    test: [RECONCILER_TEST, 'executions with an outbox row, due or not, or with a failed job'],
  },
];
