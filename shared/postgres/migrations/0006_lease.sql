-- Duties that one process at a time may do. Its row says which, and until when; see shared/postgres/lease.ts.
CREATE TABLE tally.lease (
    duty       text PRIMARY KEY,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);
