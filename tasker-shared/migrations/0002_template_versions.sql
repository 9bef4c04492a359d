-- Template versions: for every name the hash of its registered body, and the commit that made it
-- current, in an order of commits that pollers can follow.
--
-- The clock is one row. A transaction that changes templates locks it when it commits, from its
-- deferred triggers, and holds it until the commit is visible. So sequence order is commit order,
-- there are no gaps, and any snapshot sees a prefix of the sequence. A plain database sequence
-- has none of these properties.

-- The task row keeps the hash of the template that it was made from.
ALTER TABLE tasker.tasks ADD COLUMN IF NOT EXISTS template_hash varchar(64);

CREATE TABLE tasker.template_clock (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL
);

-- The recent history. A poller that names a sequence and its stamp learns whether the database
-- still has the history that it has seen: a restored backup or a promoted replica may reach the
-- same number again, but not with the same stamp.
CREATE TABLE tasker.template_commits (
    sequence bigint PRIMARY KEY,
    stamp uuid NOT NULL DEFAULT gen_random_uuid(),
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A null hash is a tombstone: the name was registered once and is not any more.
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

-- The hash of a body: SHA-256 of the stored jsonb's text, which is canonical.
CREATE FUNCTION tasker.template_hash(configuration jsonb) RETURNS char(64)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(sha256(convert_to(coalesce(configuration, '{}')::text, 'UTF8')), 'hex');

-- Takes the clock's lock without moving the clock: what is read after it is what the commits
-- before this one left.
CREATE FUNCTION tasker.template_clock_lock() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM tasker.template_clock FOR UPDATE;
    IF NOT FOUND THEN
        -- Somebody emptied the table. Later than all that is known is a safe place to go on from.
        INSERT INTO tasker.template_clock (sequence)
        SELECT greatest(
            (SELECT coalesce(max(sequence), 0) FROM tasker.template_versions),
            (SELECT coalesce(max(sequence), 0) FROM tasker.template_commits)
        )
        ON CONFLICT DO NOTHING;
        PERFORM 1 FROM tasker.template_clock FOR UPDATE;
    END IF;
END
$$;

-- This transaction's place in the sequence. The first call moves the clock, records the commit
-- and announces it; later calls find the row written by this transaction and answer the same.
CREATE FUNCTION tasker.template_clock_advance() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    UPDATE tasker.template_clock SET sequence = sequence + 1
    WHERE xmin <> pg_current_xact_id()::xid
    RETURNING sequence INTO place;
    IF FOUND THEN
        INSERT INTO tasker.template_commits (sequence) VALUES (place);
        -- As much history as a poller that was away for long may need; one that was away for
        -- longer reads everything again.
        DELETE FROM tasker.template_commits WHERE sequence <= place - 10000;
        PERFORM pg_notify('tasker_templates', place::text);
    ELSE
        SELECT sequence INTO STRICT place FROM tasker.template_clock;
    END IF;
    RETURN place;
END
$$;

-- Makes the pointer of one name agree with the rows that it is made of. Moves the clock only if
-- it did not.
CREATE FUNCTION tasker.template_point(p_namespace text, p_name text, p_version text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    body record;
    pointer tasker.template_versions%ROWTYPE;
BEGIN
    PERFORM tasker.template_clock_lock();
    SELECT t.named_task_uuid, t.identity_strategy, tasker.template_hash(t.configuration) AS hash
    INTO body
    FROM tasker.named_tasks t
    JOIN tasker.task_namespaces n USING (task_namespace_uuid)
    WHERE n.name = p_namespace AND t.name = p_name AND t.version = p_version;

    SELECT * INTO pointer FROM tasker.template_versions v
    WHERE v.namespace = p_namespace AND v.name = p_name AND v.version = p_version;

    IF (body.hash, body.named_task_uuid, body.identity_strategy)
        IS NOT DISTINCT FROM
       (pointer.content_hash, pointer.named_task_uuid, pointer.identity_strategy) THEN
        RETURN;
    END IF;

    INSERT INTO tasker.template_versions AS v
        (namespace, name, version, sequence, content_hash, named_task_uuid, identity_strategy,
         registered_at)
    VALUES
        (p_namespace, p_name, p_version, tasker.template_clock_advance(), body.hash,
         body.named_task_uuid, body.identity_strategy, clock_timestamp())
    ON CONFLICT (namespace, name, version) DO UPDATE SET
        sequence = excluded.sequence,
        content_hash = excluded.content_hash,
        named_task_uuid = excluded.named_task_uuid,
        identity_strategy = excluded.identity_strategy,
        -- The time at which this content was registered; the same content keeps it.
        registered_at = CASE WHEN v.content_hash = excluded.content_hash
            THEN v.registered_at ELSE excluded.registered_at END;
END
$$;

-- The triggers run as their owner, so that a role which may write templates needs no right to
-- write the clock.
CREATE FUNCTION tasker.named_tasks_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    namespace text;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        -- The namespace may have been renamed or deleted by the same transaction; then its own
        -- trigger takes care of its old name.
        SELECT n.name INTO namespace FROM tasker.task_namespaces n
        WHERE n.task_namespace_uuid = OLD.task_namespace_uuid;
        IF FOUND THEN
            PERFORM tasker.template_point(namespace, OLD.name, OLD.version);
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT n.name INTO namespace FROM tasker.task_namespaces n
        WHERE n.task_namespace_uuid = NEW.task_namespace_uuid;
        IF FOUND THEN
            PERFORM tasker.template_point(namespace, NEW.name, NEW.version);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION tasker.task_namespaces_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.name = NEW.name THEN
        RETURN NULL;
    END IF;
    PERFORM tasker.template_point(v.namespace, v.name, v.version)
    FROM tasker.template_versions v WHERE v.namespace = OLD.name;
    IF TG_OP = 'UPDATE' THEN
        PERFORM tasker.template_point(NEW.name, t.name, t.version)
        FROM tasker.named_tasks t WHERE t.task_namespace_uuid = NEW.task_namespace_uuid;
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
            sequence = tasker.template_clock_advance(),
            content_hash = NULL, named_task_uuid = NULL, identity_strategy = NULL
        WHERE content_hash IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;

-- Deferred: writers wait for each other only while they commit.
CREATE CONSTRAINT TRIGGER named_tasks_changed
    AFTER INSERT OR UPDATE OR DELETE ON tasker.named_tasks
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.named_tasks_changed();

CREATE CONSTRAINT TRIGGER task_namespaces_changed
    AFTER UPDATE OR DELETE ON tasker.task_namespaces
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tasker.task_namespaces_changed();

-- A trigger on TRUNCATE cannot be deferred. The table is locked until the commit all the same.
CREATE TRIGGER named_tasks_truncated
    AFTER TRUNCATE ON tasker.named_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.named_tasks_truncated();

-- Rows that replication or a restore applies count as well.
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_changed;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_truncated;
ALTER TABLE tasker.task_namespaces ENABLE ALWAYS TRIGGER task_namespaces_changed;

-- The triggers' tables are locked against writers by now, so nothing is missed between them and
-- the rows that were here before.
INSERT INTO tasker.template_clock (sequence) VALUES (1);
INSERT INTO tasker.template_commits (sequence) VALUES (1);
INSERT INTO tasker.template_versions
    (namespace, name, version, sequence, content_hash, named_task_uuid, identity_strategy,
     registered_at)
SELECT n.name, t.name, t.version, 1, tasker.template_hash(t.configuration), t.named_task_uuid,
       t.identity_strategy, t.updated_at
FROM tasker.named_tasks t
JOIN tasker.task_namespaces n USING (task_namespace_uuid);
