-- Analytics: the ends of tasks and the attempts of steps, summed by hour, template and step, so that
-- an answer reads thousands of rows and not millions of tasks.
--
-- The sums hold everything up to `rolled_to`. An answer adds the rows after it, which the block range
-- indexes find because both tables grow in the order of time. Upkeep moves `rolled_to` on.
--
-- A row becomes visible when its transaction commits, which may be long after the time that it
-- carries. So `rolled_to` only moves to a mark, and only once every transaction that began before the
-- mark has ended. A row that carries an older time, because it was imported or replicated, makes its
-- hour dirty: answers then read the rows of this hour, and upkeep sums it anew.

CREATE INDEX IF NOT EXISTS task_transitions_created_at ON tasker.task_transitions
    USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX IF NOT EXISTS workflow_step_result_audit_recorded_at
    ON tasker.workflow_step_result_audit
    USING brin (recorded_at) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE tasker.analytics_progress (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    rolled_to timestamptz NOT NULL,
    mark_at timestamptz NOT NULL,
    -- The transaction that set the mark: those that began to write before it have smaller ids.
    mark_xid xid8 NOT NULL
);

-- Hours whose sums lack a row. Each transaction has rows of its own, so that none is deleted with
-- another one's.
CREATE TABLE tasker.analytics_dirty (
    hour timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (hour, xid)
);

-- Durations are sums of microseconds, because sums of integers do not depend on their order.
CREATE TABLE tasker.analytics_tasks (
    hour timestamptz NOT NULL,
    named_task_uuid uuid NOT NULL,
    ended bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    duration_us numeric NOT NULL,
    max_duration_us bigint NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (hour, named_task_uuid)
);

CREATE TABLE tasker.analytics_steps (
    hour timestamptz NOT NULL,
    named_task_uuid uuid NOT NULL,
    named_step_uuid uuid NOT NULL,
    attempts bigint NOT NULL,
    failures bigint NOT NULL,
    -- Attempts of which the duration is known.
    timed bigint NOT NULL,
    duration_ms bigint NOT NULL,
    max_duration_ms bigint NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (hour, named_task_uuid, named_step_uuid)
);

-- Sums the tasks that ended after `p_from`, and until `p_to`. The duration is that of completed tasks.
CREATE FUNCTION tasker.analytics_sum_tasks(p_from timestamptz, p_to timestamptz)
RETURNS SETOF tasker.analytics_tasks
LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', e.at, 'UTC'), e.named_task_uuid, count(*),
           count(*) FILTER (WHERE e.to_state = 'complete'),
           count(*) FILTER (WHERE e.to_state = 'error'),
           coalesce(sum(e.us) FILTER (WHERE e.to_state = 'complete'), 0),
           coalesce(max(e.us) FILTER (WHERE e.to_state = 'complete'), 0),
           max(e.at)
    FROM (
        SELECT x.created_at::timestamptz AS at, x.to_state, t.named_task_uuid,
               (extract(epoch FROM x.created_at::timestamptz - t.created_at::timestamptz)
                * 1000000)::bigint AS us
        FROM tasker.task_transitions x
        JOIN tasker.tasks t ON t.task_uuid = x.task_uuid
        WHERE x.created_at > p_from AND x.created_at <= p_to
            AND x.to_state IN ('complete', 'error', 'cancelled', 'resolved_manually')
    ) e
    GROUP BY 1, 2
$$;

-- Sums the attempts that ended after `p_from`, and until `p_to`.
CREATE FUNCTION tasker.analytics_sum_steps(p_from timestamptz, p_to timestamptz)
RETURNS SETOF tasker.analytics_steps
LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', a.recorded_at::timestamptz, 'UTC'), t.named_task_uuid,
           s.named_step_uuid, count(*), count(*) FILTER (WHERE NOT a.success),
           count(a.execution_time_ms), coalesce(sum(a.execution_time_ms), 0)::bigint,
           coalesce(max(a.execution_time_ms), 0), max(a.recorded_at::timestamptz)
    FROM tasker.workflow_step_result_audit a
    JOIN tasker.workflow_steps s ON s.workflow_step_uuid = a.workflow_step_uuid
    JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
    WHERE a.recorded_at > p_from AND a.recorded_at <= p_to
    GROUP BY 1, 2, 3
