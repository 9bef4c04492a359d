-- Every committed change. Rows of one template are in the order of commits: a row is
-- noted while its lock is held, and a lock is held until the commit.
--
-- Nothing here depends on the schema that is judged: neither on its clock nor on its deferred triggers.

CREATE SCHEMA chaos;

CREATE TABLE chaos.history (
    position bigserial PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    content bigint,
    write bigint
);

-- A SQL write sets its number; one through the registry is identified by the marker that it wrote.
CREATE FUNCTION chaos.note(namespace text, name text, configuration jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO chaos.history (namespace, name, content, write)
    SELECT namespace, name, marker,
           coalesce(nullif(current_setting('chaos.write', true), '')::bigint, marker)
    FROM (VALUES ((configuration #>> '{task_handler,initialization,marker}')::bigint)) AS m (marker)
    WHERE namespace LIKE 'chaos%'
$$;

CREATE FUNCTION chaos.task_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM chaos.note(n.name, OLD.name, NULL) FROM tasker.task_namespaces n
        WHERE n.task_namespace_uuid = OLD.task_namespace_uuid;
    ELSE
        PERFORM chaos.note(n.name, NEW.name, NEW.configuration) FROM tasker.task_namespaces n
        WHERE n.task_namespace_uuid = NEW.task_namespace_uuid;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION chaos.namespace_renamed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chaos.note(OLD.name, t.name, NULL), chaos.note(NEW.name, t.name, t.configuration)
    FROM tasker.named_tasks t WHERE t.task_namespace_uuid = NEW.task_namespace_uuid;
    RETURN NULL;
END
$$;

CREATE TRIGGER chaos_task_changed AFTER INSERT OR UPDATE OR DELETE ON tasker.named_tasks
    FOR EACH ROW EXECUTE FUNCTION chaos.task_changed();

CREATE TRIGGER chaos_namespace_renamed AFTER UPDATE OF name ON tasker.task_namespaces
    FOR EACH ROW EXECUTE FUNCTION chaos.namespace_renamed();
