-- A row that was registered from a file has the mark of the file, and that of all that was
-- registered from it. While the row still says the latter, the file need not be parsed again.
ALTER TABLE tasker.named_tasks
    ADD COLUMN file_mark bytea,
    ADD COLUMN registered_mark bytea;

CREATE INDEX named_tasks_file_mark ON tasker.named_tasks (file_mark)
    WHERE file_mark IS NOT NULL;

-- Registers a batch of templates in one statement. What is registered already, with the same
-- content, is not written.
--
-- The arrays are parallel. `p_uuids` has the keys of the rows that are new. A null strategy leaves
-- the row's strategy as it is. Answers one row for each item, in the order given: `created`,
-- `updated` or `unchanged`.
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
LANGUAGE plpgsql AS $$
DECLARE
    created uuid[];
    updated uuid[];
    restrategized uuid[];
BEGIN
    -- Statements are dynamic where the plan for one template is a bad one for a thousand: each is
    -- planned for its own batch. The setting `force_custom_plan` would do that too, but also have
    -- the foreign key's check planned for each row.

    -- Two processes that register the same names write in the same order, so that one waits for
    -- the other instead of both for each other.
    INSERT INTO tasker.task_namespaces (name)
    SELECT DISTINCT i.namespace FROM unnest(p_namespaces) AS i (namespace)
    WHERE NOT EXISTS (SELECT FROM tasker.task_namespaces n WHERE n.name = i.namespace)
    ORDER BY i.namespace
    ON CONFLICT (name) DO NOTHING;

    EXECUTE $insert$
    WITH written AS (
        INSERT INTO tasker.named_tasks AS t
            (named_task_uuid, task_namespace_uuid, name, version, description, configuration,
             identity_strategy, file_mark, registered_mark)
        SELECT i.named_task_uuid, n.task_namespace_uuid, i.name, i.version, i.description,
               i.configuration::jsonb, coalesce(i.strategy, 'strict')::tasker.identity_strategy,
               i.file_mark, i.registered_mark
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS i
            (named_task_uuid, namespace, name, version, description, strategy, configuration,
             file_mark, registered_mark)
        JOIN tasker.task_namespaces n ON n.name = i.namespace
        LEFT JOIN tasker.named_tasks known
            ON known.task_namespace_uuid = n.task_namespace_uuid
            AND known.name = i.name AND known.version = i.version
        -- Looked at before: an insert that finds its row locks it, which is a write.
        WHERE known.named_task_uuid IS NULL
            -- Text, not jsonb: equal numbers of different scale have different hashes.
            OR known.configuration::text IS DISTINCT FROM i.configuration::jsonb::text
            OR known.description IS DISTINCT FROM i.description
        ORDER BY n.task_namespace_uuid, i.name, i.version
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
    FROM written w
    $insert$
    INTO created, updated
    USING p_uuids, p_namespaces, p_names, p_versions, p_descriptions, p_strategies,
        p_configurations, p_file_marks, p_registered_marks;

    IF array_remove(p_strategies, NULL) <> '{}' THEN
        EXECUTE $update$
        WITH written AS (
            UPDATE tasker.named_tasks t
            SET identity_strategy = i.strategy::tasker.identity_strategy, updated_at = now()
            FROM unnest($1, $2, $3, $4)
                AS i (namespace, name, version, strategy)
            JOIN tasker.task_namespaces n ON n.name = i.namespace
            WHERE t.task_namespace_uuid = n.task_namespace_uuid
                AND t.name = i.name AND t.version = i.version
                AND t.identity_strategy::text <> i.strategy
            RETURNING t.named_task_uuid
        )
        SELECT array_agg(w.named_task_uuid) FROM written w
        $update$
        INTO restrategized
        USING p_namespaces, p_names, p_versions, p_strategies;
        updated := updated || restrategized;
    END IF;

    IF cardinality(created) = cardinality(p_uuids) THEN
        -- Nothing has to be looked up if all of them are new.
        RETURN QUERY
        SELECT i.item, 'created', i.named_task_uuid
        FROM unnest(p_uuids) WITH ORDINALITY AS i (named_task_uuid, item);
        RETURN;
    END IF;

    RETURN QUERY EXECUTE $answer$
    SELECT i.item,
           CASE WHEN t.named_task_uuid = ANY ($4) THEN 'created'
                WHEN t.named_task_uuid = ANY ($5) THEN 'updated'
                ELSE 'unchanged' END,
           t.named_task_uuid
    FROM unnest($1, $2, $3) WITH ORDINALITY
        AS i (namespace, name, version, item)
    JOIN tasker.task_namespaces n ON n.name = i.namespace
    JOIN tasker.named_tasks t ON t.task_namespace_uuid = n.task_namespace_uuid
        AND t.name = i.name AND t.version = i.version
    ORDER BY i.item
    $answer$
    USING p_namespaces, p_names, p_versions, created, updated;
END
$$;
