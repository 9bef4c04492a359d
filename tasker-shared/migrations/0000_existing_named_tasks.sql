-- Adds the column that `0002` reads to a table that other software created without it.
DO $$
BEGIN
    IF to_regclass('tasker.named_tasks') IS NULL THEN
        RETURN;
    END IF;
    IF to_regtype('tasker.identity_strategy') IS NULL THEN
        CREATE TYPE tasker.identity_strategy AS ENUM ('strict', 'caller_provided', 'always_unique');
    END IF;
    ALTER TABLE tasker.named_tasks ADD COLUMN IF NOT EXISTS
        identity_strategy tasker.identity_strategy NOT NULL DEFAULT 'strict';
END
$$;
