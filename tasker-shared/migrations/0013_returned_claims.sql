-- Claims of lost workers return in bounded statements, also those of one worker with very many, and one
-- service at a time reads the queue for them. An index for the retention of documents.

-- Returns the claims of lost workers to the queue, with those of unknown ones if `p_all`, or ends them: up to
-- 500. More wait for the next call. A statement for all claims of a worker or a fleet would exceed its limit
-- each time, and nothing would ever be returned.
--
-- Only one service at a time reads the queue for these, because many of them would read it again and again
-- beside each other. The others return at once, but for the rare read of all, which waits for its turn.
--
-- From the third loss on a step waits for a random time, at most two seconds, then four, and so on to a
-- minute. Fewer of the steps that were lost with the one that stopped the process are then claimed beside
-- it again.
CREATE OR REPLACE FUNCTION tasker.claims_return(p_all boolean, OUT o_returned bigint, OUT o_given_up bigint)
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    v_turn bigint := hashtextextended('tasker.requeue_lost', 0);
    v_chosen bigint := 0;
    v_lost record;
BEGIN
    o_returned := 0;
    o_given_up := 0;
    IF p_all THEN
        PERFORM pg_advisory_xact_lock(v_turn);
    ELSIF NOT pg_try_advisory_xact_lock(v_turn) THEN
        RETURN;
    END IF;
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
            -- At random, and so are the claims of each, so that rows which are locked do not keep all others.
            SELECT claimed_by, random() AS place FROM lost GROUP BY claimed_by
        ), chosen AS (
            -- First those that were lost most often, of which one may be given up.
            SELECT l.*
            FROM lost l
            JOIN workers w ON w.claimed_by = l.claimed_by
            ORDER BY w.place, l.claimed_by, l.uncounted DESC, random()
            LIMIT 500
        )
        SELECT c.claimed_by AS worker, min(c.max_lost_attempts) AS max_losses,
               array_agg(c.task_uuid) AS tasks, array_agg(c.workflow_step_uuid) AS steps,
               array_agg(c.attempt) AS attempts,
               array_agg(CASE WHEN c.uncounted = 0 THEN 1
                              ELSE tasker.step_losses(c.workflow_step_uuid) + 1 END) AS losses
        FROM chosen c
        GROUP BY c.claimed_by
        ORDER BY c.claimed_by
    LOOP
        v_chosen := v_chosen + cardinality(v_lost.steps);
        -- An error is a warning, because the rows of one worker must not keep those of all others.
        BEGIN
            IF tasker.step_give_up(
                v_lost.worker, v_lost.tasks, v_lost.steps, v_lost.losses, v_lost.max_losses) > 0
            THEN
                o_given_up := o_given_up + 1;
                -- One of a worker, also if the next calls return more of its claims.
                UPDATE tasker.workers SET max_lost_attempts = 2147483647
                WHERE worker_uuid = v_lost.worker;
            END IF;
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
    -- More may be left. Those that are locked count, because they keep others from being chosen.
    IF v_chosen >= 500 AND NOT p_all THEN
        UPDATE tasker.workers SET lost_at = clock_timestamp()
        WHERE lost_at > clock_timestamp() - interval '1 minute';
    END IF;
END
$$;

-- Declares workers lost whose leases are over, and returns their claims to the queue, or ends those of
-- steps that lost too many workers.
--
-- A worker that is lost stays listed for an hour. In its first minute its claims are looked for
-- again and again, because a claim that it sent before may be committed only now. The minute begins again
-- after each call that found as many as one may return, because more may be left.
CREATE OR REPLACE FUNCTION tasker.requeue_lost(OUT o_returned bigint, OUT o_given_up bigint)
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

-- To find a document's tasks. Without it the retention of documents reads all tasks each time.
CREATE INDEX IF NOT EXISTS tasks_template_hash ON tasker.tasks (template_hash);
