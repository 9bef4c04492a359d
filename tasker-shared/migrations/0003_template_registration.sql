-- A row that was registered from a file has the mark of the file, and that of all that was
-- registered from it. While the row still says the latter, the file need not be parsed again.
ALTER TABLE tasker.named_tasks
    ADD COLUMN file_mark bytea,
    ADD COLUMN registered_mark bytea;

CREATE INDEX named_tasks_file_mark ON tasker.named_tasks (file_mark)
    WHERE file_mark IS NOT NULL;

-- Makes those of these namespaces that are missing.
--
-- Two processes that register the same names write in the same order, so that one waits for the
-- other instead of both for each other.
CREATE FUNCTION tasker.register_namespaces(p_namespaces text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasker.task_namespaces (name)
    SELECT DISTINCT i.namespace FROM unnest(p_namespaces) AS i (namespace)
    WHERE NOT EXISTS (SELECT FROM tasker.task_namespaces n WHERE n.name = i.namespace)
    ORDER BY i.namespace
    ON CONFLICT (name) DO NOTHING;
END
$$;

-- Registers a batch of templates in one statement. What is registered already, with the same
-- content, is not written.
--
-- The arrays are parallel. `p_uuids` has the key that each item's row gets if it is made. A null
-- strategy leaves the row's strategy as it is. Answers one row for each item, in the order given,
-- with the key that the row has: `created`, `updated` or `unchanged`.
CREATE FUNCTION tasker.register_templates(
    p_uuids uuid[],
    p_namespaces text[],
    p_names text[],
    p_versions text[],
    p_descriptions text[],
    p_strategies text[],
    p_configurations text[],
    p_file_marks bytea[],
    p_registered_marks bytea[]
) RETURNS TABLE (item bigint, status text, named_task_uuid uuid)
LANGUAGE plpgsql
-- A plan for the parameters' values would copy them several times, all documents of a large batch
-- among them. So each statement has one plan for batches and tables of any size, which is to look
-- rows up one by one, by the whole of an index: hence also OFFSET.
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
    PERFORM tasker.register_namespaces(p_namespaces);

    -- The rows in the same order too.
    WITH written AS (
        INSERT INTO tasker.named_tasks AS t
            (named_task_uuid, task_namespace_uuid, name, version, description, configuration,
             identity_strategy, file_mark, registered_mark)
        SELECT p_uuids[k.item], k.task_namespace_uuid, k.name, k.version, k.description,
               p_configurations[k.item]::jsonb,
               coalesce(k.strategy, 'strict')::tasker.identity_strategy,
               p_file_marks[k.item], p_registered_marks[k.item]
        -- Without the documents, which would be copied from one step of the plan to the next.
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
            -- Looked at before: an insert that finds its row locks it, which is a write.
            WHERE known.named_task_uuid IS NULL
                -- Text, not jsonb: equal numbers of different scale have different hashes.
                OR known.configuration::text IS DISTINCT FROM p_configurations[i.item]::jsonb::text
                OR known.description IS DISTINCT FROM i.description
            ORDER BY n.task_namespace_uuid, i.name, i.version
        ) k
        ON CONFLICT (task_namespace_uuid, name, version) DO UPDATE SET
            description = excluded.description,
            configuration = excluded.configuration,
            file_mark = excluded.file_mark,
            registered_mark = excluded.registered_mark,
            updated_at = now()
        -- Another process may have registered the same content since we looked.
        WHERE t.configuration::text IS DISTINCT FROM excluded.configuration::text
            OR t.description IS DISTINCT FROM excluded.description
        -- A row that was inserted has no deleting transaction; one that was updated has.
        RETURNING t.named_task_uuid, t.xmax = 0 AS is_new
    )
    SELECT array_agg(w.named_task_uuid) FILTER (WHERE w.is_new),
           array_agg(w.named_task_uuid) FILTER (WHERE NOT w.is_new)
    INTO created, updated
    FROM written w;

    IF array_remove(p_strategies, NULL) <> '{}' THEN
        -- Rows are locked in the order in which they were written above.
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
        -- Nothing has to be looked up if all of them are new.
        RETURN QUERY
        SELECT i.item, 'created', i.named_task_uuid
        FROM unnest(p_uuids) WITH ORDINALITY AS i (named_task_uuid, item);
        RETURN;
    END IF;

    RETURN QUERY
    SELECT i.item,
           -- Subqueries are hashed; ANY would search the array for each row.
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