$$;

-- Returns the sums since a full hour.
CREATE FUNCTION tasker.analytics_tasks_since(p_begin timestamptz)
RETURNS SETOF tasker.analytics_tasks
-- Compiling the plan would take longer than running it.
LANGUAGE sql STABLE SET jit = off AS $$
    SELECT k.* FROM tasker.analytics_tasks k
    WHERE k.hour >= p_begin
        AND NOT EXISTS (SELECT FROM tasker.analytics_dirty d WHERE d.hour = k.hour)
    UNION ALL
    SELECT k.*
    FROM (SELECT DISTINCT d.hour, p.rolled_to
          FROM tasker.analytics_dirty d, tasker.analytics_progress p
          WHERE d.hour >= p_begin AND d.hour <= p.rolled_to) d,
         tasker.analytics_sum_tasks(d.hour - interval '1 microsecond',
             least(d.hour + interval '1 hour' - interval '1 microsecond', d.rolled_to)) k
    UNION ALL
    SELECT k.*
    FROM tasker.analytics_progress p,
         tasker.analytics_sum_tasks(
             greatest(p.rolled_to, p_begin - interval '1 microsecond'), 'infinity') k
$$;

CREATE FUNCTION tasker.analytics_steps_since(p_begin timestamptz)
RETURNS SETOF tasker.analytics_steps
-- Compiling the plan would take longer than running it.
LANGUAGE sql STABLE SET jit = off AS $$
    SELECT k.* FROM tasker.analytics_steps k
    WHERE k.hour >= p_begin
        AND NOT EXISTS (SELECT FROM tasker.analytics_dirty d WHERE d.hour = k.hour)
    UNION ALL
    SELECT k.*
    FROM (SELECT DISTINCT d.hour, p.rolled_to
          FROM tasker.analytics_dirty d, tasker.analytics_progress p
          WHERE d.hour >= p_begin AND d.hour <= p.rolled_to) d,
         tasker.analytics_sum_steps(d.hour - interval '1 microsecond',
             least(d.hour + interval '1 hour' - interval '1 microsecond', d.rolled_to)) k
    UNION ALL
    SELECT k.*
    FROM tasker.analytics_progress p,
         tasker.analytics_sum_steps(
             greatest(p.rolled_to, p_begin - interval '1 microsecond'), 'infinity') k
$$;

-- Sums one dirty hour anew, or adds at most one more hour. Returns true if there is more to do now.
CREATE FUNCTION tasker.analytics_roll_up() RETURNS boolean
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    -- A row that carries an earlier time belongs to a transaction that began before the mark.
    v_margin CONSTANT interval := '10 seconds';
    v_from timestamptz;
    v_to timestamptz;
    v_mark_at timestamptz;
    v_mark_xid xid8;
    v_is_last boolean;
    v_hour timestamptz;
