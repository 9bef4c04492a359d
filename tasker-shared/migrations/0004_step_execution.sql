-- Step execution: the queue of steps that may run, the workers that run them, and the functions
-- that move steps and tasks from state to state.
--
-- A step has a row in `step_queue` from the moment its dependencies are complete until it ends. The
-- row is the only thing that changes while the step waits and runs. Its transitions are written
-- when an attempt ends, with the times that the row kept, so that a claim is one narrow update and
-- the transitions are only ever inserted. The current state of a step is therefore that of its row
-- in the queue if it has one, else its most recent transition, else `pending`.
--
-- Lock order: rows of the queue, then steps in order of their ids, then tasks in order of theirs.
-- Claims skip rows that are locked.
--
-- Statistics are often from a moment when the queue was empty. The planner then considers to read a
-- whole index in place of a look-up for each row, and to look up by the first of two columns.
-- Therefore joins are written `x.id = ANY (ARRAY[y.id])`, which can only be a look-up, and rows of
-- the queue are found by a subquery with `OFFSET 0`, which uses all columns of the key.

ALTER TABLE tasker.tasks
    -- Somebody waits for the end; the transaction that ends the task notifies.
    ADD COLUMN IF NOT EXISTS awaited boolean NOT NULL DEFAULT false,
    -- When the task reached a final state; `completed_at` is only for success.
    ADD COLUMN IF NOT EXISTS ended_at timestamptz;

ALTER TABLE tasker.workflow_steps
    ADD COLUMN IF NOT EXISTS checkpoint jsonb,
    ADD COLUMN IF NOT EXISTS callable text,
    -- Dependencies that were not complete yet when this was last written. The completion that makes
    -- a step ready does not write it.
    ADD COLUMN IF NOT EXISTS unmet_dependencies integer NOT NULL DEFAULT 0;

-- A page keeps room for the versions of its rows, so that updates touch no index.
ALTER TABLE tasker.tasks SET (fillfactor = 80, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE tasker.workflow_steps SET (fillfactor = 70, autovacuum_vacuum_cost_delay = 0);

DO $$
BEGIN
    IF to_regtype('tasker.dlq_reason') IS NULL THEN
        CREATE TYPE tasker.dlq_reason AS ENUM ('staleness_timeout', 'max_retries_exceeded',
            'dependency_cycle_detected', 'worker_unavailable', 'manual_dlq');
    END IF;
    IF to_regtype('tasker.dlq_resolution_status') IS NULL THEN
        CREATE TYPE tasker.dlq_resolution_status AS ENUM ('pending', 'manually_resolved',
            'permanently_failed', 'cancelled');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS tasker.tasks_dlq (
    dlq_entry_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    task_uuid uuid NOT NULL REFERENCES tasker.tasks ON DELETE CASCADE,
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

CREATE INDEX IF NOT EXISTS tasks_dlq_task_uuid ON tasker.tasks_dlq (task_uuid);
CREATE INDEX IF NOT EXISTS tasks_dlq_resolution_status
    ON tasker.tasks_dlq (resolution_status, dlq_entry_uuid);

CREATE TABLE IF NOT EXISTS tasker.workflow_step_result_audit (
    workflow_step_result_audit_uuid uuid PRIMARY KEY DEFAULT tasker.uuidv7(),
    workflow_step_uuid uuid NOT NULL,
    workflow_step_transition_uuid uuid NOT NULL,
    task_uuid uuid NOT NULL,
    recorded_at timestamp(6) NOT NULL DEFAULT now(),
    worker_uuid uuid,
    correlation_id uuid,
    success boolean NOT NULL,
    execution_time_ms bigint,
    created_at timestamp(6) NOT NULL DEFAULT now(),
    updated_at timestamp(6) NOT NULL DEFAULT now(),
    UNIQUE (workflow_step_uuid, workflow_step_transition_uuid)
);

-- The document of each hash that a task was made from. Rows never change but for `used_at`.
CREATE TABLE tasker.template_documents (
    hash varchar(64) PRIMARY KEY,
    document jsonb NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tasker.step_queue (
    task_uuid uuid NOT NULL,
    workflow_step_uuid uuid NOT NULL,
    callable text NOT NULL,
    priority smallint NOT NULL,
    due_at timestamptz NOT NULL,
    -- The state while the step is not claimed. `pending` if it was claimed as it became ready.
    state text NOT NULL,
    -- That of the step's last recorded transition; 0 if there is none.
    sort_key integer NOT NULL,
    -- The attempt that runs or will run. Every run has its own.
    attempt integer NOT NULL,
    -- Earlier attempts that do not count against the limit: lost workers and drains.
    uncounted integer NOT NULL,
    claimed_by uuid,
    claimed_at timestamptz,
    PRIMARY KEY (task_uuid, workflow_step_uuid)
) WITH (
    -- Claiming changes no indexed column. With half of each page free it touches no index either.
    fillfactor = 50,
    -- Every row dies within moments: vacuum after a fixed number of them, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

-- In the order of claims. Claimed rows stay in it; a claim begins above those that are taken.
CREATE INDEX step_queue_due ON tasker.step_queue (priority, due_at);

-- The priorities that were ever used, so that a claim can read the queue of each by a range.
CREATE TABLE tasker.step_queue_priorities (priority smallint PRIMARY KEY);
INSERT INTO tasker.step_queue_priorities VALUES (0);

CREATE TABLE tasker.workers (
    worker_uuid uuid PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    callables text[] NOT NULL,
    -- Callables that are run over HTTP, as patterns for LIKE.
    patterns text[] NOT NULL,
    capacity integer NOT NULL,
    running integer NOT NULL DEFAULT 0,
    lease_seconds integer NOT NULL,
    -- The workers that a step which it runs may lose, one after the other.
    max_lost_attempts integer NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    -- Set by whoever found the lease expired. The row stays for a while, so that a claim which the
    -- worker sent before it froze is returned, too.
    lost_at timestamptz
) WITH (fillfactor = 50);

-- One row of a claim's answer. `kind` says which columns have a meaning:
-- `step`: a claimed step, with its inputs, its checkpoint and the ids of its direct dependencies.
-- `task`: the task of a claimed step, with its context and its other fields.
-- `result`: the result of a step that a claimed step depends on, directly or not.
-- `refused`: an attempt whose result was not recorded because its claim was lost.
-- `lost`: nothing was claimed, because the worker was declared lost.
-- `scanned`: how many rows of the queue were taken, which steps were claimed of them, and when it was
-- read.
CREATE TYPE tasker.execution_row AS (
    kind text,
    task_uuid uuid,
    workflow_step_uuid uuid,
    name text,
    callable text,
    attempt integer,
    uncounted integer,
    value jsonb,
    extra jsonb,
    parents uuid[],
    priority smallint,
    due_at timestamptz
);

-- Priorities beyond 100 run as 100.
CREATE FUNCTION tasker.queue_priority(priority integer) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(-100, least(100, priority))::smallint;

-- Returns all that a worker needs to run `p_steps`, which it has claimed. It knows the tasks of those
-- that are not in `p_found` from the steps of the same tasks that it has run, and the results of
-- `p_known`.
CREATE FUNCTION tasker.steps_describe(p_steps uuid[], p_found uuid[], p_known uuid[])
RETURNS SETOF tasker.execution_row
LANGUAGE plpgsql AS $$
DECLARE
    v_roots uuid[];
BEGIN
    RETURN QUERY
    SELECT 'step', s.task_uuid, s.workflow_step_uuid, n.name::text, q.callable, q.attempt,
           q.uncounted, s.inputs, s.checkpoint,
           ARRAY(SELECT e.from_step_uuid FROM tasker.workflow_step_edges e
                 WHERE e.to_step_uuid = s.workflow_step_uuid),
           q.priority, q.due_at
    FROM unnest(p_steps) AS c (id)
    JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[c.id])
    JOIN tasker.named_steps n ON n.named_step_uuid = ANY (ARRAY[s.named_step_uuid])
    CROSS JOIN LATERAL (
        SELECT * FROM tasker.step_queue q
        WHERE q.task_uuid = s.task_uuid AND q.workflow_step_uuid = c.id
        OFFSET 0
    ) q;

    IF p_found <> '{}' THEN
        RETURN QUERY
        SELECT 'task', t.task_uuid, NULL::uuid, t.template_hash::text, NULL, NULL::int, NULL::int,
               t.context,
               jsonb_build_object('tags', t.tags, 'priority', t.priority,
                   'correlation_id', t.correlation_id,
                   'parent_correlation_id', t.parent_correlation_id),
               NULL::uuid[], NULL::smallint, NULL::timestamptz
        FROM (
            SELECT DISTINCT s.task_uuid
            FROM unnest(p_found) AS c (id)
            JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[c.id])
        ) c
        JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[c.task_uuid]);
    END IF;

    -- Dependencies that the worker has not run itself just now.
    SELECT array_agg(DISTINCT e.from_step_uuid) INTO v_roots
    FROM unnest(p_steps) AS c (id)
    JOIN tasker.workflow_step_edges e ON e.to_step_uuid = ANY (ARRAY[c.id])
    WHERE e.from_step_uuid <> ALL (p_known);
    IF v_roots IS NOT NULL THEN
        RETURN QUERY
        WITH RECURSIVE needed (id) AS (
            SELECT unnest(v_roots)
            UNION
            SELECT e.from_step_uuid
            FROM needed
            JOIN tasker.workflow_step_edges e ON e.to_step_uuid = ANY (ARRAY[needed.id])
        )
        SELECT 'result', NULL::uuid, s.workflow_step_uuid, n.name::text, NULL, NULL::int,
               NULL::int, s.results, NULL::jsonb,
               ARRAY(SELECT e.from_step_uuid FROM tasker.workflow_step_edges e
                     WHERE e.to_step_uuid = s.workflow_step_uuid),
               NULL::smallint, NULL::timestamptz
        FROM needed
        JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[needed.id])
        JOIN tasker.named_steps n ON n.named_step_uuid = ANY (ARRAY[s.named_step_uuid]);
    END IF;
