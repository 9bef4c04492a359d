-- Upkeep in statements of bounded length: a large loss of claims, and the deletion of old tasks.

-- Returns the claims of lost workers to the queue, with those of unknown ones if `p_all`, or ends them: those
-- of some workers, with 500 claims or a few more in all. More wait for the next call. A statement for all
-- claims of a fleet would exceed its limit each time, and nothing would ever be returned.
--
-- From the third loss on a step waits for a random time, at most two seconds, then four, and so on to a
-- minute. Fewer of the steps that were lost with the one that stopped the process are then claimed beside
-- it again.
CREATE OR REPLACE FUNCTION tasker.claims_return(p_all boolean, OUT o_returned bigint, OUT o_given_up bigint)
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_lost record;
BEGIN
    o_returned := 0;
    o_given_up := 0;
    FOR v_lost IN
        WITH lost AS MATERIALIZED (
            SELECT q.claimed_by, q.task_uuid, q.workflow_step_uuid, q.attempt, q.uncounted, w.max_lost_attempts
            FROM tasker.step_queue q
            LEFT JOIN tasker.workers w ON w.worker_uuid = q.claimed_by
            WHERE q.claimed_by IS NOT NULL AND CASE
                WHEN p_all THEN w.worker_uuid IS NULL OR w.lost_at IS NOT NULL
                ELSE w.lost_at > clock_timestamp() - interval '1 minute'
            END
        ), workers AS (
            -- At random, so that workers whose rows are locked do not keep those of all others.
            SELECT claimed_by, count(*) AS claims, random() AS place FROM lost GROUP BY claimed_by
        ), chosen AS (
            SELECT claimed_by, sum(claims) OVER (ORDER BY place, claimed_by) - claims AS before FROM workers
        )
        SELECT l.claimed_by AS worker, min(l.max_lost_attempts) AS max_losses,
               array_agg(l.task_uuid) AS tasks, array_agg(l.workflow_step_uuid) AS steps,
               array_agg(l.attempt) AS attempts,
               array_agg(CASE WHEN l.uncounted = 0 THEN 1
                              ELSE tasker.step_losses(l.workflow_step_uuid) + 1 END) AS losses
        FROM lost l
        JOIN chosen c ON c.claimed_by = l.claimed_by AND c.before < 500
        GROUP BY l.claimed_by
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

-- Deletes up to `p_batch` tasks that ended more than `p_days` days ago, with all that belongs to
-- them. Returns how many tasks.
CREATE OR REPLACE FUNCTION tasker.retain(p_days integer, p_batch integer) RETURNS bigint
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
    IF v_tasks IS NULL THEN
        RETURN 0;
    END IF;
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
    RETURN cardinality(v_tasks);
END
$$;

-- Deletes documents that neither a task nor a registered template needs. Reads the tasks for each document
-- that was not used for a day. Returns how many.
CREATE FUNCTION tasker.retain_documents() RETURNS bigint
LANGUAGE sql SET jit = off AS $$
    WITH deleted AS (
        DELETE FROM tasker.template_documents d
        WHERE d.used_at < now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM tasker.tasks t WHERE t.template_hash = d.hash)
            AND NOT EXISTS (SELECT FROM tasker.template_versions v WHERE v.content_hash = d.hash)
        RETURNING 1
    )
    SELECT count(*) FROM deleted
$$;

-- PostgreSQL looks for references to each row that it deletes. An older workspace has some without an index,
-- which would be read as a whole for each of them.
DO $$
DECLARE
    v_key record;
BEGIN
    FOR v_key IN
        SELECT c.conrelid::regclass AS referring, a.attname AS key
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.connamespace = 'tasker'::regnamespace
            AND c.confrelid IN ('tasker.tasks'::regclass, 'tasker.workflow_steps'::regclass,
                                'tasker.workflow_step_transitions'::regclass)
            AND NOT EXISTS (SELECT FROM pg_index i
                            WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
                                AND i.indpred IS NULL AND i.indisvalid)
    LOOP
        EXECUTE format('CREATE INDEX ON %s (%I)', v_key.referring, v_key.key);
    END LOOP;
END
$$;
