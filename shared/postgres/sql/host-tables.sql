-- The host's two tables as Harbor defines them, for a database that has neither.
CREATE SEQUENCE execution_id_seq AS integer;

CREATE TABLE execution (
    id             integer NOT NULL DEFAULT nextval('execution_id_seq') PRIMARY KEY,
    vendor_type    varchar(64) NOT NULL,
    vendor_id      integer,
    status         varchar(16),
    status_message text,
    trigger        varchar(16) NOT NULL,
    extra_attrs    json,
    start_time     timestamp DEFAULT CURRENT_TIMESTAMP,
    end_time       timestamp,
    revision       integer,
    update_time    timestamp
);

ALTER SEQUENCE execution_id_seq OWNED BY execution.id;

CREATE INDEX idx_execution_vendor_type_vendor_id ON execution (vendor_type, vendor_id);
CREATE INDEX idx_execution_start_time ON execution (start_time);

CREATE TABLE task (
    id              serial PRIMARY KEY,
    execution_id    integer NOT NULL REFERENCES execution (id),
    job_id          varchar(64),
    status          varchar(16) NOT NULL,
    status_code     integer NOT NULL,
    status_revision bigint,
    status_message  text,
    run_count       integer,
    extra_attrs     json,
    creation_time   timestamp DEFAULT CURRENT_TIMESTAMP,
    start_time      timestamp,
    update_time     timestamp,
    end_time        timestamp,
    vendor_type     varchar(64) NOT NULL
);

CREATE INDEX idx_task_execution_id ON task (execution_id);
CREATE INDEX idx_task_job_id ON task (job_id);
CREATE INDEX idx_task_extra_attrs_report_uuids ON task USING gin ((extra_attrs::jsonb -> 'report_uuids'));
