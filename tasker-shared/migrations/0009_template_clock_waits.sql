-- Waits for the clock are bounded, say who is waited for, and happen only if a pointer changes.

-- Names the session that holds the clock's row. It cannot be a prepared transaction, because one that
-- has announced a change cannot be prepared.
CREATE FUNCTION tasker.template_clock_holder() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT 'pid ' || l.pid
         FROM tasker.template_clock c
         JOIN pg_locks l ON l.transactionid = c.xmax
         WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
             AND l.pid IS NOT NULL
         LIMIT 1),
        'a transaction that has just ended'
    )
$$;

-- Fails because of the session that holds the clock.
CREATE FUNCTION tasker.template_clock_refuse(p_holder text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'lock_not_available',
        MESSAGE = 'template changes cannot be committed, because tasker.template_clock is '
            || 'locked by ' || p_holder,
        HINT = 'That transaction has changed templates and is not finished. End it, or call '
            || 'pg_terminate_backend.';
END
$$;

-- A COMMIT runs without `statement_timeout`, so this wait has a limit of its own.
CREATE OR REPLACE FUNCTION tasker.template_clock_lock() RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    commit_sequence bigint;
BEGIN
    -- A TRUNCATE that is not committed locks the table.
    BEGIN
        LOCK TABLE tasker.template_clock IN ROW SHARE MODE;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM tasker.template_clock_refuse(coalesce(
            (SELECT 'pid ' || min(l.pid) FROM pg_locks l
             WHERE l.relation = 'tasker.template_clock'::regclass AND l.granted
                 AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                 AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock')),
            'a transaction that has just ended'));
    END;
    -- Nearly always the row is free, or this transaction's. Only a wait needs a subtransaction that
    -- writes, to report its end.
    PERFORM 1 FROM tasker.template_clock FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM 1 FROM tasker.template_clock FOR UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM tasker.template_clock_refuse(tasker.template_clock_holder());
    END;
    IF NOT FOUND THEN
        -- Somebody emptied the table. Any position after all known ones is safe. The row is this
        -- transaction's, as if it had moved the clock, so this is its position.
        INSERT INTO tasker.template_clock (sequence)
        SELECT 1 + greatest(
            (SELECT coalesce(max(sequence), 0) FROM tasker.template_versions),
            (SELECT coalesce(max(sequence), 0) FROM tasker.template_commits)
        )
        ON CONFLICT DO NOTHING
        RETURNING sequence INTO commit_sequence;
        IF FOUND THEN
            PERFORM tasker.template_commit_note(commit_sequence);
        END IF;
        PERFORM 1 FROM tasker.template_clock FOR UPDATE;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tasker.template_changes_committed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A plan that was made for few rows would be slow for many.
SET plan_cache_mode = force_custom_plan
-- Of the other tables' locks, because a COMMIT runs without `statement_timeout`.
SET lock_timeout = '5s' AS $$
DECLARE
    namespace_uuids uuid[];
    names text[];
    versions text[];
    uuids uuid[];
    strategies tasker.identity_strategy[];
    hashes char(64)[];
BEGIN
    DELETE FROM tasker.template_changes WHERE change_uuid = NEW.change_uuid;
    -- Read before the clock is locked, because other writers wait for it. These rows are this
    -- transaction's until it ends, and so are the names that it has freed: only their namespaces
    -- can still change.
    SELECT array_agg(k.namespace_uuid), array_agg(k.name), array_agg(k.version),
           array_agg(t.named_task_uuid), array_agg(t.identity_strategy),
           array_agg(CASE WHEN t.named_task_uuid IS NOT NULL AND t.retired_at IS NULL
                          THEN tasker.template_hash(t.configuration) END)
    INTO namespace_uuids, names, versions, uuids, strategies, hashes
    FROM unnest(NEW.namespace_uuids, NEW.names, NEW.versions) AS k (namespace_uuid, name, version)
    LEFT JOIN tasker.named_tasks t
        ON t.task_namespace_uuid = k.namespace_uuid
        AND t.name = k.name AND t.version = k.version;
    -- Without the clock, as when only descriptions change. Who renames a namespace meanwhile sees the
    -- same pointers in these rows, changed or not. A namespace that is missing may be on its way, because
    -- replication copies tables side by side; who brings it then waits for this transaction's rows.
    IF NOT EXISTS (
        SELECT
        FROM unnest(namespace_uuids, names, versions, uuids, strategies, hashes)
            AS k (namespace_uuid, name, version, named_task_uuid, identity_strategy, hash)
        LEFT JOIN tasker.task_namespaces n ON n.task_namespace_uuid = k.namespace_uuid
        LEFT JOIN tasker.template_versions p
            ON p.namespace = n.name AND p.name = k.name AND p.version = k.version
        WHERE n.name IS NULL OR (k.hash, k.named_task_uuid, k.identity_strategy)
            IS DISTINCT FROM (p.content_hash, p.named_task_uuid, p.identity_strategy)
    ) THEN
        RETURN NULL;
    END IF;
    -- After this, a namespace that another transaction renamed has its new name.
    PERFORM tasker.template_clock_lock();
    -- If this transaction renamed or deleted a namespace, that trigger updates its old names.
    PERFORM tasker.template_pointers_set(
        array_agg(n.name), array_agg(k.name), array_agg(k.version),
        array_agg(k.named_task_uuid), array_agg(k.identity_strategy), array_agg(k.hash)
    )
    FROM unnest(namespace_uuids, names, versions, uuids, strategies, hashes)
        AS k (namespace_uuid, name, version, named_task_uuid, identity_strategy, hash)
    JOIN tasker.task_namespaces n ON n.task_namespace_uuid = k.namespace_uuid;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION tasker.named_tasks_replicated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A change that no pointer shows. Texts, because equal numbers of different scale differ there.
    IF TG_OP = 'UPDATE' AND (
        NEW.named_task_uuid, NEW.task_namespace_uuid, NEW.name, NEW.version, NEW.identity_strategy,
        NEW.retired_at IS NULL, NEW.configuration::text
    ) IS NOT DISTINCT FROM (
        OLD.named_task_uuid, OLD.task_namespace_uuid, OLD.name, OLD.version, OLD.identity_strategy,
        OLD.retired_at IS NULL, OLD.configuration::text
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM tasker.template_clock_lock();
    IF TG_OP <> 'INSERT' THEN
        PERFORM tasker.template_point(ARRAY[n.name], ARRAY[OLD.name], ARRAY[OLD.version])
        FROM tasker.task_namespaces n WHERE n.task_namespace_uuid = OLD.task_namespace_uuid;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM tasker.template_point(ARRAY[n.name], ARRAY[NEW.name], ARRAY[NEW.version])
        FROM tasker.task_namespaces n WHERE n.task_namespace_uuid = NEW.task_namespace_uuid;
    END IF;
    RETURN NULL;
END
$$;

-- Logical replication may bring a namespace after its templates.
CREATE FUNCTION tasker.task_namespaces_replicated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Locked in the order of TRUNCATE.
    LOCK TABLE tasker.named_tasks IN ACCESS SHARE MODE;
    PERFORM tasker.template_clock_lock();
    PERFORM tasker.template_point(array_agg(NEW.name::text), array_agg(t.name::text),
                                  array_agg(t.version::text))
    FROM tasker.named_tasks t WHERE t.task_namespace_uuid = NEW.task_namespace_uuid
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER task_namespaces_replicated
    AFTER INSERT ON tasker.task_namespaces
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.task_namespaces_replicated();
ALTER TABLE tasker.task_namespaces ENABLE REPLICA TRIGGER task_namespaces_replicated;
