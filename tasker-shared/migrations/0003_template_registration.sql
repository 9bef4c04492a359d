-- Registers a batch of templates in one statement. Templates that are registered already, with the same
-- content, are not written.
--
-- The arrays are parallel. `p_uuids` has the key that each item's row gets if it is created. A null
-- strategy leaves the row's strategy unchanged. Returns one row for each item, in the order given,
-- with the row's key and `created`, `updated` or `unchanged`.
CREATE FUNCTION tasker.register_templates(
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
