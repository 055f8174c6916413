-- Every refresh that was asked for and not yet done. Its writers only append, so that two of them
-- never wait for each other; a row is deleted by the refresh that has seen its change.
CREATE TABLE tally.outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- As in shared/execution.ts: a row that no worker would take is refused where it is written.
    execution_id bigint NOT NULL CHECK (execution_id BETWEEN 1 AND 9007199254740991),
    vendor       text NOT NULL CHECK (vendor ~ '^[A-Z0-9_]{1,64}$'),
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at      timestamptz,
    source       text NOT NULL CHECK (source IN ('capture', 'api', 'marker', 'reconciler'))
)
WITH (
    -- Rows live for moments: without these, dead ones would pile up to a fifth of the largest backlog.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);

-- What is to be sent (sent_at IS NULL, by due_at) and what is to be sent again (by sent_at).
CREATE INDEX outbox_sending ON tally.outbox (sent_at, due_at);
CREATE INDEX outbox_execution ON tally.outbox (execution_id);
