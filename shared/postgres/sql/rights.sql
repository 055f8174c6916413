-- Keeps roles working after an upgrade: grants what the upgrade added to every role that may delete from the outbox
-- or call the refresh.
DO $do$
DECLARE
    entitled record;
    added    regclass;
BEGIN
    FOR entitled IN
        SELECT DISTINCT a.grantee::regrole AS role
          FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = 'tally.outbox'::regclass
           AND a.privilege_type = 'DELETE' AND a.grantee NOT IN (0, c.relowner)
    LOOP
        FOR added IN
            SELECT c.oid FROM pg_class c
             WHERE c.relnamespace = 'tally'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration'
        LOOP
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s', added, entitled.role);
        END LOOP;
    END LOOP;
    FOR entitled IN
        SELECT DISTINCT a.grantee::regrole AS role
          FROM pg_proc p, aclexplode(p.proacl) a
         WHERE p.oid = 'tally.refresh_executions(bigint[], boolean)'::regprocedure
           AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tally TO %s', entitled.role);
    END LOOP;
END
$do$;
