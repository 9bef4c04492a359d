-- Makes a schema that other software created work with the statements of this one: a column that the
-- schema of `0001` has and that one lacks, and defaults. Changes nothing in the schema of `0001`.

ALTER TABLE tasker.tasks ADD COLUMN IF NOT EXISTS options jsonb;

-- Times without a zone are UTC there.
DO $$
DECLARE
    v_table text;
    v_column text;
    v_is_zoned boolean;
BEGIN
    FOR v_table, v_column, v_is_zoned IN
        SELECT a.attrelid::regclass, quote_ident(a.attname), a.atttypid = 'timestamptz'::regtype
        FROM pg_attribute a
        WHERE a.attrelid = ANY (ARRAY[
                'tasker.task_namespaces', 'tasker.named_tasks', 'tasker.named_steps',
                'tasker.named_tasks_named_steps', 'tasker.tasks', 'tasker.workflow_steps',
                'tasker.workflow_step_edges', 'tasker.task_transitions',
                'tasker.workflow_step_transitions']::regclass[])
            AND a.attname IN ('created_at', 'updated_at', 'requested_at')
            AND a.attnotnull AND NOT a.atthasdef AND NOT a.attisdropped
        ORDER BY a.attrelid, a.attnum
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s', v_table, v_column,
            CASE WHEN v_is_zoned THEN 'now()' ELSE '(now() AT TIME ZONE ''UTC'')' END);
    END LOOP;
END
$$;
