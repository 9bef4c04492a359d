-- What changes a task from outside its flow: cancellation, operators, and steps that are created
-- while the task runs.

-- Takes steps of a task out of the queue: `p_step`, or all. Records the transitions that their rows
-- kept, and returns the rows of those with attempts. Of a task that has ended only the rows are removed,
-- because its steps are recorded as cancelled already.
CREATE FUNCTION tasker.steps_unqueue(p_task uuid, p_step uuid) RETURNS SETOF tasker.step_queue
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF EXISTS (SELECT FROM tasker.tasks WHERE task_uuid = p_task AND ended_at IS NOT NULL) THEN
        DELETE FROM tasker.step_queue
        WHERE task_uuid = p_task AND (p_step IS NULL OR workflow_step_uuid = p_step);
        RETURN;
    END IF;
    -- Before the new ones, because the schema of other software has a unique index on the most recent.
    UPDATE tasker.workflow_step_transitions x SET most_recent = false, updated_at = v_now
    FROM tasker.step_queue q
    WHERE q.task_uuid = p_task AND (p_step IS NULL OR q.workflow_step_uuid = p_step)
        AND q.claimed_by IS NOT NULL
        AND x.workflow_step_uuid = q.workflow_step_uuid AND x.most_recent;
    RETURN QUERY
    WITH gone AS (
        DELETE FROM tasker.step_queue q
        WHERE q.task_uuid = p_task AND (p_step IS NULL OR q.workflow_step_uuid = p_step)
        RETURNING q.*
    ), journal AS (
        INSERT INTO tasker.workflow_step_transitions
            (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata,
             sort_key, most_recent, created_at, updated_at)
        SELECT tasker.uuidv7(), g.workflow_step_uuid, j.from_state, j.to_state, j.metadata,
               j.sort_key, j.most_recent, j.at, v_now
        FROM gone g
        CROSS JOIN LATERAL (
            SELECT 'pending', 'enqueued', '{"reason": "dependencies_complete"}'::jsonb, 1,
                   g.claimed_by IS NULL, g.due_at
            WHERE g.state = 'enqueued' AND g.sort_key = 0
            UNION ALL
            SELECT g.state, 'in_progress',
                   jsonb_build_object('reason', 'claimed', 'attempt', g.attempt,
                                      'worker_uuid', g.claimed_by),
                   g.sort_key + (g.state = 'enqueued' AND g.sort_key = 0)::integer + 1, true,
                   g.claimed_at
            WHERE g.claimed_by IS NOT NULL
        ) AS j (from_state, to_state, metadata, sort_key, most_recent, at)
    )
    SELECT g.* FROM gone g WHERE g.claimed_by IS NOT NULL OR g.attempt > 1;
END
$$;

