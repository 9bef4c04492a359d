-- Queued steps, $1 of them, each of a task of its own. Half of them are due, older than all others,
-- and for a handler that no worker has; the other half are due in an hour.
WITH made AS MATERIALIZED (
    SELECT n, tasker.uuidv7() AS task_uuid, tasker.uuidv7() AS step_uuid, now() AS at
    FROM generate_series(1, $1) n
), template AS (
    SELECT t.named_task_uuid, v.content_hash, s.named_step_uuid
    FROM tasker.named_tasks t
    JOIN tasker.template_versions v USING (named_task_uuid)
    CROSS JOIN tasker.named_steps s
    WHERE t.name = 'linear' AND s.name = 'step_0'
), tasks AS (
    INSERT INTO tasker.tasks
        (task_uuid, named_task_uuid, template_hash, identity_hash, context, requested_at,
         correlation_id, created_at, updated_at)
    SELECT m.task_uuid, t.named_task_uuid, t.content_hash, md5('c' || n) || md5('d' || n),
           '{"order": 7}', at, m.task_uuid, at, at
    FROM made m, template t
), transitions AS (
    INSERT INTO tasker.task_transitions
        (task_transition_uuid, task_uuid, to_state, sort_key, most_recent, created_at, updated_at)
    SELECT gen_random_uuid(), m.task_uuid, 'pending', 1, true, at, at FROM made m
), steps AS (
    INSERT INTO tasker.workflow_steps
        (workflow_step_uuid, task_uuid, named_step_uuid, max_attempts, callable, created_at,
         updated_at)
    SELECT m.step_uuid, m.task_uuid, t.named_step_uuid, 3, 'bench.Absent', at, at
    FROM made m, template t
)
INSERT INTO tasker.step_queue
    (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key, attempt, uncounted)
SELECT m.task_uuid, m.step_uuid, 'bench.Absent', 0,
       CASE WHEN n % 2 = 0 THEN at - interval '1 hour' ELSE at + interval '1 hour' END, 'enqueued',
       0, 1, 0
FROM made m
