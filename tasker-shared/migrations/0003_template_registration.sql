-- Registers a batch of templates in one statement. What is registered already, with the same
-- content, is not written.
--
-- The arrays are parallel. A null strategy leaves the row's strategy as it is. Answers one row
-- for each item, in the order given: `created`, `updated` or `unchanged`.
CREATE FUNCTION tasker.register_templates(
    p_namespaces text[],
    p_names text[],
    p_versions text[],
    p_descriptions text[],
    p_strategies text[],
    p_configurations text[]
) RETURNS TABLE (item bigint, status text, named_task_uuid uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    changed bigint[];
    created uuid[];
    updated uuid[];
BEGIN
    SELECT array_agg(i.item) INTO changed
    FROM unnest(p_namespaces, p_names, p_versions, p_descriptions, p_strategies, p_configurations)
        WITH ORDINALITY
        AS i (namespace, name, version, description, strategy, configuration, item)
    LEFT JOIN tasker.task_namespaces n ON n.name = i.namespace
    LEFT JOIN tasker.named_tasks t ON t.task_namespace_uuid = n.task_namespace_uuid
        AND t.name = i.name AND t.version = i.version
    -- Text, not jsonb: equal numbers of different scale have different hashes.
    WHERE t.named_task_uuid IS NULL
        OR t.configuration::text IS DISTINCT FROM i.configuration::jsonb::text
        OR t.description IS DISTINCT FROM i.description
        OR t.identity_strategy::text <> i.strategy;

    IF changed IS NOT NULL THEN
        -- Two processes that register the same names write in the same order, so that one waits
        -- for the other instead of both for each other.
        INSERT INTO tasker.task_namespaces (name)
        SELECT DISTINCT p_namespaces[c.item] AS name FROM unnest(changed) AS c (item) ORDER BY name
        ON CONFLICT (name) DO NOTHING;

        WITH written AS (
            INSERT INTO tasker.named_tasks AS t
                (task_namespace_uuid, name, version, description, configuration, identity_strategy)
            SELECT n.task_namespace_uuid, p_names[c.item], p_versions[c.item],
                   p_descriptions[c.item], p_configurations[c.item]::jsonb,
                   coalesce(p_strategies[c.item], 'strict')::tasker.identity_strategy
            FROM unnest(changed) AS c (item)
            JOIN tasker.task_namespaces n ON n.name = p_namespaces[c.item]
            ORDER BY n.task_namespace_uuid, p_names[c.item], p_versions[c.item]
            ON CONFLICT (task_namespace_uuid, name, version) DO UPDATE SET
                description = excluded.description,
                configuration = excluded.configuration,
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

        WITH restrategized AS (
            UPDATE tasker.named_tasks t
            SET identity_strategy = p_strategies[c.item]::tasker.identity_strategy,
                updated_at = now()
            FROM unnest(changed) AS c (item)
            JOIN tasker.task_namespaces n ON n.name = p_namespaces[c.item]
            WHERE t.task_namespace_uuid = n.task_namespace_uuid
                AND t.name = p_names[c.item] AND t.version = p_versions[c.item]
                AND t.identity_strategy::text <> p_strategies[c.item]
            RETURNING t.named_task_uuid
        )
        SELECT coalesce(updated, '{}') || coalesce(array_agg(r.named_task_uuid), '{}') INTO updated
        FROM restrategized r;
    END IF;

    RETURN QUERY
    SELECT i.item,
           CASE WHEN t.named_task_uuid = ANY (created) THEN 'created'
                WHEN t.named_task_uuid = ANY (updated) THEN 'updated'
                ELSE 'unchanged' END,
           t.named_task_uuid
    FROM unnest(p_namespaces, p_names, p_versions) WITH ORDINALITY
        AS i (namespace, name, version, item)
    JOIN tasker.task_namespaces n ON n.name = i.namespace
    JOIN tasker.named_tasks t ON t.task_namespace_uuid = n.task_namespace_uuid
        AND t.name = i.name AND t.version = i.version
    ORDER BY i.item;
END
$$;