END
$$;

-- Claims up to `p_want` steps that are due, by priority and then by age. Returns their ids, and how
-- many rows it took: with those of tasks that have ended, which it removes.
--
-- Of each priority in `p_priorities` the queue is read from the time in `p_bounds` on, of the others
-- from `p_floor` on. What is below was taken, or is for other workers. Without this, a claim would read all rows that died since the
-- oldest snapshot of the database was taken, because their index entries must stay.
CREATE FUNCTION tasker.steps_scan(
    p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
    p_floor timestamptz, p_priorities smallint[], p_bounds timestamptz[],
    OUT o_claimed uuid[], OUT o_taken integer
)
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_priority smallint;
    v_from timestamptz;
    v_tasks uuid[];
    v_steps uuid[];
    v_gone uuid[];
BEGIN
    o_claimed := '{}';
    o_taken := 0;
    FOR v_priority, v_from IN
        SELECT p.priority, coalesce(b.bound, p_floor, '-infinity')
        FROM tasker.step_queue_priorities p
        LEFT JOIN unnest(p_priorities, p_bounds) AS b (priority, bound)
            ON b.priority = p.priority
        ORDER BY p.priority DESC
    LOOP
        WITH due AS MATERIALIZED (
            SELECT q.ctid
            FROM tasker.step_queue q
            WHERE q.priority = v_priority AND q.due_at >= v_from AND q.due_at <= v_now
                AND q.claimed_by IS NULL
                AND (q.callable = ANY (p_callables) OR q.callable LIKE ANY (p_patterns))
            ORDER BY q.due_at
            LIMIT p_want - o_taken
            FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE tasker.step_queue q
            -- Not `v_now`: this is later than the commit that made the step ready.
            SET claimed_by = p_worker, claimed_at = clock_timestamp()
            FROM due
            WHERE q.ctid = due.ctid
            RETURNING q.task_uuid, q.workflow_step_uuid
        )
        SELECT array_agg(task_uuid), array_agg(workflow_step_uuid) INTO v_tasks, v_steps
        FROM claimed;
        IF v_steps IS NOT NULL THEN
            o_taken := o_taken + cardinality(v_steps);
            -- A cancellation that is committed beside a completion leaves the steps behind that
            -- the completion made ready. So does a task that is deleted by hand.
            SELECT array_agg(c.id) INTO v_gone
            FROM unnest(v_tasks, v_steps) AS c (task_uuid, id)
            LEFT JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[c.task_uuid])
            WHERE t.task_uuid IS NULL OR t.ended_at IS NOT NULL;
            IF v_gone IS NOT NULL THEN
                DELETE FROM tasker.step_queue
                WHERE task_uuid = ANY (v_tasks) AND workflow_step_uuid = ANY (v_gone);
                v_steps := ARRAY(SELECT unnest(v_steps) EXCEPT SELECT unnest(v_gone));
            END IF;
            o_claimed := o_claimed || v_steps;
        END IF;
        EXIT WHEN o_taken >= p_want;
    END LOOP;
END
$$;