BEGIN
    SELECT rolled_to, mark_at, mark_xid INTO v_from, v_mark_at, v_mark_xid
    FROM tasker.analytics_progress FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        -- Another process does this.
        RETURN false;
    END IF;
    WITH taken AS (
        DELETE FROM tasker.analytics_dirty
        WHERE hour = (SELECT min(hour) FROM tasker.analytics_dirty)
        RETURNING hour
    )
    SELECT min(hour) INTO v_hour FROM taken;
    IF v_hour IS NOT NULL THEN
        v_to := least(v_hour + interval '1 hour' - interval '1 microsecond', v_from);
        DELETE FROM tasker.analytics_tasks WHERE hour = v_hour;
        INSERT INTO tasker.analytics_tasks
        SELECT * FROM tasker.analytics_sum_tasks(v_hour - interval '1 microsecond', v_to);
        DELETE FROM tasker.analytics_steps WHERE hour = v_hour;
        INSERT INTO tasker.analytics_steps
        SELECT * FROM tasker.analytics_sum_steps(v_hour - interval '1 microsecond', v_to);
        RETURN true;
    END IF;
    IF pg_snapshot_xmin(pg_current_snapshot()) < v_mark_xid THEN
        RETURN false;
    END IF;
    v_to := least(v_mark_at - v_margin, v_from + interval '1 hour');
    v_is_last := v_to >= v_mark_at - v_margin;
    IF v_to > v_from THEN
        INSERT INTO tasker.analytics_tasks AS k
        SELECT * FROM tasker.analytics_sum_tasks(v_from, v_to)
        ON CONFLICT (hour, named_task_uuid) DO UPDATE SET
            ended = k.ended + excluded.ended,
            completed = k.completed + excluded.completed,
            failed = k.failed + excluded.failed,
            duration_us = k.duration_us + excluded.duration_us,
            max_duration_us = greatest(k.max_duration_us, excluded.max_duration_us),
            last_at = greatest(k.last_at, excluded.last_at);
        INSERT INTO tasker.analytics_steps AS k
        SELECT * FROM tasker.analytics_sum_steps(v_from, v_to)
        ON CONFLICT (hour, named_task_uuid, named_step_uuid) DO UPDATE SET
            attempts = k.attempts + excluded.attempts,
            failures = k.failures + excluded.failures,
            timed = k.timed + excluded.timed,
            duration_ms = k.duration_ms + excluded.duration_ms,
            max_duration_ms = greatest(k.max_duration_ms, excluded.max_duration_ms),
            last_at = greatest(k.last_at, excluded.last_at);
        UPDATE tasker.analytics_progress SET rolled_to = v_to;
    END IF;
    IF v_is_last THEN
        -- Everything up to the mark is summed, so the next mark is now.
        v_mark_at := clock_timestamp();
        UPDATE tasker.analytics_progress
        SET mark_at = v_mark_at, mark_xid = pg_current_xact_id();
        DELETE FROM tasker.analytics_tasks WHERE hour < v_mark_at - interval '32 days';
        DELETE FROM tasker.analytics_steps WHERE hour < v_mark_at - interval '32 days';
    END IF;
    RETURN NOT v_is_last;
END
$$;

CREATE FUNCTION tasker.analytics_mark_dirty() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker.analytics_dirty (hour)
    VALUES (date_trunc('hour', CASE TG_TABLE_NAME
        WHEN 'task_transitions' THEN (to_jsonb(NEW) ->> 'created_at')::timestamptz
        ELSE (to_jsonb(NEW) ->> 'recorded_at')::timestamptz END, 'UTC'))
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

-- The conditions hold for no row that a service writes, so a service never pays for the function.
CREATE TRIGGER analytics_imported AFTER INSERT ON tasker.task_transitions
    FOR EACH ROW
    WHEN (NEW.created_at < now() - interval '10 seconds'
          AND NEW.to_state IN ('complete', 'error', 'cancelled', 'resolved_manually'))
    EXECUTE FUNCTION tasker.analytics_mark_dirty();
CREATE TRIGGER analytics_imported AFTER INSERT ON tasker.workflow_step_result_audit
    FOR EACH ROW
    WHEN (NEW.recorded_at < now() - interval '10 seconds')
    EXECUTE FUNCTION tasker.analytics_mark_dirty();
-- Fire for rows that replication or a restore applies, too.
ALTER TABLE tasker.task_transitions ENABLE ALWAYS TRIGGER analytics_imported;
ALTER TABLE tasker.workflow_step_result_audit ENABLE ALWAYS TRIGGER analytics_imported;

INSERT INTO tasker.analytics_progress (rolled_to, mark_at, mark_xid)
SELECT greatest(coalesce(min(created_at), now()), now() - interval '31 days') - interval '1 second',
       clock_timestamp(), pg_current_xact_id()
FROM tasker.task_transitions;
