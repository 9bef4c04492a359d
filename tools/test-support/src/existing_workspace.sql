-- The schema of a workspace that existed before this software, with rows of its own. Times have no
-- zone and no default, and mean UTC.

CREATE SCHEMA tasker;

CREATE FUNCTION tasker.uuid_generate_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (
        lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14)
    )::uuid
$$;

CREATE TYPE tasker.dlq_reason AS ENUM ('staleness_timeout', 'max_retries_exceeded',
    'dependency_cycle_detected', 'worker_unavailable', 'manual_dlq');
CREATE TYPE tasker.dlq_resolution_status AS ENUM ('pending', 'manually_resolved',
    'permanently_failed', 'cancelled');

CREATE TABLE tasker.task_namespaces (
    task_namespace_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    name varchar(64) NOT NULL UNIQUE,
    description varchar(255),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);

CREATE TABLE tasker.named_tasks (
    named_task_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    task_namespace_uuid uuid NOT NULL REFERENCES tasker.task_namespaces,
    name varchar(64) NOT NULL,
    description varchar(255),
    version varchar(16) NOT NULL DEFAULT '0.1.0',
    configuration jsonb DEFAULT '{}',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX named_tasks_namespace_name_version_unique
    ON tasker.named_tasks (task_namespace_uuid, name, version);

CREATE TABLE tasker.named_steps (
    named_step_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    name varchar(128) NOT NULL,
    description varchar(255),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX named_steps_name_unique ON tasker.named_steps (name);

CREATE TABLE tasker.named_tasks_named_steps (
    ntns_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    named_task_uuid uuid NOT NULL REFERENCES tasker.named_tasks,
    named_step_uuid uuid NOT NULL REFERENCES tasker.named_steps,
    default_retryable boolean NOT NULL DEFAULT true,
    default_max_attempts integer NOT NULL DEFAULT 3,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    UNIQUE (named_task_uuid, named_step_uuid)
);

CREATE TABLE tasker.tasks (
    task_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    named_task_uuid uuid NOT NULL REFERENCES tasker.named_tasks,
    complete boolean NOT NULL DEFAULT false,
    requested_at timestamp NOT NULL,
    completed_at timestamp,
    initiator varchar(128),
    source_system varchar(128),
    reason varchar(128),
    tags jsonb,
    context jsonb,
    identity_hash varchar(128) NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    correlation_id uuid NOT NULL,
    parent_correlation_id uuid,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX tasks_identity_hash_unique ON tasker.tasks (identity_hash);

CREATE TABLE tasker.workflow_steps (
    workflow_step_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks,
    named_step_uuid uuid NOT NULL REFERENCES tasker.named_steps,
    retryable boolean NOT NULL DEFAULT true,
    max_attempts integer DEFAULT 3,
    in_process boolean NOT NULL DEFAULT false,
    processed boolean NOT NULL DEFAULT false,
    processed_at timestamp,
    attempts integer,
    last_attempted_at timestamp,
    backoff_request_seconds integer,
    inputs jsonb,
    results jsonb,
    priority integer NOT NULL DEFAULT 0,
    checkpoint jsonb,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);

CREATE TABLE tasker.workflow_step_edges (
    workflow_step_edge_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    from_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps,
    to_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps,
    name varchar NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);

CREATE TABLE tasker.task_transitions (
    task_transition_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks,
    to_state varchar NOT NULL,
    from_state varchar,
    metadata jsonb DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT false,
    processor_uuid uuid,
    transition_metadata jsonb DEFAULT '{}',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    CONSTRAINT chk_task_transitions_from_state CHECK (from_state IS NULL OR from_state IN (
        'pending', 'initializing', 'enqueuing_steps', 'steps_in_process', 'evaluating_results',
        'waiting_for_dependencies', 'waiting_for_retry', 'blocked_by_failures', 'complete', 'error',
        'cancelled', 'resolved_manually')),
    CONSTRAINT chk_task_transitions_to_state CHECK (to_state IN (
        'pending', 'initializing', 'enqueuing_steps', 'steps_in_process', 'evaluating_results',
        'waiting_for_dependencies', 'waiting_for_retry', 'blocked_by_failures', 'complete', 'error',
        'cancelled', 'resolved_manually'))
);
CREATE UNIQUE INDEX task_transitions_sort_key_unique
    ON tasker.task_transitions (task_uuid, sort_key);

CREATE TABLE tasker.workflow_step_transitions (
    workflow_step_transition_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    workflow_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps,
    to_state varchar NOT NULL,
    from_state varchar,
    metadata jsonb DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    CONSTRAINT chk_workflow_step_transitions_from_state CHECK (from_state IS NULL OR from_state IN (
        'pending', 'enqueued', 'in_progress', 'enqueued_for_orchestration',
        'enqueued_as_error_for_orchestration', 'waiting_for_retry', 'complete', 'error',
        'cancelled', 'resolved_manually')),
    CONSTRAINT chk_workflow_step_transitions_to_state CHECK (to_state IN (
        'pending', 'enqueued', 'in_progress', 'enqueued_for_orchestration',
        'enqueued_as_error_for_orchestration', 'waiting_for_retry', 'complete', 'error',
        'cancelled', 'resolved_manually'))
);
CREATE UNIQUE INDEX workflow_step_transitions_sort_key_unique
    ON tasker.workflow_step_transitions (workflow_step_uuid, sort_key);

CREATE TABLE tasker.tasks_dlq (
    dlq_entry_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks,
    original_state varchar(50) NOT NULL,
    dlq_reason tasker.dlq_reason NOT NULL,
    dlq_timestamp timestamp NOT NULL DEFAULT now(),
    resolution_status tasker.dlq_resolution_status NOT NULL DEFAULT 'pending',
    resolution_timestamp timestamp,
    resolution_notes text,
    resolved_by varchar(255),
    task_snapshot jsonb NOT NULL,
    metadata jsonb,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX tasks_dlq_one_pending
    ON tasker.tasks_dlq (task_uuid) WHERE resolution_status = 'pending';

CREATE TABLE tasker.workflow_step_result_audit (
    workflow_step_result_audit_uuid uuid PRIMARY KEY DEFAULT tasker.uuid_generate_v7(),
    workflow_step_uuid uuid NOT NULL REFERENCES tasker.workflow_steps,
    workflow_step_transition_uuid uuid NOT NULL REFERENCES tasker.workflow_step_transitions,
    task_uuid uuid NOT NULL REFERENCES tasker.tasks,
    recorded_at timestamp(6) NOT NULL DEFAULT now(),
    worker_uuid uuid,
    correlation_id uuid,
    success boolean NOT NULL,
    execution_time_ms bigint,
    created_at timestamp(6) NOT NULL DEFAULT now(),
    updated_at timestamp(6) NOT NULL DEFAULT now(),
    UNIQUE (workflow_step_uuid, workflow_step_transition_uuid)
);

CREATE TYPE tasker.identity_strategy AS ENUM ('strict', 'caller_provided', 'always_unique');
ALTER TABLE tasker.named_tasks
    ADD COLUMN identity_strategy tasker.identity_strategy NOT NULL DEFAULT 'strict';

CREATE VIEW tasker.step_dag_relationships AS
SELECT s.workflow_step_uuid, s.task_uuid, s.named_step_uuid,
       (SELECT count(*) FROM tasker.workflow_step_edges e
        WHERE e.to_step_uuid = s.workflow_step_uuid) AS parent_count
FROM tasker.workflow_steps s;

-- The workspace's own migrations, which are not ours.
CREATE TABLE public._sqlx_migrations (
    version bigint PRIMARY KEY,
    description text NOT NULL,
    installed_on timestamptz NOT NULL DEFAULT now(),
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
INSERT INTO public._sqlx_migrations VALUES (20260110000001, 'schema', now(), true, '\x00', 1);

CREATE UNIQUE INDEX task_transitions_most_recent_unique
    ON tasker.task_transitions (task_uuid, most_recent) WHERE most_recent;
CREATE UNIQUE INDEX workflow_step_transitions_most_recent_unique
    ON tasker.workflow_step_transitions (workflow_step_uuid, most_recent) WHERE most_recent;

-- Rows: one template for each strategy, and a task that is complete.
INSERT INTO tasker.task_namespaces (name, created_at, updated_at)
VALUES ('billing', '2026-01-02 03:04:05', '2026-01-02 03:04:05');

INSERT INTO tasker.named_tasks
    (task_namespace_uuid, name, version, configuration, identity_strategy, created_at, updated_at)
SELECT n.task_namespace_uuid, s.name, '1.0.0',
       jsonb_build_object('name', s.name, 'namespace_name', 'billing', 'version', '1.0.0',
           'identity_strategy', s.strategy,
           'steps', '[{"name": "charge", "handler": {"callable": "charge"}},
                      {"name": "mail", "handler": {"callable": "mail"},
                       "dependencies": ["charge"],
                       "retry": {"max_attempts": 3, "backoff": "none"}}]'::jsonb),
       s.strategy::tasker.identity_strategy, '2026-01-02 03:04:05', '2026-01-02 03:04:06'
FROM tasker.task_namespaces n,
     (VALUES ('by_context', 'strict'), ('by_key', 'caller_provided'),
             ('by_request', 'always_unique')) AS s (name, strategy);

INSERT INTO tasker.named_steps (name, created_at, updated_at)
VALUES ('charge', '2026-01-02 03:04:05', '2026-01-02 03:04:05');

INSERT INTO tasker.tasks
    (task_uuid, named_task_uuid, complete, requested_at, completed_at, context, identity_hash,
     correlation_id, created_at, updated_at)
SELECT '019b0000-0000-7000-8000-000000000001', t.named_task_uuid, true, '2026-02-03 04:05:06',
       '2026-02-03 04:05:08', '{"order": 1}', 'an identity of the workspace',
       '019b0000-0000-7000-8000-00000000000c', '2026-02-03 04:05:07', '2026-02-03 04:05:08'
FROM tasker.named_tasks t WHERE t.name = 'by_context';

INSERT INTO tasker.task_transitions
    (task_uuid, from_state, to_state, sort_key, most_recent, created_at, updated_at)
VALUES ('019b0000-0000-7000-8000-000000000001', NULL, 'pending', 1, false,
        '2026-02-03 04:05:07', '2026-02-03 04:05:07'),
       ('019b0000-0000-7000-8000-000000000001', 'pending', 'complete', 2, true,
        '2026-02-03 04:05:08', '2026-02-03 04:05:08');

INSERT INTO tasker.workflow_steps
    (workflow_step_uuid, task_uuid, named_step_uuid, processed, processed_at, attempts,
     last_attempted_at, results, created_at, updated_at)
SELECT '019b0000-0000-7000-8000-000000000002', '019b0000-0000-7000-8000-000000000001',
       s.named_step_uuid, true, '2026-02-03 04:05:08', 1, '2026-02-03 04:05:07.5', '{"paid": true}',
       '2026-02-03 04:05:07', '2026-02-03 04:05:08'
FROM tasker.named_steps s WHERE s.name = 'charge';

INSERT INTO tasker.workflow_step_transitions
    (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key, most_recent,
     created_at, updated_at)
VALUES ('019b0000-0000-7000-8000-000000000003', '019b0000-0000-7000-8000-000000000002',
        'in_progress', 'complete', 1, true, '2026-02-03 04:05:08', '2026-02-03 04:05:08');

INSERT INTO tasker.workflow_step_result_audit
    (workflow_step_uuid, workflow_step_transition_uuid, task_uuid, success)
VALUES ('019b0000-0000-7000-8000-000000000002', '019b0000-0000-7000-8000-000000000003',
        '019b0000-0000-7000-8000-000000000001', true);
