-- Pointers heal: a registration sets pointers that are missing or wrong, and one function repairs the
-- modes of the triggers and all pointers.

-- Has the pointers of these names set from their rows when the transaction commits, as if it had changed
-- the rows. The arrays are parallel.
CREATE FUNCTION tasker.template_repoint(p_namespaces uuid[], p_names text[], p_versions text[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The trigger reads the rows before it locks the clock, so they must be this transaction's until it
    -- ends.
    PERFORM FROM tasker.named_tasks t
    JOIN unnest(p_namespaces, p_names, p_versions) AS k (namespace, name, version)
        ON t.task_namespace_uuid = k.namespace AND t.name = k.name AND t.version = k.version
    ORDER BY t.task_namespace_uuid, t.name, t.version
    FOR NO KEY UPDATE OF t;
    INSERT INTO tasker.template_changes (namespace_uuids, names, versions)
    VALUES (p_namespaces, p_names, p_versions);
END
$$;

-- Registers a batch of templates in one statement. Templates that are registered already, with the same
-- content, are not written.
--
-- The arrays are parallel. `p_uuids` has the key that each item's row gets if it is created. A null
-- strategy leaves the row's strategy unchanged. Returns one row for each item, in the order given,
-- with the row's key and `created`, `updated` or `unchanged`.
--
-- An unchanged row whose pointer was missing or wrong is `updated`.
CREATE OR REPLACE FUNCTION tasker.register_templates(
    p_uuids uuid[],
    p_namespaces text[],
    p_names text[],
    p_versions text[],
    p_descriptions text[],
    p_strategies text[],
    p_configurations text[]
) RETURNS TABLE (item bigint, status text, named_task_uuid uuid)
LANGUAGE plpgsql
-- A plan for the parameters' values would copy all documents of a large batch several times. A generic
-- plan must suit batches and tables of any size, so the settings and OFFSET make it look rows up one
-- by one by index.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    created uuid[];
    updated uuid[];
    new_strategy text;
    restrategized uuid[];
    repaired uuid[];
    namespaces uuid[];
    names text[];
    versions text[];
BEGIN
    -- Two processes that register the same names write in the same order, so that one waits for the
    -- other instead of both for each other.
    INSERT INTO tasker.task_namespaces (name)
    SELECT DISTINCT i.namespace FROM unnest(p_namespaces) AS i (namespace)
    WHERE NOT EXISTS (SELECT FROM tasker.task_namespaces n WHERE n.name = i.namespace)
    ORDER BY i.namespace
    ON CONFLICT (name) DO NOTHING;

    WITH written AS (
        INSERT INTO tasker.named_tasks AS t
            (named_task_uuid, task_namespace_uuid, name, version, description, configuration,
             identity_strategy)
        SELECT p_uuids[k.item], k.task_namespace_uuid, k.name, k.version, k.description,
               p_configurations[k.item]::jsonb,
               coalesce(k.strategy, 'strict')::tasker.identity_strategy
        -- Without the documents, because each step of the plan would copy them.
        FROM (
            SELECT i.item, n.task_namespace_uuid, i.name, i.version, i.description, i.strategy
            FROM unnest(p_namespaces, p_names, p_versions, p_descriptions, p_strategies)
                WITH ORDINALITY AS i (namespace, name, version, description, strategy, item)
            JOIN tasker.task_namespaces n ON n.name = i.namespace
            LEFT JOIN LATERAL (
                SELECT t.named_task_uuid, t.configuration, t.description
                FROM tasker.named_tasks t
                WHERE t.task_namespace_uuid = n.task_namespace_uuid
                    AND t.name = i.name AND t.version = i.version
                OFFSET 0
            ) known ON true
            -- Compared before the insert, because an insert that finds its row locks it, which is a write.
            WHERE known.named_task_uuid IS NULL
                -- Text, not jsonb: equal numbers of different scale have different hashes.
                OR known.configuration::text IS DISTINCT FROM p_configurations[i.item]::jsonb::text
                OR known.description IS DISTINCT FROM i.description
            ORDER BY n.task_namespace_uuid, i.name, i.version
        ) k
        ON CONFLICT (task_namespace_uuid, name, version) DO UPDATE SET
            description = excluded.description,
            configuration = excluded.configuration,
            updated_at = now()
        -- Another process may have registered the same content since the comparison.
        WHERE t.configuration::text IS DISTINCT FROM excluded.configuration::text
            OR t.description IS DISTINCT FROM excluded.description
        -- An inserted row has no deleting transaction; an updated one has.
        RETURNING t.named_task_uuid, t.xmax = 0 AS is_new
    )
    SELECT array_agg(w.named_task_uuid) FILTER (WHERE w.is_new),
           array_agg(w.named_task_uuid) FILTER (WHERE NOT w.is_new)
    INTO created, updated
    FROM written w;

    IF array_remove(p_strategies, NULL) <> '{}' THEN
        -- Locks rows in the order in which they were written above.
        FOR new_strategy, restrategized IN
            SELECT k.strategy, array_agg(k.named_task_uuid)
            FROM (
                SELECT i.strategy, t.named_task_uuid
                FROM (
                    SELECT n.task_namespace_uuid, i.name, i.version, i.strategy
                    FROM unnest(p_namespaces, p_names, p_versions, p_strategies)
                        AS i (namespace, name, version, strategy)
                    JOIN tasker.task_namespaces n ON n.name = i.namespace
                    ORDER BY n.task_namespace_uuid, i.name, i.version
                ) i
                CROSS JOIN LATERAL (
                    SELECT t.named_task_uuid FROM tasker.named_tasks t
                    WHERE t.task_namespace_uuid = i.task_namespace_uuid
                        AND t.name = i.name AND t.version = i.version
                        AND t.identity_strategy::text <> i.strategy
                    OFFSET 0
                    FOR NO KEY UPDATE
                ) t
            ) k
            GROUP BY k.strategy
        LOOP
            UPDATE tasker.named_tasks t
            SET identity_strategy = new_strategy::tasker.identity_strategy, updated_at = now()
            WHERE t.named_task_uuid = ANY (restrategized);
            updated := updated || restrategized;
        END LOOP;
    END IF;

    IF cardinality(created) = cardinality(p_uuids) THEN
        -- All of them are new, so nothing has to be looked up.
        RETURN QUERY
        SELECT i.item, 'created', i.named_task_uuid
        FROM unnest(p_uuids) WITH ORDINALITY AS i (named_task_uuid, item);
        RETURN;
    END IF;

    -- Rows that were loaded or changed while triggers were off have no pointer, or a wrong one. Those
    -- of rows that are written here are set at the commit.
    SELECT array_agg(t.named_task_uuid), array_agg(i.task_namespace_uuid),
           array_agg(i.name), array_agg(i.version)
    INTO repaired, namespaces, names, versions
    FROM (
        SELECT n.task_namespace_uuid, i.namespace, i.name, i.version
        FROM unnest(p_namespaces, p_names, p_versions) AS i (namespace, name, version)
        JOIN tasker.task_namespaces n ON n.name = i.namespace
    ) i
    CROSS JOIN LATERAL (
        SELECT t.named_task_uuid, t.configuration, t.identity_strategy
        FROM tasker.named_tasks t
        WHERE t.task_namespace_uuid = i.task_namespace_uuid
            AND t.name = i.name AND t.version = i.version AND t.retired_at IS NULL
        OFFSET 0
    ) t
    LEFT JOIN LATERAL (
        SELECT v.content_hash, v.named_task_uuid, v.identity_strategy
        FROM tasker.template_versions v
        WHERE v.namespace = i.namespace AND v.name = i.name AND v.version = i.version
        OFFSET 0
    ) v ON true
    WHERE t.named_task_uuid NOT IN (SELECT unnest(created || updated))
        AND (v.content_hash, v.named_task_uuid, v.identity_strategy) IS DISTINCT FROM
            (tasker.template_hash(t.configuration), t.named_task_uuid, t.identity_strategy);
    IF repaired IS NOT NULL THEN
        PERFORM tasker.template_repoint(namespaces, names, versions);
        updated := updated || repaired;
    END IF;

    RETURN QUERY
    SELECT i.item,
           -- Subqueries, because they are hashed, and ANY would search the array for each row.
           CASE WHEN t.named_task_uuid IN (SELECT unnest(created)) THEN 'created'
                WHEN t.named_task_uuid IN (SELECT unnest(updated)) THEN 'updated'
                ELSE 'unchanged' END,
           t.named_task_uuid
    FROM unnest(p_namespaces, p_names, p_versions) WITH ORDINALITY
        AS i (namespace, name, version, item)
    JOIN tasker.task_namespaces n ON n.name = i.namespace
    CROSS JOIN LATERAL (
        SELECT t.named_task_uuid FROM tasker.named_tasks t
        WHERE t.task_namespace_uuid = n.task_namespace_uuid
            AND t.name = i.name AND t.version = i.version
        OFFSET 0
    ) t
    ORDER BY i.item;
END
$$;

-- The triggers that do not fire as they have to. `ALTER TABLE ... DISABLE TRIGGER USER` and
-- `ENABLE TRIGGER USER` leave them firing for ordinary sessions only.
CREATE FUNCTION tasker.template_triggers_wrong() RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(wanted.trigger ORDER BY wanted.trigger), '{}')
    FROM (VALUES
        ('named_tasks', 'named_tasks_inserted', 'A'),
        ('named_tasks', 'named_tasks_updated', 'A'),
        ('named_tasks', 'named_tasks_deleted', 'A'),
        ('named_tasks', 'named_tasks_replicated', 'R'),
        ('named_tasks', 'named_tasks_truncated', 'A'),
        ('template_changes', 'template_changes_committed', 'A'),
        ('task_namespaces', 'task_namespaces_changed', 'A'),
        ('task_namespaces', 'task_namespaces_replicated', 'R'),
        ('template_versions', 'template_history_inserted', 'A'),
        ('template_versions', 'template_history_updated', 'A'),
        ('named_tasks', 'template_history_replaced', 'A'),
        ('named_tasks', 'template_history_deleted', 'A')
    ) AS wanted ("table", trigger, mode)
    WHERE NOT EXISTS (
        SELECT FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'tasker' AND c.relname = wanted."table"
            AND t.tgname = wanted.trigger AND t.tgenabled = wanted.mode::"char")
$$;

-- Lets all triggers fire as they have to, and makes all pointers agree with the rows. Returns the
-- number of pointers that it changed. Only the owner of the tables may run it.
CREATE FUNCTION tasker.template_repair() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_before bigint;
BEGIN
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_inserted;
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_updated;
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_deleted;
    ALTER TABLE tasker.named_tasks ENABLE REPLICA TRIGGER named_tasks_replicated;
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_truncated;
    ALTER TABLE tasker.template_changes ENABLE ALWAYS TRIGGER template_changes_committed;
    ALTER TABLE tasker.task_namespaces ENABLE ALWAYS TRIGGER task_namespaces_changed;
    ALTER TABLE tasker.task_namespaces ENABLE REPLICA TRIGGER task_namespaces_replicated;
    ALTER TABLE tasker.template_versions ENABLE ALWAYS TRIGGER template_history_inserted;
    ALTER TABLE tasker.template_versions ENABLE ALWAYS TRIGGER template_history_updated;
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER template_history_replaced;
    ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER template_history_deleted;
    -- Left behind by transactions whose trigger did not fire.
    DELETE FROM tasker.template_changes;
    PERFORM tasker.template_clock_lock();
    SELECT sequence INTO v_before FROM tasker.template_clock;
    PERFORM tasker.template_point(array_agg(k.namespace), array_agg(k.name), array_agg(k.version))
    FROM (
        SELECT n.name AS namespace, t.name, t.version
        FROM tasker.named_tasks t
        JOIN tasker.task_namespaces n USING (task_namespace_uuid)
        UNION
        SELECT v.namespace, v.name, v.version FROM tasker.template_versions v
    ) k
    HAVING count(*) > 0;
    RETURN (SELECT count(*) FROM tasker.template_versions WHERE sequence > v_before);
END
$$;
REVOKE EXECUTE ON FUNCTION tasker.template_repair() FROM PUBLIC;
