-- The rule: status and end time of executions from their tasks. $1: execution ids, bigint[].
-- An execution without a task of a known status yields no row: nothing is written for it.
-- Source: Harbor's status manager, src/pkg/task (see docs/architecture.md).
SELECT t.execution_id::bigint AS execution_id,
       CASE
           WHEN bool_or(t.status IN ('Pending', 'Scheduled', 'Running')) THEN 'Running'
           WHEN bool_or(t.status = 'Error') THEN 'Error'
           WHEN bool_or(t.status = 'Stopped') THEN 'Stopped'
           ELSE 'Success'
       END AS status,
       -- A running execution has no end time. A final one has the latest of all its tasks, unknown ones included.
       CASE
           WHEN bool_or(t.status IN ('Pending', 'Scheduled', 'Running')) THEN NULL
           ELSE max(t.end_time)
       END AS end_time
  FROM task t
 WHERE t.execution_id = ANY ($1::bigint[])
 GROUP BY t.execution_id
HAVING bool_or(t.status IN ('Pending', 'Scheduled', 'Running', 'Stopped', 'Error', 'Success'))
