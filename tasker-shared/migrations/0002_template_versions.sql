-- Template versions: the hash of each registered document, and the position of the commit that made it
-- current, so that pollers can follow the order of commits.
--
-- The clock is one row. A transaction that changes templates locks it when it commits, from its
-- deferred triggers, and holds it until the commit is visible. So sequence order is commit order,
-- there are no gaps, and any snapshot sees a prefix of the sequence. A plain database sequence
-- has none of these properties.

-- The task row keeps the hash of the template that it was made from.
ALTER TABLE tasker.tasks ADD COLUMN IF NOT EXISTS template_hash varchar(64);

-- PostgreSQL compresses a template of a few kilobytes when it stores it. If it is built with LZ4, that
-- takes a fraction of the time. Rows that are stored already keep their compression.
DO $$
BEGIN
    ALTER TABLE tasker.named_tasks ALTER COLUMN configuration SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

CREATE TABLE tasker.template_clock (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL
);

-- The recent history. A poller sends a sequence and its stamp to learn if the database still has the
-- history that it knows: a restored backup or a promoted replica may reach the same number again, but
-- not with the same stamp.
CREATE TABLE tasker.template_commits (
    sequence bigint PRIMARY KEY,
    stamp uuid NOT NULL DEFAULT gen_random_uuid(),
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A retired template has no pointer: it is not found for new tasks. Its row stays for the tasks that
-- were created from it.
ALTER TABLE tasker.named_tasks
    ADD COLUMN IF NOT EXISTS retired_at timestamptz,
    ADD COLUMN IF NOT EXISTS retired_by text;

-- A null hash is a tombstone: the name was registered once, and its row is gone.
CREATE TABLE tasker.template_versions (
    namespace varchar(64) NOT NULL,
    name varchar(64) NOT NULL,
    version varchar(16) NOT NULL,
    sequence bigint NOT NULL,
    content_hash char(64),
    named_task_uuid uuid,
    identity_strategy tasker.identity_strategy,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (namespace, name, version)
);

CREATE INDEX template_versions_sequence ON tasker.template_versions (sequence);

-- The hash of a document: SHA-256 of the stored jsonb's text, which is canonical. It never changes, but
-- it is declared stable like `convert_to`, because PostgreSQL inlines no function that claims more than
-- its parts.
CREATE FUNCTION tasker.template_hash(configuration jsonb) RETURNS char(64)
LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(sha256(convert_to(coalesce(configuration, '{}')::text, 'UTF8')), 'hex');

-- Records a commit and announces it.
CREATE FUNCTION tasker.template_commit_note(p_sequence bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasker.template_commits (sequence) VALUES (p_sequence);
    -- A poller that was away for longer than this history reads everything again.
    DELETE FROM tasker.template_commits WHERE sequence <= p_sequence - 10000;
    PERFORM pg_notify('tasker_templates', p_sequence::text);
END
$$;

-- Takes the clock's lock without moving the clock. Reads that follow see all commits before this one.
CREATE FUNCTION tasker.template_clock_lock() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    commit_sequence bigint;
BEGIN
    PERFORM 1 FROM tasker.template_clock FOR UPDATE;
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

-- Returns this transaction's position. The first call moves the clock, records the commit and
-- announces it; later calls find the row written by this transaction and return the same position.
CREATE FUNCTION tasker.template_clock_advance() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    commit_sequence bigint;
BEGIN
    UPDATE tasker.template_clock SET sequence = sequence + 1
    WHERE xmin <> pg_current_xact_id()::xid
    RETURNING sequence INTO commit_sequence;
    IF FOUND THEN
        PERFORM tasker.template_commit_note(commit_sequence);
    ELSE
        SELECT sequence INTO STRICT commit_sequence FROM tasker.template_clock;
    END IF;
    RETURN commit_sequence;
END
$$;

-- Sets the pointers of these names; to null if a name has no row. The arrays are parallel, and names
-- must not repeat. Moves the clock only if a pointer changes.
CREATE FUNCTION tasker.template_pointers_set(
    p_namespaces text[],
    p_names text[],
    p_versions text[],
    p_uuids uuid[],
    p_strategies tasker.identity_strategy[],
    p_hashes char(64)[]
) RETURNS void
LANGUAGE plpgsql
-- A plan for one name would be slow for a thousand.
SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    INSERT INTO tasker.template_versions AS v
        (namespace, name, version, sequence, content_hash, named_task_uuid, identity_strategy,
         registered_at)
    -- A subquery that depends on no row is evaluated once, and not at all without a row.
    SELECT k.namespace, k.name, k.version, (SELECT tasker.template_clock_advance()), k.hash,
           k.named_task_uuid, k.identity_strategy, clock_timestamp()
    FROM unnest(p_namespaces, p_names, p_versions, p_uuids, p_strategies, p_hashes)
        AS k (namespace, name, version, named_task_uuid, identity_strategy, hash)
    LEFT JOIN tasker.template_versions p
        ON p.namespace = k.namespace AND p.name = k.name AND p.version = k.version
    WHERE (k.hash, k.named_task_uuid, k.identity_strategy)
        IS DISTINCT FROM (p.content_hash, p.named_task_uuid, p.identity_strategy)
    ON CONFLICT (namespace, name, version) DO UPDATE SET
        sequence = excluded.sequence,
        content_hash = excluded.content_hash,
        named_task_uuid = excluded.named_task_uuid,
        identity_strategy = excluded.identity_strategy,
        -- The time at which this content was registered; unchanged content keeps it.
        registered_at = CASE WHEN v.content_hash = excluded.content_hash
            THEN v.registered_at ELSE excluded.registered_at END;
END
$$;

-- Sets the pointers of these names from their rows. The arrays are parallel.
CREATE FUNCTION tasker.template_point(p_namespaces text[], p_names text[], p_versions text[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    PERFORM tasker.template_clock_lock();
    PERFORM tasker.template_pointers_set(
        array_agg(k.namespace), array_agg(k.name), array_agg(k.version),
        array_agg(t.named_task_uuid), array_agg(t.identity_strategy),
        array_agg(CASE WHEN t.named_task_uuid IS NOT NULL AND t.retired_at IS NULL
                       THEN tasker.template_hash(t.configuration) END)
    )
    FROM (
        SELECT DISTINCT k.namespace, k.name, k.version
        FROM unnest(p_namespaces, p_names, p_versions) AS k (namespace, name, version)
    ) k
    LEFT JOIN (
        tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_uuid)
    ) ON n.name = k.namespace AND t.name = k.name AND t.version = k.version;
END
$$;

-- The names that a transaction's statements have changed, one row for each statement, until the
-- transaction commits. It is unlogged because a row is deleted before anybody else could see it.
CREATE UNLOGGED TABLE tasker.template_changes (
    change_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace_uuids uuid[] NOT NULL,
    names text[] NOT NULL,
    versions text[] NOT NULL
);

-- Compressing the names of a large batch until the commit would be a waste.
ALTER TABLE tasker.template_changes
    ALTER COLUMN namespace_uuids SET STORAGE EXTERNAL,
    ALTER COLUMN names SET STORAGE EXTERNAL,
    ALTER COLUMN versions SET STORAGE EXTERNAL;

-- The trigger functions run as their owner, so that a role which may write templates needs no right to
-- write the clock.
CREATE FUNCTION tasker.named_tasks_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker.template_changes (namespace_uuids, names, versions)
    SELECT array_agg(r.task_namespace_uuid), array_agg(r.name), array_agg(r.version)
    FROM new_rows r HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION tasker.named_tasks_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker.template_changes (namespace_uuids, names, versions)
    SELECT array_agg(r.task_namespace_uuid), array_agg(r.name), array_agg(r.version)
    FROM (
        SELECT o.task_namespace_uuid, o.name, o.version FROM old_rows o
        UNION
        SELECT r.task_namespace_uuid, r.name, r.version FROM new_rows r
    ) r HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION tasker.named_tasks_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker.template_changes (namespace_uuids, names, versions)
    SELECT array_agg(r.task_namespace_uuid), array_agg(r.name), array_agg(r.version)
    FROM old_rows r HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION tasker.template_changes_committed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A plan that was made for few rows would be slow for many.
SET plan_cache_mode = force_custom_plan AS $$
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

-- Logical replication applies rows without statements, so statement triggers do not fire for them.
CREATE FUNCTION tasker.named_tasks_replicated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
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

CREATE FUNCTION tasker.task_namespaces_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    namespaces text[];
    names text[];
    versions text[];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.name = NEW.name THEN
        RETURN NULL;
    END IF;
    -- Locked in the order of TRUNCATE.
    LOCK TABLE tasker.named_tasks IN ACCESS SHARE MODE;
    PERFORM tasker.template_clock_lock();
    SELECT array_agg(k.namespace), array_agg(k.name), array_agg(k.version)
    INTO namespaces, names, versions
    FROM (
        SELECT v.namespace, v.name, v.version
        FROM tasker.template_versions v WHERE v.namespace = OLD.name
        UNION
        SELECT NEW.name, t.name, t.version
        FROM tasker.named_tasks t
        WHERE TG_OP = 'UPDATE' AND t.task_namespace_uuid = NEW.task_namespace_uuid
    ) k;
    IF namespaces IS NOT NULL THEN
        PERFORM tasker.template_point(namespaces, names, versions);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION tasker.named_tasks_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker.template_clock_lock();
    IF EXISTS (SELECT FROM tasker.template_versions WHERE content_hash IS NOT NULL) THEN
        UPDATE tasker.template_versions SET
            -- A subquery, evaluated once, because in a subtransaction each call moves the clock.
            sequence = (SELECT tasker.template_clock_advance()),
            content_hash = NULL, named_task_uuid = NULL, identity_strategy = NULL
        WHERE content_hash IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;

-- Statements record the names that they change. This is cheap and makes nobody wait.
CREATE TRIGGER named_tasks_inserted
    AFTER INSERT ON tasker.named_tasks
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.named_tasks_inserted();

CREATE TRIGGER named_tasks_updated
    AFTER UPDATE ON tasker.named_tasks
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.named_tasks_updated();

CREATE TRIGGER named_tasks_deleted
    AFTER DELETE ON tasker.named_tasks
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.named_tasks_deleted();

-- Deferred: writers wait for each other only while they commit.
CREATE CONSTRAINT TRIGGER template_changes_committed
    AFTER INSERT ON tasker.template_changes
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.template_changes_committed();

CREATE CONSTRAINT TRIGGER named_tasks_replicated
    AFTER INSERT OR UPDATE OR DELETE ON tasker.named_tasks
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.named_tasks_replicated();

CREATE CONSTRAINT TRIGGER task_namespaces_changed
    AFTER UPDATE OR DELETE ON tasker.task_namespaces
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.task_namespaces_changed();

-- A trigger on TRUNCATE cannot be deferred. The table stays locked until the commit anyway.
CREATE TRIGGER named_tasks_truncated
    AFTER TRUNCATE ON tasker.named_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.named_tasks_truncated();

-- Fire for rows that replication or a restore applies, too.
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_inserted;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_updated;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_deleted;
ALTER TABLE tasker.named_tasks ENABLE REPLICA TRIGGER named_tasks_replicated;
ALTER TABLE tasker.template_changes ENABLE ALWAYS TRIGGER template_changes_committed;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_truncated;
ALTER TABLE tasker.task_namespaces ENABLE ALWAYS TRIGGER task_namespaces_changed;

-- Creating the triggers has locked their tables against writers, so no change is missed between them
-- and this copy of the existing rows.
INSERT INTO tasker.template_clock (sequence) VALUES (1);
INSERT INTO tasker.template_commits (sequence) VALUES (1);
INSERT INTO tasker.template_versions
    (namespace, name, version, sequence, content_hash, named_task_uuid, identity_strategy,
     registered_at)
SELECT n.name, t.name, t.version, 1, tasker.template_hash(t.configuration), t.named_task_uuid,
       t.identity_strategy, t.updated_at
FROM tasker.named_tasks t
JOIN tasker.task_namespaces n USING (task_namespace_uuid);