-- Claims steps for a worker and returns all that it needs to run them. A worker that was declared
-- lost gets none.
CREATE FUNCTION tasker.steps_claim(
    p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
    p_floor timestamptz, p_priorities smallint[], p_bounds timestamptz[]
) RETURNS SETOF tasker.execution_row
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_claimed uuid[];
    v_taken integer;
BEGIN
    IF NOT EXISTS (SELECT FROM tasker.workers w
                   WHERE w.worker_uuid = p_worker AND w.lost_at IS NULL) THEN
        RETURN QUERY SELECT 'lost', NULL::uuid, NULL::uuid, NULL, NULL, NULL::int, NULL::int,
            NULL::jsonb, NULL::jsonb, NULL::uuid[], NULL::smallint, NULL::timestamptz;
        RETURN;
    END IF;
    SELECT o_claimed, o_taken INTO v_claimed, v_taken FROM tasker.steps_scan(
        p_worker, p_want, p_callables, p_patterns, p_floor, p_priorities, p_bounds);
    IF v_claimed <> '{}' THEN
        RETURN QUERY SELECT * FROM tasker.steps_describe(v_claimed, v_claimed, '{}');
    END IF;
    RETURN QUERY SELECT 'scanned', NULL::uuid, NULL::uuid, NULL, NULL, v_taken,
        NULL::int, NULL::jsonb, NULL::jsonb, v_claimed, NULL::smallint, v_now;
END
$$;

