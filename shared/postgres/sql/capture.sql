-- Capture: trigger functions that record which executions' tasks a statement changed, in the
-- transaction of the change. `tally capture enable` creates the triggers (shared/postgres/capture.ts).
--
-- They run as their owner, so writers of task need no rights in schema tally. Nothing in task can make
-- them fail: a vendor that is too long or empty is replaced by a valid one, and an id that no refresh
-- can have is left out.

-- Makes a valid vendor of any vendor_type: cut at 255 characters, _ if it is empty or NULL. The same as
-- vendorOf in shared/execution.ts.
CREATE OR REPLACE FUNCTION tally.outbox_vendor(vendor text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(nullif(left(vendor, 255), ''), '_')
$function$;

CREATE OR REPLACE FUNCTION tally.capture_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO tally.outbox (execution_id, vendor, source)
    SELECT DISTINCT n.execution_id, tally.outbox_vendor(n.vendor_type), 'capture'
      FROM new_tasks n
     WHERE n.execution_id BETWEEN 1 AND 9007199254740991;
    RETURN NULL;
END
$function$;

-- A task that moves to another execution changes both. (A full join, because an update may change ids.)
CREATE OR REPLACE FUNCTION tally.capture_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO tally.outbox (execution_id, vendor, source)
    SELECT DISTINCT touched.execution_id, tally.outbox_vendor(touched.vendor_type), 'capture'
      FROM old_tasks o
      FULL JOIN new_tasks n ON n.id = o.id
     CROSS JOIN LATERAL (VALUES (o.execution_id, o.vendor_type), (n.execution_id, n.vendor_type))
           AS touched (execution_id, vendor_type)
     WHERE (o.execution_id, o.status, o.end_time) IS DISTINCT FROM (n.execution_id, n.status, n.end_time)
       AND touched.execution_id BETWEEN 1 AND 9007199254740991;
    RETURN NULL;
END
$function$;

-- Only deleting a task that isn't final can end an execution. Deleting final ones, which is all that a
-- sweep does, ends none: the remaining tasks say what they said before. Nothing else is read here, because
-- whatever is stored may change before the deletion commits.
CREATE OR REPLACE FUNCTION tally.capture_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO tally.outbox (execution_id, vendor, source, only_finishes)
    SELECT DISTINCT o.execution_id, tally.outbox_vendor(o.vendor_type), 'capture', true
      FROM old_tasks o
     WHERE o.status IN ('Pending', 'Scheduled', 'Running')
       AND o.execution_id BETWEEN 1 AND 9007199254740991;
    RETURN NULL;
END
$function$;

-- Notes the host's word: a final status that it stores by hand. A refresh, whether Tally's or the host's own,
-- raises the revision, which the trigger's condition in shared/postgres/capture.ts excludes.
CREATE OR REPLACE FUNCTION tally.capture_status() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO tally.host_word (execution_id, revision, outbox_id, stored_in, snapshot)
    VALUES (NEW.id, NEW.revision, nextval('tally.outbox_id_seq'), pg_current_xact_id(), pg_current_snapshot())
    ON CONFLICT (execution_id) DO UPDATE
       SET revision = excluded.revision, outbox_id = excluded.outbox_id,
           stored_in = excluded.stored_in, snapshot = excluded.snapshot;
    RETURN NULL;
END
$function$;

REVOKE EXECUTE ON FUNCTION tally.outbox_vendor(text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION tally.capture_insert() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION tally.capture_update() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION tally.capture_delete() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION tally.capture_status() FROM PUBLIC;