-- Counts the attempts of these rows of the queue, and records that those which run ended without a
-- result, after their steps were moved to another state. The steps are locked.
CREATE FUNCTION tasker.attempts_interrupted(p_runs tasker.step_queue[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE tasker.workflow_steps s
    SET attempts = CASE WHEN r.claimed_by IS NULL THEN r.attempt - 1 ELSE r.attempt END,
        last_attempted_at = coalesce(r.claimed_at, s.last_attempted_at::timestamptz)
    FROM unnest(p_runs) r WHERE s.workflow_step_uuid = ANY (ARRAY[r.workflow_step_uuid]);
    INSERT INTO tasker.workflow_step_result_audit
        (workflow_step_result_audit_uuid, workflow_step_uuid, workflow_step_transition_uuid,
         task_uuid, recorded_at, worker_uuid, correlation_id, success, created_at, updated_at)
    SELECT tasker.uuidv7(), r.workflow_step_uuid, x.workflow_step_transition_uuid, r.task_uuid,
           v_now, r.claimed_by, t.correlation_id, false, v_now, v_now
    FROM unnest(p_runs) r
    JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[r.task_uuid])
    JOIN tasker.workflow_step_transitions x
        ON x.workflow_step_uuid = ANY (ARRAY[r.workflow_step_uuid]) AND x.most_recent
    WHERE r.claimed_by IS NOT NULL;
END
$$;

-- Cancels a task: its queued steps at once; results of those that run are refused from now on.
-- Returns `cancelled`, `ended` if it had ended before, or `missing`. A caller whose answer was lost may
-- repeat the call with the same `operation` in the metadata.
CREATE FUNCTION tasker.task_cancel(p_task uuid, p_metadata jsonb) RETURNS text
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_awaited boolean;
    v_runs tasker.step_queue[];
BEGIN
    -- The queue first, as all others do, and in their order, because a completion may end several
    -- steps of the task. One that runs beside this may queue another step; a claim removes that.
    PERFORM FROM tasker.step_queue WHERE task_uuid = p_task
    ORDER BY workflow_step_uuid FOR UPDATE;
    SELECT array_agg(r) INTO v_runs FROM tasker.steps_unqueue(p_task, NULL) r;

    -- Steps next: one that a completion ends at this moment is complete when this has its lock.
    PERFORM FROM tasker.workflow_steps WHERE task_uuid = p_task AND NOT processed
    ORDER BY workflow_step_uuid FOR NO KEY UPDATE;
    UPDATE tasker.tasks SET ended_at = v_now, updated_at = v_now
    WHERE task_uuid = p_task AND ended_at IS NULL
    RETURNING awaited INTO v_awaited;
    IF NOT FOUND THEN
        RETURN CASE
            WHEN EXISTS (SELECT FROM tasker.task_transitions
                         WHERE task_uuid = p_task AND most_recent AND to_state = 'cancelled'
                             AND metadata ->> 'operation' = p_metadata ->> 'operation')
                THEN 'cancelled'
            WHEN EXISTS (SELECT FROM tasker.tasks WHERE task_uuid = p_task) THEN 'ended'
            ELSE 'missing'
        END;
    END IF;
    PERFORM tasker.step_move(s.workflow_step_uuid, 'cancelled', p_metadata)
    FROM tasker.workflow_steps s
    WHERE s.task_uuid = p_task AND NOT s.processed AND NOT EXISTS (
        SELECT FROM tasker.workflow_step_transitions x
        WHERE x.workflow_step_uuid = s.workflow_step_uuid AND x.most_recent
            AND x.to_state = 'error');
    PERFORM tasker.attempts_interrupted(v_runs);
    PERFORM tasker.task_begin(p_task);
    PERFORM tasker.task_move(p_task, 'cancelled', p_metadata);
    IF v_awaited THEN
        PERFORM tasker.tasks_announce('cancelled', p_task::text);
    END IF;
    RETURN 'cancelled';
END
$$;

-- Puts a failed task back to work after an operator changed one of its steps. It stays
-- `blocked_by_failures` while another of its steps has failed.
CREATE FUNCTION tasker.task_reopen(p_task uuid, p_metadata jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_from text;
    v_to text;
BEGIN
    -- Also if it has not ended: a transaction that ends it either sees what the operator queued, or is
    -- seen here.
    PERFORM FROM tasker.tasks WHERE task_uuid = p_task FOR NO KEY UPDATE;
    UPDATE tasker.tasks SET ended_at = NULL, updated_at = clock_timestamp()
    WHERE task_uuid = p_task AND ended_at IS NOT NULL;
    SELECT to_state INTO v_from FROM tasker.task_transitions
    WHERE task_uuid = p_task AND most_recent AND to_state IN ('error', 'blocked_by_failures');
    IF v_from IS NULL THEN
        RETURN;
    END IF;
    v_to := CASE WHEN EXISTS (
        SELECT FROM tasker.workflow_steps s
        JOIN tasker.workflow_step_transitions x ON x.workflow_step_uuid = s.workflow_step_uuid
        WHERE s.task_uuid = p_task AND NOT s.processed AND x.most_recent AND x.to_state = 'error'
    ) THEN 'blocked_by_failures' ELSE 'steps_in_process' END;
    IF v_to <> v_from THEN
        PERFORM tasker.task_move(p_task, v_to, p_metadata);
    END IF;
    UPDATE tasker.tasks_dlq
    SET resolution_status = 'manually_resolved', resolution_timestamp = now(),
        resolution_notes = concat_ws(': ', p_metadata ->> 'reason', p_metadata ->> 'note'),
        resolved_by = p_metadata ->> 'by', updated_at = now()
    WHERE task_uuid = p_task AND resolution_status = 'pending';
END
$$;

-- Carries an operator's action on a step out: `reset_for_retry` runs a failed step again with all
-- its attempts, or a waiting one now; `resolve_manually` and `complete_manually` make an unfinished
-- one count as complete. Returns `done`, or why nothing was done. A caller whose answer was lost may
-- repeat the call with the same `operation` in the metadata; then it does nothing more.
CREATE FUNCTION tasker.step_operate(
    p_task uuid, p_step uuid, p_action text, p_result jsonb, p_metadata jsonb
) RETURNS text
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_step tasker.workflow_steps;
    v_queued tasker.step_queue;
    v_state text;
    v_key integer;
    v_runs tasker.step_queue[];
BEGIN
    -- A dependency that ends beside this queues the step without a lock on it. Either it is committed
    -- before, and its row in the queue is seen below; or it waits for this lock, and sees what was done.
    PERFORM FROM tasker.workflow_steps
    WHERE NOT processed AND workflow_step_uuid IN (
        SELECT from_step_uuid FROM tasker.workflow_step_edges WHERE to_step_uuid = p_step)
    ORDER BY workflow_step_uuid
    FOR SHARE;
    SELECT * INTO v_queued FROM tasker.step_queue
    WHERE task_uuid = p_task AND workflow_step_uuid = p_step FOR UPDATE;
    SELECT * INTO v_step FROM tasker.workflow_steps
    WHERE task_uuid = p_task AND workflow_step_uuid = p_step FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 'step_not_found';
    END IF;
    IF EXISTS (SELECT FROM tasker.workflow_step_transitions
               WHERE workflow_step_uuid = p_step
                   AND metadata ->> 'operation' = p_metadata ->> 'operation') THEN
        RETURN 'done';
    END IF;
    -- The task is not locked yet: steps come first.
    SELECT to_state INTO v_state FROM tasker.task_transitions
    WHERE task_uuid = p_task AND most_recent ORDER BY sort_key DESC LIMIT 1;
    IF v_state IN ('complete', 'cancelled', 'resolved_manually') THEN
        RETURN 'task_ended';
    END IF;
    IF v_step.processed THEN
        RETURN 'step_complete';
    END IF;

    IF p_action = 'reset_for_retry' THEN
        IF v_queued.claimed_by IS NOT NULL THEN
            RETURN 'step_in_progress';
        ELSIF v_queued.task_uuid IS NOT NULL THEN
            IF v_queued.state = 'waiting_for_retry' THEN
                PERFORM tasker.step_move(p_step, 'enqueued', p_metadata);
                v_queued.state := 'enqueued';
                v_queued.sort_key := v_queued.sort_key + 1;
            END IF;
            UPDATE tasker.step_queue
            SET due_at = v_now, state = v_queued.state, sort_key = v_queued.sort_key
            WHERE task_uuid = p_task AND workflow_step_uuid = p_step;
        ELSE
            SELECT to_state INTO v_state FROM tasker.workflow_step_transitions
            WHERE workflow_step_uuid = p_step AND most_recent ORDER BY sort_key DESC LIMIT 1;
            IF v_state IS DISTINCT FROM 'error' THEN
                RETURN 'step_waits';
            END IF;
            PERFORM tasker.step_move(p_step, 'enqueued', p_metadata);
            SELECT max(sort_key) INTO v_key FROM tasker.workflow_step_transitions
            WHERE workflow_step_uuid = p_step;
            INSERT INTO tasker.step_queue
                (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key,
                 attempt, uncounted)
            VALUES (p_task, p_step, v_step.callable, tasker.queue_priority(v_step.priority), v_now,
                    'enqueued', v_key, coalesce(v_step.attempts, 0) + 1,
                    coalesce(v_step.attempts, 0));
            PERFORM tasker.task_reopen(p_task, p_metadata);
        END IF;
        PERFORM tasker.steps_announce(v_now);
        RETURN 'done';
    END IF;

    -- The result of an attempt that runs now is refused, because its row is gone.
    SELECT array_agg(r) INTO v_runs FROM tasker.steps_unqueue(p_task, p_step) r;
    -- An error of before is not a result that later steps may see. Its transition keeps it.
    UPDATE tasker.workflow_steps
    SET processed = true, processed_at = v_now, updated_at = v_now, results = p_result
    WHERE workflow_step_uuid = p_step;
    PERFORM tasker.step_move(p_step,
        CASE p_action WHEN 'complete_manually' THEN 'complete' ELSE 'resolved_manually' END,
        p_metadata);
    PERFORM tasker.attempts_interrupted(v_runs);
    PERFORM tasker.steps_release(ARRAY[p_step], NULL, 0, '{}', '{}');
    PERFORM tasker.task_reopen(p_task, p_metadata);
    PERFORM tasker.tasks_settle(ARRAY[p_task], '{}');
    RETURN 'done';
END
$$;

-- Creates steps of a running task, and queues those that wait for nothing. The arrays of steps are
-- parallel, and so are those of edges. Runs under the task's lock for dynamic steps, see below.
CREATE FUNCTION tasker.steps_create(
    p_task uuid, p_steps uuid[], p_names text[], p_callables text[], p_retryable boolean[],
    p_max_attempts integer[], p_inputs jsonb[], p_from uuid[], p_to uuid[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_priority integer;
    v_queued bigint;
BEGIN
    SELECT priority INTO STRICT v_priority FROM tasker.tasks WHERE task_uuid = p_task;
    INSERT INTO tasker.named_steps (named_step_uuid, name, created_at, updated_at)
    SELECT tasker.uuidv7(), n.name, v_now, v_now
    FROM (SELECT DISTINCT unnest(p_names) AS name) n
    WHERE NOT EXISTS (SELECT FROM tasker.named_steps s WHERE s.name = n.name)
    ORDER BY n.name
    ON CONFLICT DO NOTHING;
    -- A dependency that completes beside this either waits for this lock and then sees the new
    -- edges, or is seen as complete after the lock.
    PERFORM FROM tasker.workflow_steps
    WHERE workflow_step_uuid = ANY (p_from) AND NOT processed
    ORDER BY workflow_step_uuid FOR SHARE;
    INSERT INTO tasker.workflow_steps
        (workflow_step_uuid, task_uuid, named_step_uuid, retryable, max_attempts, callable,
         inputs, priority, unmet_dependencies, created_at, updated_at)
    SELECT c.id, p_task, n.named_step_uuid, c.retryable, c.max_attempts, c.callable, c.inputs,
           v_priority, coalesce(e.unmet, 0), v_now, v_now
    FROM unnest(p_steps, p_names, p_callables, p_retryable, p_max_attempts, p_inputs)
        AS c (id, name, callable, retryable, max_attempts, inputs)
    JOIN tasker.named_steps n ON n.name = c.name
    LEFT JOIN (
        SELECT e.to_id, count(*)::integer AS unmet
        FROM unnest(p_from, p_to) AS e (from_id, to_id)
        LEFT JOIN tasker.workflow_steps s ON s.workflow_step_uuid = e.from_id
        WHERE s.processed IS NOT TRUE
        GROUP BY e.to_id
    ) e ON e.to_id = c.id;
    INSERT INTO tasker.workflow_step_edges
        (workflow_step_edge_uuid, from_step_uuid, to_step_uuid, name, created_at, updated_at)
    SELECT tasker.uuidv7(), e.from_id, e.to_id, 'provides', v_now, v_now
    FROM unnest(p_from, p_to) AS e (from_id, to_id);
    WITH queued AS (
        INSERT INTO tasker.step_queue
            (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key, attempt,
             uncounted)
        SELECT p_task, s.workflow_step_uuid, s.callable, tasker.queue_priority(v_priority), v_now,
               'enqueued', 0, 1, 0
        FROM unnest(p_steps) AS c (id)
        JOIN tasker.workflow_steps s ON s.workflow_step_uuid = c.id
        WHERE s.unmet_dependencies = 0
        RETURNING 1
    )
    SELECT count(*) INTO v_queued FROM queued;
    IF v_queued > 0 THEN
        PERFORM tasker.steps_announce(v_now);
    END IF;
END
$$;

-- The current state of a step.
CREATE FUNCTION tasker.step_state(p_task uuid, p_step uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT CASE WHEN q.claimed_by IS NULL THEN q.state ELSE 'in_progress' END
         FROM tasker.step_queue q
         WHERE q.task_uuid = p_task AND q.workflow_step_uuid = p_step),
        (SELECT x.to_state FROM tasker.workflow_step_transitions x
         WHERE x.workflow_step_uuid = p_step AND x.most_recent
         ORDER BY x.sort_key DESC LIMIT 1),
        'pending')
$$;

-- The current state of a task. While it runs, that is seen from its steps. One row, because the planner
-- makes such a function a part of the query, which is much faster for many tasks.
CREATE FUNCTION tasker.task_states(p_task uuid) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN r.state NOT IN ('pending', 'steps_in_process') THEN r.state
        WHEN q.claimed THEN 'steps_in_process'
        WHEN q.retries AND NOT q.others THEN 'waiting_for_retry'
        -- An attempt that was lost or returned is counted in the queue alone.
        WHEN q.begun THEN 'steps_in_process'
        WHEN EXISTS (SELECT FROM tasker.workflow_steps s
                     WHERE s.task_uuid = p_task AND (s.processed OR s.attempts > 0))
            THEN 'steps_in_process'
        ELSE r.state
    END
    FROM (
        SELECT coalesce(
            (SELECT x.to_state FROM tasker.task_transitions x
             WHERE x.task_uuid = p_task AND x.most_recent ORDER BY x.sort_key DESC LIMIT 1),
            'pending') AS state
        -- Else it would be looked up at each place that uses it.
        OFFSET 0
    ) r
    CROSS JOIN LATERAL (
        SELECT bool_or(q.claimed_by IS NOT NULL) AS claimed,
               bool_or(q.attempt > 1) AS begun,
               bool_or(q.state = 'waiting_for_retry') AS retries,
               bool_or(q.state <> 'waiting_for_retry') AS others
        FROM tasker.step_queue q
        WHERE q.task_uuid = p_task AND r.state IN ('pending', 'steps_in_process')
    ) q
$$;

CREATE FUNCTION tasker.task_state(p_task uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT * FROM tasker.task_states(p_task)
$$;

-- The steps of a task as JSON, oldest first; only `p_step`, unless null. Whoever selects this beside the
-- task reads both in one snapshot.
CREATE FUNCTION tasker.task_steps(p_task uuid, p_step uuid) RETURNS SETOF json
LANGUAGE sql STABLE AS $$
    SELECT row_to_json(v)
    FROM (
        SELECT s.workflow_step_uuid, s.task_uuid, n.name, c.state AS current_state,
               c.state AS status,
               ARRAY(
                   SELECT DISTINCT p.name
                   FROM tasker.workflow_step_edges e
                   JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
                   JOIN tasker.named_steps p ON p.named_step_uuid = f.named_step_uuid
                   WHERE e.to_step_uuid = s.workflow_step_uuid
                   ORDER BY p.name
               ) AS dependencies,
               s.retryable, s.max_attempts,
               coalesce(CASE WHEN q.claimed_by IS NULL THEN q.attempt - 1 ELSE q.attempt END,
                        s.attempts, 0) AS attempts,
               coalesce(q.claimed_at, s.last_attempted_at::timestamptz) AS last_attempted_at,
               s.backoff_request_seconds, q.claimed_by IS NOT NULL AS in_process, s.processed,
               s.processed_at::timestamptz, s.inputs, s.results, s.priority,
               s.created_at::timestamptz, s.callable, q.claimed_by,
               CASE WHEN q.claimed_by IS NULL AND q.state = 'waiting_for_retry' THEN q.due_at END
                   AS next_retry_at,
               p.total AS total_parents, p.completed AS completed_parents,
               p.total = p.completed AS dependencies_satisfied,
               (q.task_uuid IS NOT NULL AND q.claimed_by IS NULL AND q.due_at <= now())
                   AS ready_for_execution,
               (q.task_uuid IS NOT NULL AND q.state = 'waiting_for_retry') AS retry_eligible,
               s.checkpoint
        FROM tasker.workflow_steps s
        JOIN tasker.named_steps n USING (named_step_uuid)
        LEFT JOIN tasker.step_queue q
            ON q.task_uuid = s.task_uuid AND q.workflow_step_uuid = s.workflow_step_uuid
        CROSS JOIN LATERAL (
            SELECT tasker.step_state(s.task_uuid, s.workflow_step_uuid) AS state OFFSET 0
        ) c
        CROSS JOIN LATERAL (
            SELECT count(*) AS total, count(*) FILTER (WHERE f.processed) AS completed
            FROM tasker.workflow_step_edges e
            JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
            WHERE e.to_step_uuid = s.workflow_step_uuid
        ) p
        WHERE s.task_uuid = p_task AND (p_step IS NULL OR s.workflow_step_uuid = p_step)
    ) v
    ORDER BY v.workflow_step_uuid
$$;

-- For lists of tasks. `complete` is in none, because most tasks are complete. `most_recent` is in
-- no condition, because the update that clears it would then write to every index of its table.
CREATE INDEX IF NOT EXISTS tasks_unfinished ON tasker.tasks (task_uuid)
    WHERE ended_at IS NULL AND NOT complete;
CREATE INDEX IF NOT EXISTS tasks_failed ON tasker.tasks (named_task_uuid, task_uuid)
    WHERE ended_at IS NOT NULL AND NOT complete;
-- Tasks of other software, which does not set `ended_at` either.
CREATE INDEX IF NOT EXISTS tasks_of_others ON tasker.tasks (task_uuid)
    WHERE template_hash IS NULL AND ended_at IS NULL AND NOT complete;
-- The states that many tasks are in for a while are in none: `pending` and `steps_in_process`.
CREATE INDEX IF NOT EXISTS task_transitions_to_state
    ON tasker.task_transitions (to_state, task_uuid)
    WHERE to_state NOT IN ('pending', 'steps_in_process', 'complete');

-- Returns the ids of the newest `p_limit` tasks before `p_before`: those of one namespace, of one name
-- and in one state, each unless null.
--
-- No branch computes the states of all unfinished tasks, but for `pending`, which most of these are in.
CREATE FUNCTION tasker.tasks_list(
    p_namespace text, p_name text, p_status text, p_before uuid, p_limit bigint
) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE ROWS 100
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashagg = off AS $$
DECLARE
    v_before uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    v_named uuid[];
BEGIN
    IF p_namespace IS NOT NULL OR p_name IS NOT NULL THEN
        v_named := ARRAY(
            SELECT n.named_task_uuid FROM tasker.named_tasks n
            JOIN tasker.task_namespaces s USING (task_namespace_uuid)
            WHERE (p_namespace IS NULL OR s.name = p_namespace)
                AND (p_name IS NULL OR n.name = p_name));
    END IF;
    IF p_status IN ('error', 'cancelled', 'resolved_manually') AND v_named IS NULL THEN
        RETURN QUERY
        SELECT x.task_uuid FROM tasker.task_transitions x
        WHERE x.to_state NOT IN ('pending', 'steps_in_process', 'complete')
            AND x.to_state = p_status AND x.most_recent AND x.task_uuid < v_before
        ORDER BY x.task_uuid DESC LIMIT p_limit;
    ELSIF p_status IN ('error', 'cancelled', 'resolved_manually') THEN
        RETURN QUERY
        SELECT l.task_uuid FROM (
            SELECT f.task_uuid FROM unnest(v_named) n (id)
            CROSS JOIN LATERAL (
                SELECT t.task_uuid FROM (
                    SELECT t.task_uuid FROM tasker.tasks t
                    WHERE t.ended_at IS NOT NULL AND NOT t.complete AND t.named_task_uuid = n.id
                        AND t.task_uuid < v_before AND EXISTS (
                            SELECT FROM tasker.task_transitions x
                            WHERE x.to_state NOT IN ('pending', 'steps_in_process', 'complete')
                                AND x.to_state = p_status AND x.task_uuid = t.task_uuid)
                    ORDER BY t.task_uuid DESC OFFSET 0
                ) t
                CROSS JOIN LATERAL tasker.task_states(t.task_uuid) c (state)
                WHERE c.state = p_status
                ORDER BY t.task_uuid DESC LIMIT p_limit
            ) f
            UNION ALL
            (SELECT t.task_uuid FROM tasker.tasks t
             CROSS JOIN LATERAL tasker.task_states(t.task_uuid) c (state)
             WHERE t.template_hash IS NULL AND t.ended_at IS NULL AND NOT t.complete
                 AND t.task_uuid < v_before AND t.named_task_uuid = ANY (v_named)
                 AND c.state = p_status
             ORDER BY t.task_uuid DESC LIMIT p_limit)
        ) l
        ORDER BY l.task_uuid DESC LIMIT p_limit;
    ELSIF p_status = 'pending' THEN
        RETURN QUERY
        SELECT t.task_uuid FROM tasker.tasks t
        CROSS JOIN LATERAL tasker.task_states(t.task_uuid) c (state)
        WHERE t.ended_at IS NULL AND NOT t.complete AND t.task_uuid < v_before
            AND (v_named IS NULL OR t.named_task_uuid = ANY (v_named))
            AND c.state = p_status
        ORDER BY t.task_uuid DESC LIMIT p_limit;
    ELSIF p_status <> 'complete' THEN
        RETURN QUERY
        -- Seen from the queue. A task of ours whose state is recorded as `steps_in_process` has begun.
        (SELECT q.task_uuid FROM (
            SELECT q.task_uuid,
                   bool_or(q.claimed_by IS NOT NULL OR q.attempt > 1) AS begun,
                   bool_and(q.claimed_by IS NULL AND q.state = 'waiting_for_retry') AS retries
            FROM tasker.step_queue q
            WHERE p_status IN ('steps_in_process', 'waiting_for_retry') AND q.task_uuid < v_before
            GROUP BY q.task_uuid ORDER BY q.task_uuid DESC
         ) q
         CROSS JOIN LATERAL tasker.task_states(q.task_uuid) c (state)
         WHERE CASE
                 WHEN p_status = 'waiting_for_retry' THEN q.retries
                 ELSE q.begun OR EXISTS (
                     SELECT FROM tasker.workflow_steps s
                     WHERE s.task_uuid = q.task_uuid AND (s.processed OR s.attempts > 0) OFFSET 0)
             END
             AND (v_named IS NULL OR (
                 SELECT t.named_task_uuid FROM tasker.tasks t WHERE t.task_uuid = q.task_uuid
             ) = ANY (v_named))
             AND c.state = p_status
         ORDER BY q.task_uuid DESC LIMIT p_limit)
        UNION
        (SELECT t.task_uuid FROM tasker.tasks t
         CROSS JOIN LATERAL tasker.task_states(t.task_uuid) c (state)
         WHERE p_status = 'steps_in_process'
             AND t.template_hash IS NULL AND t.ended_at IS NULL AND NOT t.complete
             AND t.task_uuid < v_before
             AND (v_named IS NULL OR t.named_task_uuid = ANY (v_named))
             AND c.state = p_status
         ORDER BY t.task_uuid DESC LIMIT p_limit)
        UNION
        -- Many tasks were in the state before they ended.
        (SELECT x.task_uuid FROM (
            SELECT DISTINCT x.task_uuid FROM tasker.task_transitions x
            JOIN tasker.tasks t USING (task_uuid)
            WHERE x.to_state NOT IN ('pending', 'steps_in_process', 'complete')
                AND x.to_state = p_status AND x.task_uuid < v_before
                AND t.ended_at IS NULL AND NOT t.complete
            ORDER BY x.task_uuid DESC
         ) x
         CROSS JOIN LATERAL tasker.task_states(x.task_uuid) c (state)
         WHERE (v_named IS NULL OR (
                 SELECT t.named_task_uuid FROM tasker.tasks t WHERE t.task_uuid = x.task_uuid
             ) = ANY (v_named))
             AND c.state = p_status
         ORDER BY x.task_uuid DESC LIMIT p_limit)
        ORDER BY 1 DESC LIMIT p_limit;
    ELSIF v_named IS NULL THEN
        RETURN QUERY
        SELECT t.task_uuid FROM tasker.tasks t
        WHERE t.task_uuid < v_before AND (p_status IS NULL OR t.complete)
        ORDER BY t.task_uuid DESC LIMIT p_limit;
    ELSE
        -- The newest of each template. Pairs are compared, because the planner would otherwise read the
        -- tasks of all templates for those of one.
        RETURN QUERY
        SELECT l.task_uuid FROM unnest(v_named) n (id)
        CROSS JOIN LATERAL (
            SELECT t.task_uuid FROM tasker.tasks t
            WHERE (t.named_task_uuid, t.task_uuid) < (n.id, v_before)
                AND (t.named_task_uuid, t.task_uuid)
                    > (n.id, '00000000-0000-0000-0000-000000000000')
                AND (p_status IS NULL OR t.complete)
            ORDER BY t.named_task_uuid DESC, t.task_uuid DESC LIMIT p_limit
        ) l
        ORDER BY l.task_uuid DESC LIMIT p_limit;
    END IF;
END
$$;

CREATE INDEX IF NOT EXISTS tasks_ended_at ON tasker.tasks (ended_at) WHERE ended_at IS NOT NULL;

-- Deletes up to `p_batch` tasks that ended more than `p_days` days ago, with all that belongs to
-- them, and documents that neither a task nor a registered template needs. Returns how many tasks.
CREATE FUNCTION tasker.retain(p_days integer, p_batch integer) RETURNS bigint
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_tasks uuid[];
    v_steps uuid[];
BEGIN
    SELECT array_agg(task_uuid) INTO v_tasks FROM (
        SELECT task_uuid FROM tasker.tasks
        WHERE ended_at < now() - p_days * interval '1 day'
        ORDER BY ended_at LIMIT p_batch FOR UPDATE SKIP LOCKED
    ) old;
    IF v_tasks IS NOT NULL THEN
        -- Not left to cascades, which other software's tables do not have.
        v_steps := ARRAY(SELECT workflow_step_uuid FROM tasker.workflow_steps
                         WHERE task_uuid = ANY (v_tasks));
        DELETE FROM tasker.workflow_step_result_audit WHERE workflow_step_uuid = ANY (v_steps);
        DELETE FROM tasker.workflow_step_transitions WHERE workflow_step_uuid = ANY (v_steps);
        DELETE FROM tasker.workflow_step_edges WHERE to_step_uuid = ANY (v_steps);
        DELETE FROM tasker.workflow_steps WHERE workflow_step_uuid = ANY (v_steps);
        DELETE FROM tasker.task_transitions WHERE task_uuid = ANY (v_tasks);
        DELETE FROM tasker.tasks_dlq WHERE task_uuid = ANY (v_tasks);
        DELETE FROM tasker.tasks WHERE task_uuid = ANY (v_tasks);
    END IF;
    DELETE FROM tasker.template_documents d
    WHERE d.used_at < now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM tasker.tasks t WHERE t.template_hash = d.hash)
        AND NOT EXISTS (SELECT FROM tasker.template_versions v WHERE v.content_hash = d.hash);
    RETURN coalesce(cardinality(v_tasks), 0);
END
$$;
