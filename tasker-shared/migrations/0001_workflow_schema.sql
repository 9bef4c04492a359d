-- The workflow schema. Every statement leaves what is there already as it is, so that the file
-- also runs on a database whose `tasker` schema was made by other software.

-- IF NOT EXISTS would ask for the right to create schemas although there is one.
DO $$
BEGIN
    IF to_regnamespace('tasker') IS NULL THEN
        CREATE SCHEMA tasker;
    END IF;
END
$$;

-- Version 7 UUIDs sort by time, which keeps index pages of recent rows together. PostgreSQL 18
-- has a function of its own.
DO $$
BEGIN
    IF to_regprocedure('tasker.uuidv7()') IS NULL THEN
        IF to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN
            CREATE FUNCTION tasker.uuidv7() RETURNS uuid
            LANGUAGE sql VOLATILE PARALLEL SAFE
            AS 'SELECT pg_catalog.uuidv7()';
        ELSE
            -- 48 bits of milliseconds, the version, and the random tail of a version 4 UUID,
            -- whose variant bits are at the same place.
            CREATE FUNCTION tasker.uuidv7() RETURNS uuid
            LANGUAGE sql VOLATILE PARALLEL SAFE
            AS $f$
                SELECT (
                    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
                    || '7'
                    || substr(replace(gen_random_uuid()::text, '-', ''), 14)
                )::uuid
            $f$;
        END IF;
    END IF;
    IF to_regtype('tasker.identity_strategy') IS NULL THEN
        CREATE TYPE tasker.identity_strategy AS ENUM ('strict', 'caller_provided', 'always_unique');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS tasker.task_namespaces (
    task_namespace_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    name varchar(64) NOT NULL UNIQUE,
    description varchar(255),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS tasker.named_tasks (
    named_task_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    task_namespace_uuid uuid NOT NULL REFERENCES tasker.task_namespaces,
    name varchar(64) NOT NULL,
    description varchar(255),
    version varchar(16) NOT NULL DEFAULT '0.1.0',
    configuration jsonb DEFAULT '{}',
    identity_strategy tasker.identity_strategy NOT NULL DEFAULT 'strict',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (task_namespace_uuid, name, version)
);

CREATE TABLE IF NOT EXISTS tasker.named_steps (
    named_step_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    name varchar(128) NOT NULL UNIQUE,
    description varchar(255),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS tasker.named_tasks_named_steps (
    ntns_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    named_task_uuid uuid NOT NULL REFERENCES tasker.named_tasks ON DELETE CASCADE,
    named_step_uuid uuid NOT NULL REFERENCES tasker.named_steps,
    default_retryable boolean NOT NULL DEFAULT true,
    default_max_attempts integer NOT NULL DEFAULT 3,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (named_task_uuid, named_step_uuid)
);

CREATE TABLE IF NOT EXISTS tasker.tasks (
    task_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    named_task_uuid uuid NOT NULL REFERENCES tasker.named_tasks,
    complete boolean NOT NULL DEFAULT false,
    requested_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    initiator varchar(128),
    source_system varchar(128),
    reason varchar(128),
    tags jsonb,
    context jsonb,
    options jsonb,
    identity_hash varchar(128) NOT NULL UNIQUE,
    priority integer NOT NULL DEFAULT 0,
    correlation_id uuid NOT NULL DEFAULT tasker.uuidv7(),
    parent_correlation_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS tasks_named_task_uuid_task_uuid
    ON tasker.tasks (named_task_uuid, task_uuid);

CREATE TABLE IF NOT EXISTS tasker.workflow_steps (
    workflow_step_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks ON DELETE CASCADE,
    named_step_uuid uuid NOT NULL REFERENCES tasker.named_steps,
    retryable boolean NOT NULL DEFAULT true,
    max_attempts integer DEFAULT 3,
    in_process boolean NOT NULL DEFAULT false,
    processed boolean NOT NULL DEFAULT false,
    processed_at timestamptz,
    attempts integer,
    last_attempted_at timestamptz,
    backoff_request_seconds integer,
    inputs jsonb,
    results jsonb,
    priority integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS workflow_steps_task_uuid ON tasker.workflow_steps (task_uuid);

CREATE TABLE IF NOT EXISTS tasker.workflow_step_edges (
    workflow_step_edge_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    from_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps ON DELETE CASCADE,
    to_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps ON DELETE CASCADE,
    name varchar(128) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (from_step_uuid, to_step_uuid, name)
);

CREATE INDEX IF NOT EXISTS workflow_step_edges_to_step_uuid
    ON tasker.workflow_step_edges (to_step_uuid);

CREATE TABLE IF NOT EXISTS tasker.task_transitions (
    task_transition_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks ON DELETE CASCADE,
    from_state varchar(64),
    to_state varchar(64) NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (task_uuid, sort_key)
);

CREATE TABLE IF NOT EXISTS tasker.workflow_step_transitions (
    workflow_step_transition_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    workflow_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps ON DELETE CASCADE,
    from_state varchar(64),
    to_state varchar(64) NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_step_uuid, sort_key)
);
