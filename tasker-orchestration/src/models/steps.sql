-- Selects at most $3 steps of the task $1 after the step $2 as JSON, oldest first, with at most $4 bytes of
-- values; only the step $5. Each limit may be null. The smallest values are included. Their sizes as stored
-- count first, because the exact ones of all values would take too long.
SELECT row_to_json(v) AS "step!: Json<WorkflowStep>"
FROM (
    SELECT s.workflow_step_uuid, s.task_uuid, n.name, c.state AS current_state, c.state AS status,
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
           s.processed_at::timestamptz,
           CASE WHEN s.fits THEN s.inputs END AS inputs,
           CASE WHEN s.fits THEN s.results END AS results,
           s.priority, s.created_at::timestamptz, s.callable, q.claimed_by,
           CASE WHEN q.claimed_by IS NULL AND q.state = 'waiting_for_retry' THEN q.due_at END
               AS next_retry_at,
           p.total AS total_parents, p.completed AS completed_parents,
           p.total = p.completed AS dependencies_satisfied,
           (q.task_uuid IS NOT NULL AND q.claimed_by IS NULL AND q.due_at <= now())
               AS ready_for_execution,
           (q.task_uuid IS NOT NULL AND q.state = 'waiting_for_retry') AS retry_eligible,
           CASE WHEN s.fits THEN s.checkpoint END AS checkpoint,
           NOT s.fits AS values_left_out
    FROM (
        SELECT w.*, (sum(w.size) OVER (ORDER BY w.size, w.workflow_step_uuid) <= $4) IS NOT FALSE AS fits
        FROM (
            SELECT l.*,
                   CASE WHEN sum(l.stored) OVER (ORDER BY l.stored, l.workflow_step_uuid) <= $4
                        THEN coalesce(octet_length(l.inputs::text), 0)
                             + coalesce(octet_length(l.results::text), 0)
                             + coalesce(octet_length(l.checkpoint::text), 0)
                        ELSE $4::bigint + 1
                   END AS size
            FROM (
                SELECT s.*,
                       coalesce(pg_column_size(s.inputs), 0)
                       + coalesce(pg_column_size(s.results), 0)
                       + coalesce(pg_column_size(s.checkpoint), 0) AS stored
                FROM (
                    SELECT * FROM tasker.workflow_steps
                    WHERE task_uuid = $1 AND ($5::uuid IS NULL OR workflow_step_uuid = $5)
                    OFFSET 0
                ) s
                WHERE s.workflow_step_uuid > $2 ORDER BY s.workflow_step_uuid LIMIT $3
            ) l
        ) w
    ) s
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
) v
ORDER BY v.workflow_step_uuid