-- Moves a task to another state and records why.
CREATE FUNCTION tasker.task_move(p_task uuid, p_state text, p_metadata jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_from text;
    v_key integer;
BEGIN
    UPDATE tasker.task_transitions SET most_recent = false, updated_at = now()
    WHERE task_uuid = p_task AND most_recent;
    SELECT to_state, sort_key INTO v_from, v_key FROM tasker.task_transitions
    WHERE task_uuid = p_task ORDER BY sort_key DESC LIMIT 1;
    INSERT INTO tasker.task_transitions
        (task_transition_uuid, task_uuid, from_state, to_state, metadata, sort_key, most_recent,
         created_at, updated_at)
    VALUES (tasker.uuidv7(), p_task, v_from, p_state, p_metadata, coalesce(v_key, 0) + 1, true,
            clock_timestamp(), clock_timestamp());
END
$$;

-- Records that a task's first step has started, if that is not recorded yet. While nothing ends, the
-- state of a task is seen from its steps.
CREATE FUNCTION tasker.task_begin(p_task uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM tasker.task_transitions
               WHERE task_uuid = p_task AND most_recent AND to_state = 'pending')
        AND EXISTS (SELECT FROM tasker.workflow_steps WHERE task_uuid = p_task AND attempts > 0)
    THEN
        PERFORM tasker.task_move(p_task, 'steps_in_process', '{"reason": "first_step_started"}');
    END IF;
END
$$;

-- Moves a step that is not in the queue to another state and records why.
CREATE FUNCTION tasker.step_move(p_step uuid, p_state text, p_metadata jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_from text;
    v_key integer;
BEGIN
    UPDATE tasker.workflow_step_transitions SET most_recent = false, updated_at = now()
    WHERE workflow_step_uuid = p_step AND most_recent;
    SELECT to_state, sort_key INTO v_from, v_key FROM tasker.workflow_step_transitions
    WHERE workflow_step_uuid = p_step ORDER BY sort_key DESC LIMIT 1;
    INSERT INTO tasker.workflow_step_transitions
        (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata,
         sort_key, most_recent, created_at, updated_at)
    VALUES (tasker.uuidv7(), p_step, coalesce(v_from, 'pending'), p_state, p_metadata,
            coalesce(v_key, 0) + 1, true, clock_timestamp(), clock_timestamp());
END
$$;

-- Ends those of `p_tasks` in which nothing can run any more: `complete` if all steps are, else
-- `error`, with a row in `tasks_dlq`. Of the others, those in `p_failed` become
-- `blocked_by_failures`.
--
-- Locks the tasks first: of two transactions that end the last two steps of a task, the second
-- sees what the first did, because each statement after the lock has a snapshot of its own.
CREATE FUNCTION tasker.tasks_settle(p_tasks uuid[], p_failed uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_idle uuid[];
    v_done uuid[];
    v_awaited text;
    v_task uuid;
BEGIN
    PERFORM FROM tasker.tasks WHERE task_uuid = ANY (p_tasks) ORDER BY task_uuid
    FOR NO KEY UPDATE;
    SELECT array_agg(p.id) INTO v_idle
    FROM (SELECT DISTINCT unnest(p_tasks) AS id) p
    WHERE NOT EXISTS (SELECT FROM tasker.step_queue q WHERE q.task_uuid = ANY (ARRAY[p.id]));

    SELECT array_agg(i.id) INTO v_done FROM unnest(v_idle) AS i (id)
    WHERE NOT EXISTS (
        SELECT FROM tasker.workflow_steps s
        WHERE s.task_uuid = ANY (ARRAY[i.id]) AND NOT s.processed);

    IF v_done IS NOT NULL THEN
        WITH ended AS (
            UPDATE tasker.tasks
            SET complete = true, completed_at = clock_timestamp(), ended_at = clock_timestamp(),
                updated_at = clock_timestamp()
            WHERE task_uuid = ANY (v_done) AND ended_at IS NULL
            RETURNING task_uuid, awaited
        ), before AS (
            UPDATE tasker.task_transitions x SET most_recent = false, updated_at = now()
            FROM ended WHERE x.task_uuid = ANY (ARRAY[ended.task_uuid]) AND x.most_recent
            RETURNING x.task_uuid, x.to_state, x.sort_key
        ), journal AS (
            INSERT INTO tasker.task_transitions
                (task_transition_uuid, task_uuid, from_state, to_state, metadata, sort_key,
                 most_recent, created_at, updated_at)
            SELECT tasker.uuidv7(), b.task_uuid, j.from_state, j.to_state, j.metadata, j.sort_key,
                   j.most_recent, j.at, now()
            FROM before b
            CROSS JOIN LATERAL (
                SELECT b.to_state, 'steps_in_process', '{"reason": "first_step_started"}'::jsonb,
                       b.sort_key + 1, false,
                       (SELECT coalesce(min(s.last_attempted_at)::timestamptz, clock_timestamp())
                        FROM tasker.workflow_steps s WHERE s.task_uuid = b.task_uuid)
                WHERE b.to_state = 'pending'
                UNION ALL
                SELECT CASE b.to_state WHEN 'pending' THEN 'steps_in_process' ELSE b.to_state END,
                       'complete', '{"reason": "all_steps_complete"}',
                       b.sort_key + CASE b.to_state WHEN 'pending' THEN 2 ELSE 1 END, true,
                       clock_timestamp()
            ) AS j (from_state, to_state, metadata, sort_key, most_recent, at)
        )
        SELECT string_agg(task_uuid::text, ',') FILTER (WHERE awaited) INTO v_awaited FROM ended;
        PERFORM tasker.tasks_announce('complete', v_awaited);
    END IF;

    IF p_failed <> '{}' OR cardinality(v_idle) IS DISTINCT FROM cardinality(v_done) THEN
        FOR v_task IN
            SELECT unnest(v_idle) EXCEPT SELECT unnest(v_done)
        LOOP
            PERFORM tasker.task_fail(v_task);
        END LOOP;
        FOR v_task IN
            SELECT f.id FROM (
                SELECT unnest(p_failed) EXCEPT SELECT unnest(v_idle)
            ) f (id)
            WHERE NOT EXISTS (SELECT FROM tasker.task_transitions x
                WHERE x.task_uuid = f.id AND x.most_recent AND x.to_state = 'blocked_by_failures')
        LOOP
            PERFORM tasker.task_begin(v_task);
            PERFORM tasker.task_move(v_task, 'blocked_by_failures', '{"reason": "step_failed"}');
        END LOOP;
    END IF;
END
$$;

-- Tells those who wait for tasks that these have ended in `p_state`. A list that is too long for a
-- notification is left out; then all who wait look for themselves.
CREATE FUNCTION tasker.tasks_announce(p_state text, p_tasks text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_tasks IS NOT NULL THEN
        PERFORM pg_notify('tasker_tasks',
            CASE WHEN length(p_tasks) < 7900 THEN p_state || ' ' || p_tasks ELSE '' END);
    END IF;
END
$$;

-- Ends a task in which no step can run any more although not all are complete.
CREATE FUNCTION tasker.task_fail(p_task uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_awaited boolean;
    v_state text;
    v_failed jsonb;
BEGIN
    UPDATE tasker.tasks SET ended_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE task_uuid = p_task AND ended_at IS NULL
    RETURNING awaited INTO v_awaited;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM tasker.task_begin(p_task);
    SELECT to_state INTO v_state FROM tasker.task_transitions
    WHERE task_uuid = p_task ORDER BY sort_key DESC LIMIT 1;
    SELECT jsonb_agg(jsonb_build_object('workflow_step_uuid', s.workflow_step_uuid,
               'name', n.name, 'attempts', s.attempts, 'error', s.results -> 'error')
               ORDER BY s.workflow_step_uuid)
    INTO v_failed
    FROM tasker.workflow_steps s
    JOIN tasker.named_steps n ON n.named_step_uuid = s.named_step_uuid
    JOIN tasker.workflow_step_transitions x ON x.workflow_step_uuid = s.workflow_step_uuid
    WHERE s.task_uuid = p_task AND x.most_recent AND x.to_state = 'error';
    PERFORM tasker.task_move(p_task, 'error', jsonb_build_object(
        'reason', CASE WHEN v_failed IS NULL THEN 'no_step_can_run' ELSE 'steps_failed' END));
    INSERT INTO tasker.tasks_dlq
        (dlq_entry_uuid, task_uuid, original_state, dlq_reason, dlq_timestamp, task_snapshot,
         metadata, created_at, updated_at)
    SELECT tasker.uuidv7(), t.task_uuid, v_state, 'max_retries_exceeded', now(),
           jsonb_build_object('task_uuid', t.task_uuid, 'context', t.context,
               'correlation_id', t.correlation_id, 'template_hash', t.template_hash,
               'failed_steps', v_failed),
           jsonb_build_object('detection_method', 'step_failure'), now(), now()
    FROM tasker.tasks t
    WHERE t.task_uuid = p_task AND NOT EXISTS (
        SELECT FROM tasker.tasks_dlq d
        WHERE d.task_uuid = p_task AND d.resolution_status = 'pending');
    IF v_awaited THEN
        PERFORM tasker.tasks_announce('error', p_task::text);
    END IF;
END
$$;

-- Queues the steps that only waited for `p_completed`, whose completion this transaction records.
-- Claims up to `p_want` of them that `p_worker` has handlers for. Returns the tasks of all that it
-- queued and the steps that it claimed.
CREATE FUNCTION tasker.steps_release(
    p_completed uuid[], p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
    OUT o_tasks uuid[], OUT o_claimed uuid[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_ready uuid[];
    v_waiting uuid[];
    v_counts integer[];
    v_reached uuid[];
    v_unclaimed bigint;
    v_due timestamptz;
BEGIN
    SELECT array_agg(s.workflow_step_uuid) FILTER (WHERE s.unmet_dependencies <= d.count),
           array_agg(s.workflow_step_uuid) FILTER (WHERE s.unmet_dependencies > d.count),
           array_agg(d.count) FILTER (WHERE s.unmet_dependencies > d.count)
    INTO v_ready, v_waiting, v_counts
    FROM (
        SELECT e.to_step_uuid, count(DISTINCT e.from_step_uuid)::integer
        FROM tasker.workflow_step_edges e
        WHERE e.from_step_uuid = ANY (p_completed)
        GROUP BY e.to_step_uuid
    ) AS d (id, count)
    JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[d.id])
    WHERE NOT s.processed;

    IF v_waiting IS NOT NULL THEN
        -- Others count the same steps down. All lock them in this order.
        PERFORM FROM tasker.workflow_steps WHERE workflow_step_uuid = ANY (v_waiting)
        ORDER BY workflow_step_uuid FOR NO KEY UPDATE;
        WITH counted AS (
            UPDATE tasker.workflow_steps s
            SET unmet_dependencies = s.unmet_dependencies - w.count
            FROM unnest(v_waiting, v_counts) AS w (id, count)
            WHERE s.workflow_step_uuid = ANY (ARRAY[w.id])
            RETURNING s.workflow_step_uuid, s.unmet_dependencies
        )
        SELECT array_agg(workflow_step_uuid) INTO v_reached
        FROM counted WHERE unmet_dependencies <= 0;
        v_ready := v_ready || v_reached;
    END IF;
    IF v_ready IS NULL THEN
        RETURN;
    END IF;

    v_due := clock_timestamp();
    WITH ready AS (
        SELECT s.task_uuid, s.workflow_step_uuid, s.callable, s.priority,
               row_number() OVER (ORDER BY s.priority DESC, s.workflow_step_uuid) <= p_want
                   AND (s.callable = ANY (p_callables) OR s.callable LIKE ANY (p_patterns)) AS mine
        FROM unnest(v_ready) AS r (id)
        JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[r.id])
    ), queued AS (
        INSERT INTO tasker.step_queue
            (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key, attempt,
             uncounted, claimed_by, claimed_at)
        SELECT r.task_uuid, r.workflow_step_uuid, coalesce(r.callable, ''),
               tasker.queue_priority(r.priority), v_due,
               CASE WHEN r.mine THEN 'pending' ELSE 'enqueued' END, 0, 1, 0,
               CASE WHEN r.mine THEN p_worker END, CASE WHEN r.mine THEN v_due END
        FROM ready r
        RETURNING task_uuid, workflow_step_uuid, claimed_by
    )
    SELECT array_agg(task_uuid),
           array_agg(workflow_step_uuid) FILTER (WHERE claimed_by IS NOT NULL),
           count(*) FILTER (WHERE claimed_by IS NULL)
    INTO o_tasks, o_claimed, v_unclaimed FROM queued;
    IF v_unclaimed > 0 THEN
        PERFORM tasker.steps_announce(v_due);
    END IF;
END
$$;

-- Wakes idle workers. The payload says from when on the queue has to be read: this transaction may
-- be committed long after `p_due`.
CREATE FUNCTION tasker.steps_announce(p_due timestamptz) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_notify('tasker_steps', (extract(epoch FROM p_due) * 1000000)::bigint::text)
$$;

-- Fails in a transaction whose statements do not see what others have committed meanwhile: two of them
-- that end the last two steps of a task would both leave it open.
CREATE FUNCTION tasker.require_read_committed() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'a step cannot be completed in a transaction of isolation level %',
                current_setting('transaction_isolation')
            USING ERRCODE = 'inappropriate_isolation_level_for_branch_transaction',
                HINT = 'Begin the transaction with ISOLATION LEVEL READ COMMITTED.';
    END IF;
    RETURN true;
END
$$;

-- Records the ends of attempts, queues what they make ready, ends tasks, and claims for the same
-- worker. All or nothing, in one transaction.
--
-- The arrays are parallel. `p_states` is `complete`, `error` or `waiting_for_retry`, with the delay
-- in `p_delays_ms`. `p_ids` are four new ids for each end, because
-- making them here takes longer than to record the end. A result is recorded only if the worker still has the claim; else the answer has
-- a row `refused`. The queue is read for further steps if `p_scan`.
CREATE FUNCTION tasker.steps_complete(
    p_worker uuid, p_tasks uuid[], p_steps uuid[], p_attempts integer[], p_states text[],
    p_results jsonb[], p_delays_ms bigint[], p_durations_ms bigint[], p_metadata jsonb[],
    p_ids uuid[], p_want integer, p_callables text[], p_patterns text[],
    p_scan boolean, p_floor timestamptz, p_priorities smallint[], p_bounds timestamptz[]
) RETURNS SETOF tasker.execution_row
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_accepted uuid[];
    v_tasks uuid[];
    v_completed uuid[];
    v_failed uuid[];
    v_later uuid[];
    v_later_sort_keys integer[];
    v_later_ends uuid[];
    v_again uuid[];
    v_again_attempts integer[];
    v_again_uncounted integer[];
    v_again_sort_keys integer[];
    v_again_delays bigint[];
    v_ready uuid[];
    v_quiet uuid[];
    v_claimed uuid[];
    v_found uuid[];
    v_taken integer;
BEGIN
    PERFORM tasker.require_read_committed();
    -- A first attempt that waited in the queue has one more transition to record: `enqueued`.
    WITH given AS (
        SELECT * FROM unnest(p_tasks, p_steps, p_attempts, p_states, p_results, p_delays_ms,
                             p_durations_ms, p_metadata) WITH ORDINALITY
            AS g (task_uuid, id, attempt, state, result, delay_ms, duration_ms, metadata, n)
    ), held AS (
        SELECT g.*, q.row, t.correlation_id
        FROM given g
        CROSS JOIN LATERAL (
            SELECT q.ctid AS row FROM tasker.step_queue q
            WHERE q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
            OFFSET 0
        ) q
        JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[g.task_uuid])
        WHERE t.ended_at IS NULL
    ), ended AS (
        DELETE FROM tasker.step_queue q
        USING held g
        -- A row that others change meanwhile is not this attempt's any more.
        WHERE q.ctid = g.row AND q.attempt = g.attempt AND q.claimed_by = p_worker
        RETURNING q.*, g.state AS to_state, g.result, g.delay_ms, g.duration_ms, g.metadata,
                  g.correlation_id, p_ids[g.n * 4 - 3] AS transition_uuid,
                  p_ids[g.n * 4 - 2 : g.n * 4] AS ids,
                  q.sort_key + (q.state = 'enqueued' AND q.sort_key = 0)::integer AS base
    ), written AS (
        UPDATE tasker.workflow_steps s
        SET results = coalesce(e.result, s.results), attempts = e.attempt,
            last_attempted_at = e.claimed_at, updated_at = v_now,
            processed = e.to_state = 'complete',
            processed_at = CASE WHEN e.to_state = 'complete' THEN v_now END
        FROM ended e WHERE s.workflow_step_uuid = ANY (ARRAY[e.workflow_step_uuid])
    ), journal AS (
        INSERT INTO tasker.workflow_step_transitions
            (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata,
             sort_key, most_recent, created_at, updated_at)
        SELECT j.id, e.workflow_step_uuid, j.from_state, j.to_state, j.metadata, j.sort_key,
               j.most_recent, j.at, v_now
        FROM ended e
        CROSS JOIN LATERAL (
            SELECT e.ids[1], 'pending', 'enqueued',
                   '{"reason": "dependencies_complete"}'::jsonb, 1, false, e.due_at
            WHERE e.state = 'enqueued' AND e.sort_key = 0
            UNION ALL
            SELECT e.ids[2], e.state, 'in_progress',
                   jsonb_build_object('reason', 'claimed', 'attempt', e.attempt,
                                      'worker_uuid', p_worker),
                   e.base + 1, false, e.claimed_at
            UNION ALL
            -- The most recent one of a step that has earlier ones becomes that below, because the
            -- schema of other software has a unique index on it.
            SELECT e.transition_uuid, 'in_progress', e.to_state, e.metadata, e.base + 2,
                   e.sort_key = 0, v_now
        ) AS j (id, from_state, to_state, metadata, sort_key, most_recent, at)
    ), audit AS (
        INSERT INTO tasker.workflow_step_result_audit
            (workflow_step_result_audit_uuid, workflow_step_uuid, workflow_step_transition_uuid,
             task_uuid, recorded_at, worker_uuid, correlation_id, success, execution_time_ms,
             created_at, updated_at)
        SELECT e.ids[3], e.workflow_step_uuid, e.transition_uuid, e.task_uuid, v_now,
               p_worker, e.correlation_id, e.to_state = 'complete', e.duration_ms, v_now, v_now
        FROM ended e
    )
    SELECT array_agg(e.workflow_step_uuid), array_agg(DISTINCT e.task_uuid),
           array_agg(e.workflow_step_uuid) FILTER (WHERE e.to_state = 'complete'),
           array_agg(DISTINCT e.task_uuid) FILTER (WHERE e.to_state = 'error'),
           array_agg(e.workflow_step_uuid) FILTER (WHERE e.sort_key > 0),
           array_agg(e.sort_key) FILTER (WHERE e.sort_key > 0),
           array_agg(e.transition_uuid) FILTER (WHERE e.sort_key > 0),
           array_agg(e.workflow_step_uuid) FILTER (WHERE e.to_state = 'waiting_for_retry'),
           array_agg(e.attempt) FILTER (WHERE e.to_state = 'waiting_for_retry'),
           array_agg(e.uncounted) FILTER (WHERE e.to_state = 'waiting_for_retry'),
           array_agg(e.base + 2) FILTER (WHERE e.to_state = 'waiting_for_retry'),
           array_agg(e.delay_ms) FILTER (WHERE e.to_state = 'waiting_for_retry')
    INTO v_accepted, v_tasks, v_completed, v_failed, v_later, v_later_sort_keys,
         v_later_ends, v_again, v_again_attempts, v_again_uncounted, v_again_sort_keys, v_again_delays
    FROM ended e;

    IF cardinality(v_accepted) IS DISTINCT FROM cardinality(p_steps) THEN
        RETURN QUERY
        SELECT 'refused', g.task_uuid, g.id, NULL, NULL, g.attempt, NULL::int, NULL::jsonb,
               NULL::jsonb, NULL::uuid[], NULL::smallint, NULL::timestamptz
        FROM unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
        WHERE v_accepted IS NULL OR g.id <> ALL (v_accepted);
        -- A completion that was committed beside a cancellation left these.
        DELETE FROM tasker.step_queue q
        USING unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
        JOIN tasker.tasks t ON t.task_uuid = g.task_uuid
        WHERE q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
            AND q.attempt = g.attempt AND q.claimed_by = p_worker AND t.ended_at IS NOT NULL;
    END IF;

    IF v_later IS NOT NULL THEN
        UPDATE tasker.workflow_step_transitions x SET most_recent = false, updated_at = v_now
        FROM unnest(v_later, v_later_sort_keys) AS l (id, sort_key)
        WHERE x.workflow_step_uuid = ANY (ARRAY[l.id]) AND x.sort_key <= l.sort_key AND x.most_recent;
        UPDATE tasker.workflow_step_transitions SET most_recent = true
        WHERE workflow_step_transition_uuid = ANY (v_later_ends);
    END IF;

    IF v_completed IS NOT NULL THEN
        SELECT o_tasks, o_claimed INTO v_ready, v_claimed
        FROM tasker.steps_release(v_completed, p_worker, p_want, p_callables, p_patterns);
    END IF;

    IF v_again IS NOT NULL THEN
        WITH queued AS (
            INSERT INTO tasker.step_queue
                (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key,
                 attempt, uncounted)
            SELECT s.task_uuid, a.id, s.callable, tasker.queue_priority(s.priority),
                   v_now + a.delay_ms * interval '1 millisecond', 'waiting_for_retry', a.sort_key,
                   a.attempt + 1, a.uncounted
            FROM unnest(v_again, v_again_attempts, v_again_uncounted, v_again_sort_keys,
                        v_again_delays) AS a (id, attempt, uncounted, sort_key, delay_ms)
            JOIN tasker.workflow_steps s ON s.workflow_step_uuid = ANY (ARRAY[a.id])
            RETURNING task_uuid
        )
        SELECT array_agg(task_uuid) INTO v_again FROM queued;
        v_ready := v_ready || v_again;
    END IF;

    v_quiet := ARRAY(SELECT unnest(v_tasks) EXCEPT SELECT unnest(v_ready)
                     UNION SELECT unnest(v_failed));
    IF v_quiet <> '{}' THEN
        PERFORM tasker.tasks_settle(v_quiet, coalesce(v_failed, '{}'));
    END IF;

    IF p_scan AND p_want > coalesce(cardinality(v_claimed), 0) AND EXISTS (
        SELECT FROM tasker.workers w WHERE w.worker_uuid = p_worker AND w.lost_at IS NULL)
    THEN
        v_now := clock_timestamp();
        SELECT o_claimed, o_taken INTO v_found, v_taken FROM tasker.steps_scan(
            p_worker, p_want - coalesce(cardinality(v_claimed), 0), p_callables, p_patterns,
            p_floor, p_priorities, p_bounds);
        v_claimed := v_claimed || v_found;
        RETURN QUERY SELECT 'scanned', NULL::uuid, NULL::uuid, NULL, NULL, v_taken,
            NULL::int, NULL::jsonb, NULL::jsonb, v_found, NULL::smallint, v_now;
    END IF;
    IF v_claimed IS NOT NULL AND v_claimed <> '{}' THEN
        RETURN QUERY SELECT * FROM tasker.steps_describe(
            v_claimed, coalesce(v_found, '{}'), coalesce(v_completed, '{}'));
    END IF;
END
$$;

-- Returns the claims of a worker that are not in `p_held`.
CREATE FUNCTION tasker.steps_recover(p_worker uuid, p_held uuid[])
RETURNS SETOF tasker.execution_row
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_claimed uuid[];
BEGIN
    DELETE FROM tasker.step_queue q USING tasker.tasks t
    WHERE q.claimed_by = p_worker AND q.workflow_step_uuid <> ALL (p_held)
        AND t.task_uuid = q.task_uuid AND t.ended_at IS NOT NULL;
    SELECT array_agg(q.workflow_step_uuid) INTO v_claimed
    FROM tasker.step_queue q
    WHERE q.claimed_by = p_worker AND q.workflow_step_uuid <> ALL (p_held);
    IF v_claimed IS NOT NULL THEN
        RETURN QUERY SELECT * FROM tasker.steps_describe(v_claimed, v_claimed, '{}');
    END IF;
END
$$;

-- Renews a worker's lease. Returns those of its steps that it has no claim on any more, or null if
-- it was declared lost.
CREATE FUNCTION tasker.worker_heartbeat(
    p_worker uuid, p_tasks uuid[], p_steps uuid[], p_attempts integer[]
) RETURNS uuid[]
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
BEGIN
    UPDATE tasker.workers SET seen_at = clock_timestamp(), running = cardinality(p_steps)
    WHERE worker_uuid = p_worker AND lost_at IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY(
        SELECT g.id FROM unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
        WHERE (
            SELECT q.attempt = g.attempt AND q.claimed_by = p_worker AND t.ended_at IS NULL
            FROM tasker.step_queue q
            JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[q.task_uuid])
            WHERE q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
        ) IS NOT TRUE
    );
END
$$;

-- Returns claims of one worker to the queue as new attempts that do not count, with a transition
-- that has `p_reason`. Returns how many. Claims on steps of tasks that have ended are removed: a
-- completion that was committed beside a cancellation may have left them, and they are recorded as
-- cancelled already.
CREATE FUNCTION tasker.steps_return(
    p_worker uuid, p_tasks uuid[], p_steps uuid[], p_attempts integer[], p_reason text
) RETURNS bigint
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_count bigint;
BEGIN
    -- The rows that nobody else holds, before anything that hangs on them: to wait here for one
    -- handler's transaction would keep the claims of all lost workers.
    SELECT array_agg(l.task_uuid), array_agg(l.workflow_step_uuid), array_agg(l.attempt)
    INTO p_tasks, p_steps, p_attempts
    FROM (
        SELECT q.task_uuid, q.workflow_step_uuid, q.attempt
        FROM tasker.step_queue q
        JOIN unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
            ON q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
        WHERE q.attempt = g.attempt AND q.claimed_by = p_worker
        FOR UPDATE OF q SKIP LOCKED
    ) l;
    IF p_steps IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM tasker.step_queue q
    USING unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
    LEFT JOIN tasker.tasks t ON t.task_uuid = g.task_uuid
    WHERE q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id AND q.attempt = g.attempt
        AND q.claimed_by = p_worker AND (t.task_uuid IS NULL OR t.ended_at IS NOT NULL);

    UPDATE tasker.workflow_step_transitions x SET most_recent = false, updated_at = v_now
    FROM tasker.step_queue q
    JOIN unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
        ON q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
    WHERE q.attempt = g.attempt AND q.claimed_by = p_worker AND q.sort_key > 0
        AND x.workflow_step_uuid = q.workflow_step_uuid AND x.most_recent;

    WITH held AS (
        SELECT q.* FROM tasker.step_queue q
        JOIN unnest(p_tasks, p_steps, p_attempts) AS g (task_uuid, id, attempt)
            ON q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
        WHERE q.attempt = g.attempt AND q.claimed_by = p_worker
        FOR UPDATE OF q SKIP LOCKED
    ), based AS (
        SELECT h.*, h.sort_key + (h.state = 'enqueued' AND h.sort_key = 0)::integer AS base
        FROM held h
    ), returned AS (
        UPDATE tasker.step_queue q
        SET claimed_by = NULL, claimed_at = NULL, attempt = b.attempt + 1,
            uncounted = b.uncounted + 1, due_at = v_now, state = 'enqueued',
            sort_key = b.base + 2
        FROM based b
        WHERE q.task_uuid = b.task_uuid AND q.workflow_step_uuid = b.workflow_step_uuid
    ), journal AS (
        INSERT INTO tasker.workflow_step_transitions
            (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata,
             sort_key, most_recent, created_at, updated_at)
        SELECT tasker.uuidv7(), b.workflow_step_uuid, j.from_state, j.to_state, j.metadata,
               j.sort_key, j.most_recent, j.at, v_now
        FROM based b
        CROSS JOIN LATERAL (
            SELECT 'pending', 'enqueued', '{"reason": "dependencies_complete"}'::jsonb, 1, false,
                   b.due_at
            WHERE b.state = 'enqueued' AND b.sort_key = 0
            UNION ALL
            SELECT b.state, 'in_progress',
                   jsonb_build_object('reason', 'claimed', 'attempt', b.attempt,
                                      'worker_uuid', p_worker),
                   b.base + 1, false, b.claimed_at
            UNION ALL
            SELECT 'in_progress', 'enqueued',
                   jsonb_build_object('reason', p_reason, 'attempt', b.attempt,
                                      'worker_uuid', p_worker),
                   b.base + 2, true, v_now
        ) AS j (from_state, to_state, metadata, sort_key, most_recent, at)
    )
    SELECT count(*) INTO v_count FROM based;
    IF v_count > 0 THEN
        PERFORM tasker.steps_announce(v_now);
    END IF;
    RETURN v_count;
END
$$;

-- How many of a step's attempts were lost with their workers since one of them last ended.
CREATE FUNCTION tasker.step_losses(p_step uuid) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM tasker.workflow_step_transitions x
    WHERE x.workflow_step_uuid = p_step AND x.to_state = 'enqueued'
        AND x.metadata ->> 'reason' = 'lease_expired'
        AND x.sort_key > coalesce(
            (SELECT max(f.sort_key) FROM tasker.workflow_step_transitions f
             WHERE f.workflow_step_uuid = p_step
                 AND f.to_state IN ('error', 'waiting_for_retry')), 0)
$$;

-- Ends that step of a lost worker which was lost with the most workers, if these are `p_limit` or more.
-- `p_losses` has the losses of each step with this one. Returns how many: one at most, because one is
-- enough to stop a process, and the others were only beside it.
CREATE FUNCTION tasker.step_give_up(
    p_worker uuid, p_tasks uuid[], p_steps uuid[], p_losses integer[], p_limit integer
) RETURNS bigint
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_task uuid;
    v_step uuid;
    v_attempt integer;
    v_error jsonb;
BEGIN
    -- All rows that its end changes, unless others have locked one. To wait here would keep the claims of
    -- all lost workers, and would not be in the order of locks, because this goes on to other workers.
    SELECT q.task_uuid, q.workflow_step_uuid, q.attempt,
           jsonb_build_object('type', 'WorkerLost', 'retryable', false, 'message',
               format('%s workers were lost, one after the other, while they had this step; the limit '
                      'is worker.execution.max_lost_attempts', g.losses))
    INTO v_task, v_step, v_attempt, v_error
    FROM unnest(p_tasks, p_steps, p_losses) AS g (task_uuid, id, losses)
    JOIN tasker.step_queue q ON q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
    JOIN tasker.workflow_steps s ON s.workflow_step_uuid = g.id
    JOIN tasker.tasks t ON t.task_uuid = g.task_uuid
    WHERE q.claimed_by = p_worker AND g.losses >= p_limit
    ORDER BY g.losses DESC
    LIMIT 1
    FOR UPDATE OF q SKIP LOCKED
    FOR NO KEY UPDATE OF s, t SKIP LOCKED;
    IF v_step IS NULL THEN
        RETURN 0;
    END IF;
    RETURN 1 - (
        SELECT count(*) FROM tasker.steps_complete(
            p_worker, ARRAY[v_task], ARRAY[v_step], ARRAY[v_attempt], ARRAY['error'],
            ARRAY[jsonb_build_object('error', v_error)], ARRAY[NULL::bigint], ARRAY[NULL::bigint],
            ARRAY[jsonb_build_object('reason', 'workers_lost', 'attempt', v_attempt, 'error', v_error)],
            ARRAY(SELECT tasker.uuidv7() FROM generate_series(1, 4)), 0, '{}', '{}', false, NULL, '{}',
            '{}')
        WHERE kind = 'refused');
END
$$;

-- Returns the claims of lost workers to the queue, with those of unknown ones if `p_all`, or ends them.
--
-- From the third loss on a step waits for a random time, at most two seconds, then four, and so on to a
-- minute. Fewer of the steps that were lost with the one that stopped the process are then claimed beside
-- it again.
CREATE FUNCTION tasker.claims_return(p_all boolean, OUT o_returned bigint, OUT o_given_up bigint)
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_lost record;
BEGIN
    o_returned := 0;
    o_given_up := 0;
    FOR v_lost IN
        SELECT q.claimed_by AS worker, min(w.max_lost_attempts) AS max_losses,
               array_agg(q.task_uuid) AS tasks, array_agg(q.workflow_step_uuid) AS steps,
               array_agg(q.attempt) AS attempts,
               array_agg(CASE WHEN q.uncounted = 0 THEN 1
                              ELSE tasker.step_losses(q.workflow_step_uuid) + 1 END) AS losses
        FROM tasker.step_queue q
        LEFT JOIN tasker.workers w ON w.worker_uuid = q.claimed_by
        WHERE q.claimed_by IS NOT NULL AND CASE
            WHEN p_all THEN w.worker_uuid IS NULL OR w.lost_at IS NOT NULL
            ELSE w.lost_at > clock_timestamp() - interval '1 minute'
        END
        GROUP BY q.claimed_by
    LOOP
        -- An error is a warning, because the rows of one worker must not keep those of all others.
        BEGIN
            o_given_up := o_given_up + tasker.step_give_up(
                v_lost.worker, v_lost.tasks, v_lost.steps, v_lost.losses, v_lost.max_losses);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'no step of worker % was given up: %', v_lost.worker, SQLERRM;
        END;
        BEGIN
            o_returned := o_returned + tasker.steps_return(
                v_lost.worker, v_lost.tasks, v_lost.steps, v_lost.attempts, 'lease_expired');
            UPDATE tasker.step_queue q
            SET due_at = clock_timestamp()
                + random() * least(60, power(2, least(g.losses, 10) - 2)) * interval '1 second'
            FROM unnest(v_lost.tasks, v_lost.steps, v_lost.attempts, v_lost.losses)
                AS g (task_uuid, id, attempt, losses)
            WHERE q.task_uuid = g.task_uuid AND q.workflow_step_uuid = g.id
                AND q.attempt = g.attempt + 1 AND q.claimed_by IS NULL AND g.losses >= 3;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'the claims of worker % were not returned: %', v_lost.worker, SQLERRM;
        END;
    END LOOP;
END
$$;

-- Declares workers lost whose leases are over, and returns their claims to the queue, or ends those of
-- steps that lost too many workers.
--
-- A worker that is lost stays listed for an hour. In its first minute its claims are looked for
-- again and again, because a claim that it sent before may be committed only now.
CREATE FUNCTION tasker.requeue_lost(OUT o_returned bigint, OUT o_given_up bigint)
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE tasker.workers SET lost_at = v_now
    WHERE worker_uuid IN (
        SELECT worker_uuid FROM tasker.workers
        WHERE lost_at IS NULL AND seen_at < v_now - lease_seconds * interval '1 second'
        FOR UPDATE SKIP LOCKED);
    o_returned := 0;
    o_given_up := 0;
    -- Else the queue need not be read.
    IF EXISTS (SELECT FROM tasker.workers WHERE lost_at > v_now - interval '1 minute') THEN
        SELECT c.o_returned, c.o_given_up INTO o_returned, o_given_up
        FROM tasker.claims_return(false) c;
    END IF;
    DELETE FROM tasker.workers WHERE lost_at < v_now - interval '1 hour';
END
$$;

-- Does the same for claims whose workers are lost or unknown. Reads the whole queue, so it finds those,
-- too, that a transaction had locked for long after the loss: a handler's own, on a connection that nobody
-- closed.
CREATE FUNCTION tasker.requeue_orphans(OUT o_returned bigint, OUT o_given_up bigint)
LANGUAGE sql AS $$
    SELECT * FROM tasker.claims_return(true)
$$;

-- Returns all claims of a worker that stops, and removes it. If an answer to it was lost, a claim may
-- still be committed; and PostgreSQL reports the error of a statement a moment before it unlocks what that
-- had locked. Then it stays listed as lost, so that the claims that are left are found.
CREATE FUNCTION tasker.worker_leave(p_worker uuid, p_certain boolean) RETURNS bigint
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_count bigint;
BEGIN
    v_count := tasker.worker_return(p_worker, 'worker_drained');
    IF p_certain AND NOT EXISTS (SELECT FROM tasker.step_queue WHERE claimed_by = p_worker) THEN
        DELETE FROM tasker.workers WHERE worker_uuid = p_worker;
    ELSE
        UPDATE tasker.workers SET lost_at = clock_timestamp() WHERE worker_uuid = p_worker;
    END IF;
    RETURN v_count;
END
$$;

-- Returns all claims of a worker to the queue.
CREATE FUNCTION tasker.worker_return(p_worker uuid, p_reason text) RETURNS bigint
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_tasks uuid[];
    v_steps uuid[];
    v_attempts integer[];
BEGIN
    SELECT array_agg(task_uuid), array_agg(workflow_step_uuid), array_agg(attempt)
    INTO v_tasks, v_steps, v_attempts
    FROM tasker.step_queue WHERE claimed_by = p_worker;
    IF v_steps IS NULL THEN
        RETURN 0;
    END IF;
    RETURN tasker.steps_return(p_worker, v_tasks, v_steps, v_attempts, p_reason);
END
$$;
