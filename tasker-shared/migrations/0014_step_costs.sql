-- A task that ends with many or large errors ends: what its entry in `tasks_dlq` keeps of them is bounded.
-- Claims and completions cost less, and updates of steps in the order of their ids find room in their pages.

-- The steps of a fan-out end in the order of their pages, within one transaction for a whole page, so that
-- no version of a row can be removed before the last is written. A page needs room for one of each.
ALTER TABLE tasker.workflow_steps SET (fillfactor = 45);

-- Ends a task in which no step can run any more, with a row in `tasks_dlq` for people to look into. It has the
-- first 100 of the failed steps without the contexts of their errors: all of them could be larger than a value
-- may be, and the task would never end. Only their errors are read.
CREATE OR REPLACE FUNCTION tasker.task_fail(p_task uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_awaited boolean;
    v_state text;
    v_failed jsonb;
    v_count bigint;
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
    WITH failed AS MATERIALIZED (
        SELECT s.workflow_step_uuid, n.name, s.attempts, s.results
        FROM tasker.workflow_steps s
        JOIN tasker.named_steps n ON n.named_step_uuid = s.named_step_uuid
        JOIN tasker.workflow_step_transitions x ON x.workflow_step_uuid = s.workflow_step_uuid
        WHERE s.task_uuid = p_task AND x.most_recent AND x.to_state = 'error'
    ), shown AS MATERIALIZED (
        SELECT f.*, f.results -> 'error' AS error
        FROM (SELECT * FROM failed ORDER BY workflow_step_uuid LIMIT 100) f
    )
    SELECT (SELECT count(*) FROM failed),
           jsonb_agg(jsonb_build_object('workflow_step_uuid', s.workflow_step_uuid,
               'name', s.name, 'attempts', s.attempts, 'error', CASE jsonb_typeof(s.error)
                   WHEN 'object' THEN jsonb_build_object(
                       'type', left(s.error ->> 'type', 200),
                       'message', left(s.error ->> 'message', 2000),
                       'retryable', s.error -> 'retryable')
                   ELSE to_jsonb(left(s.error #>> '{}', 2000)) END)
               ORDER BY s.workflow_step_uuid)
    INTO v_count, v_failed
    FROM shown s;
    PERFORM tasker.task_move(p_task, 'error', jsonb_build_object(
        'reason', CASE WHEN v_failed IS NULL THEN 'no_step_can_run' ELSE 'steps_failed' END));
    INSERT INTO tasker.tasks_dlq
        (dlq_entry_uuid, task_uuid, original_state, dlq_reason, dlq_timestamp, task_snapshot,
         metadata, created_at, updated_at)
    SELECT tasker.uuidv7(), t.task_uuid, v_state, 'max_retries_exceeded', now(),
           jsonb_build_object('task_uuid', t.task_uuid, 'context', t.context,
               'correlation_id', t.correlation_id, 'template_hash', t.template_hash,
               'failed_steps', v_failed, 'failed_steps_in_all', v_count),
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

-- Returns all that a worker needs to run `p_steps`, which it has claimed. It knows the tasks of those
-- that are not in `p_found` from the steps of the same tasks that it has run, and the results of
-- `p_known`.
CREATE OR REPLACE FUNCTION tasker.steps_describe(p_steps uuid[], p_found uuid[], p_known uuid[])
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
    SELECT array_agg(r.id) INTO v_roots FROM (
        SELECT e.from_step_uuid
        FROM unnest(p_steps) AS c (id)
        JOIN tasker.workflow_step_edges e ON e.to_step_uuid = ANY (ARRAY[c.id])
        EXCEPT SELECT unnest(p_known)
    ) AS r (id);
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
-- from `p_floor` on. What is below was taken, or is for other workers. Without this, a claim would read all
-- rows that died since the oldest snapshot of the database was taken, because their index entries must stay.
-- The priorities are read in their order, and none after the last step that is wanted.
CREATE OR REPLACE FUNCTION tasker.steps_scan(
    p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
    p_floor timestamptz, p_priorities smallint[], p_bounds timestamptz[],
    OUT o_claimed uuid[], OUT o_taken integer
)
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tasks uuid[];
    v_ended uuid[];
BEGIN
    WITH due AS MATERIALIZED (
        SELECT d.row
        FROM (
            SELECT p.priority, coalesce(b.bound, p_floor, '-infinity') AS bound
            FROM tasker.step_queue_priorities p
            LEFT JOIN unnest(p_priorities, p_bounds) AS b (priority, bound)
                ON b.priority = p.priority
            ORDER BY p.priority DESC
        ) p
        CROSS JOIN LATERAL (
            SELECT q.ctid AS row
            FROM tasker.step_queue q
            WHERE q.priority = p.priority AND q.due_at >= p.bound AND q.due_at <= v_now
                AND q.claimed_by IS NULL
                AND (q.callable = ANY (p_callables) OR q.callable LIKE ANY (p_patterns))
            ORDER BY q.due_at
            LIMIT p_want
            FOR UPDATE SKIP LOCKED
        ) d
        LIMIT p_want
    ), claimed AS (
        UPDATE tasker.step_queue q
        -- Not `v_now`: this is later than the commit that made the step ready.
        SET claimed_by = p_worker, claimed_at = clock_timestamp()
        FROM due
        WHERE q.ctid = due.row
        RETURNING q.task_uuid, q.workflow_step_uuid
    )
    SELECT array_agg(task_uuid), coalesce(array_agg(workflow_step_uuid), '{}'), count(*)
    INTO v_tasks, o_claimed, o_taken
    FROM claimed;
    IF o_taken = 0 THEN
        RETURN;
    END IF;
    -- A cancellation that is committed beside a completion leaves the steps behind that
    -- the completion made ready. So does a task that is deleted by hand.
    SELECT array_agg(c.task_uuid) INTO v_ended
    FROM (SELECT DISTINCT unnest(v_tasks)) AS c (task_uuid)
    LEFT JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[c.task_uuid])
    WHERE t.task_uuid IS NULL OR t.ended_at IS NOT NULL;
    IF v_ended IS NOT NULL THEN
        WITH gone AS (
            DELETE FROM tasker.step_queue
            WHERE task_uuid = ANY (v_ended) AND workflow_step_uuid = ANY (o_claimed)
            RETURNING workflow_step_uuid
        )
        SELECT ARRAY(SELECT unnest(o_claimed) EXCEPT SELECT workflow_step_uuid FROM gone)
        INTO o_claimed;
    END IF;
END
$$;

-- Queues the steps that only waited for `p_completed`, whose completion this transaction records.
-- Claims up to `p_want` of them that `p_worker` has handlers for. Returns the tasks of all that it
-- queued and the steps that it claimed.
CREATE OR REPLACE FUNCTION tasker.steps_release(
    p_completed uuid[], p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
    OUT o_tasks uuid[], OUT o_claimed uuid[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_tasks uuid[];
    v_ready uuid[];
    v_callables text[];
    v_priorities integer[];
    v_waiting uuid[];
    v_counts integer[];
    v_unclaimed bigint;
    v_due timestamptz;
BEGIN
    SELECT array_agg(s.task_uuid) FILTER (WHERE s.unmet_dependencies <= d.count),
           array_agg(s.workflow_step_uuid) FILTER (WHERE s.unmet_dependencies <= d.count),
           array_agg(s.callable) FILTER (WHERE s.unmet_dependencies <= d.count),
           array_agg(s.priority) FILTER (WHERE s.unmet_dependencies <= d.count),
           array_agg(s.workflow_step_uuid) FILTER (WHERE s.unmet_dependencies > d.count),
           array_agg(d.count) FILTER (WHERE s.unmet_dependencies > d.count)
    INTO v_tasks, v_ready, v_callables, v_priorities, v_waiting, v_counts
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
            RETURNING s.task_uuid, s.workflow_step_uuid, s.callable, s.priority,
                      s.unmet_dependencies
        )
        SELECT v_tasks || array_agg(task_uuid), v_ready || array_agg(workflow_step_uuid),
               v_callables || array_agg(callable), v_priorities || array_agg(priority)
        INTO v_tasks, v_ready, v_callables, v_priorities
        FROM counted WHERE unmet_dependencies <= 0;
    END IF;
    IF v_ready IS NULL THEN
        RETURN;
    END IF;

    v_due := clock_timestamp();
    WITH ready AS (
        SELECT s.*,
               row_number() OVER (ORDER BY s.priority DESC, s.workflow_step_uuid) <= p_want
                   AND (s.callable = ANY (p_callables) OR s.callable LIKE ANY (p_patterns)) AS mine
        FROM unnest(v_tasks, v_ready, v_callables, v_priorities)
            AS s (task_uuid, workflow_step_uuid, callable, priority)
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

-- Records the ends of attempts, queues what they make ready, ends tasks, and claims for the same
-- worker. All or nothing, in one transaction.
--
-- The arrays are parallel. `p_states` is `complete`, `error` or `waiting_for_retry`, with the delay
-- in `p_delays_ms`. `p_ids` are four new ids for each end, because making them here takes longer than to
-- record the end. A result is recorded only if the worker still has the claim; else the answer has a row
-- `refused`. The queue is read for further steps if `p_scan`.
--
-- Under load a statement has few ends, and most of its time is the start of its parts. Assignments do not
-- start the executor as queries do; therefore calls are assigned, and conditions with queries are nested.
CREATE OR REPLACE FUNCTION tasker.steps_complete(
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
    v_is_allowed boolean := tasker.require_read_committed();
    v_first_claim jsonb := jsonb_build_object(
        'reason', 'claimed', 'attempt', 1, 'worker_uuid', p_worker);
    v_released record;
    v_scan record;
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
BEGIN
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
                  p_ids[g.n * 4 - 2] AS enqueued_uuid, p_ids[g.n * 4 - 1] AS claim_uuid,
                  p_ids[g.n * 4] AS audit_uuid,
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
            SELECT e.enqueued_uuid, 'pending', 'enqueued',
                   '{"reason": "dependencies_complete"}'::jsonb, 1, false, e.due_at
            WHERE e.state = 'enqueued' AND e.sort_key = 0
            UNION ALL
            SELECT e.claim_uuid, e.state, 'in_progress',
                   CASE e.attempt WHEN 1 THEN v_first_claim
                       ELSE v_first_claim || jsonb_build_object('attempt', e.attempt) END,
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
        SELECT e.audit_uuid, e.workflow_step_uuid, e.transition_uuid, e.task_uuid, v_now,
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
        v_released := tasker.steps_release(
            v_completed, p_worker, p_want, p_callables, p_patterns);
        v_ready := v_released.o_tasks;
        v_claimed := v_released.o_claimed;
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

    -- Comparing many tasks with many takes longer than the query.
    IF v_failed IS NOT NULL OR cardinality(v_tasks) > 32 OR (v_tasks <@ v_ready) IS NOT TRUE THEN
        v_quiet := ARRAY(SELECT unnest(v_tasks) EXCEPT SELECT unnest(v_ready)
                         UNION SELECT unnest(v_failed));
        IF v_quiet <> '{}' THEN
            PERFORM tasker.tasks_settle(v_quiet, coalesce(v_failed, '{}'));
        END IF;
    END IF;

    IF p_scan AND p_want > coalesce(cardinality(v_claimed), 0) THEN
        IF EXISTS (SELECT FROM tasker.workers w
                   WHERE w.worker_uuid = p_worker AND w.lost_at IS NULL) THEN
            v_now := clock_timestamp();
            v_scan := tasker.steps_scan(
                p_worker, p_want - coalesce(cardinality(v_claimed), 0), p_callables, p_patterns,
                p_floor, p_priorities, p_bounds);
            v_found := v_scan.o_claimed;
            v_claimed := v_claimed || v_found;
            RETURN QUERY SELECT 'scanned', NULL::uuid, NULL::uuid, NULL, NULL, v_scan.o_taken,
                NULL::int, NULL::jsonb, NULL::jsonb, v_found, NULL::smallint, v_now;
        END IF;
    END IF;
    IF v_claimed IS NOT NULL AND v_claimed <> '{}' THEN
        RETURN QUERY SELECT * FROM tasker.steps_describe(
            v_claimed, coalesce(v_found, '{}'), coalesce(v_completed, '{}'));
    END IF;
END
$$;
