-- Finished tasks of one step, with all rows that the services would have written for them. $1 is
-- the number of the first, $2 their count, $3 the count of all. One ended every two seconds until now, of
-- the templates whose names begin with `linear` in turn.
--
-- Ids begin with a time of the last 30 days, as those of real tasks do.
WITH made AS MATERIALIZED (
    SELECT n, at,
           (prefix || '7' || substr(md5('task' || n), 1, 19))::uuid AS task_uuid,
           (prefix || '7' || substr(md5('step' || n), 1, 19))::uuid AS step_uuid,
           (prefix || '7' || substr(md5('end' || n), 1, 19))::uuid AS end_uuid
    FROM (
        SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS prefix
        FROM (
            SELECT n, now() - ($3 - n) * interval '2 seconds' AS at
            FROM generate_series($1, $1 + $2 - 1) n
        ) numbered
    ) timed
), template AS (
    SELECT t.named_task_uuid, v.content_hash, s.named_step_uuid,
           row_number() OVER (ORDER BY t.name) - 1 AS number, count(*) OVER () AS count
    FROM tasker.named_tasks t
    JOIN tasker.template_versions v USING (named_task_uuid)
    CROSS JOIN tasker.named_steps s
    WHERE t.name LIKE 'linear%' AND s.name = 'step_0'
), tasks AS (
    INSERT INTO tasker.tasks
        (task_uuid, named_task_uuid, template_hash, identity_hash, context, complete, requested_at,
         completed_at, ended_at, correlation_id, created_at, updated_at)
    SELECT m.task_uuid, t.named_task_uuid, t.content_hash, md5('a' || n) || md5('b' || n),
           '{"order": 7}', true, at, at, at, m.task_uuid, at, at
    FROM made m JOIN template t ON t.number = m.n % t.count
), steps AS (
    INSERT INTO tasker.workflow_steps
        (workflow_step_uuid, task_uuid, named_step_uuid, max_attempts, processed, processed_at,
         attempts, last_attempted_at, results, callable, created_at, updated_at)
    SELECT m.step_uuid, m.task_uuid, t.named_step_uuid, 3, true, at, 1, at, '{}', 'bench.Nothing',
           at, at
    FROM made m JOIN template t ON t.number = m.n % t.count
), task_transitions AS (
    INSERT INTO tasker.task_transitions
        (task_transition_uuid, task_uuid, from_state, to_state, sort_key, most_recent, created_at,
         updated_at)
    SELECT gen_random_uuid(), m.task_uuid, s.from_state, s.to_state, s.sort_key, s.sort_key = 3, at,
           at
    FROM made m, (VALUES (NULL, 'pending', 1), ('pending', 'steps_in_process', 2),
                         ('steps_in_process', 'complete', 3)) AS s (from_state, to_state, sort_key)
), step_transitions AS (
    INSERT INTO tasker.workflow_step_transitions
        (workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key,
         most_recent, created_at, updated_at)
    SELECT CASE s.sort_key WHEN 3 THEN m.end_uuid ELSE gen_random_uuid() END, m.step_uuid,
           s.from_state, s.to_state, s.sort_key, s.sort_key = 3, at, at
    FROM made m, (VALUES ('pending', 'enqueued', 1), ('enqueued', 'in_progress', 2),
                         ('in_progress', 'complete', 3)) AS s (from_state, to_state, sort_key)
)
INSERT INTO tasker.workflow_step_result_audit
    (workflow_step_result_audit_uuid, workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
     recorded_at, success, execution_time_ms, created_at, updated_at)
SELECT gen_random_uuid(), m.step_uuid, m.end_uuid, m.task_uuid, at, n % 10 > 0, n % 5000, at, at
FROM made m
