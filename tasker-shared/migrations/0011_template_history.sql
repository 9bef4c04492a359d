-- History of templates: which document each name had when, and which file and process it came from.
--
-- A row is written whenever the pointer of a name changes, whoever changes it. The process that
-- registers templates names itself and the files in `tasker.template_source`, a setting of its
-- transaction: {"process": "...", "files": {"namespace/name/version": "path"}}.

CREATE TABLE tasker.template_history (
    namespace varchar(64) NOT NULL,
    name varchar(64) NOT NULL,
    version varchar(16) NOT NULL,
    -- The position of the commit.
    sequence bigint NOT NULL,
    -- Null: from here on the name had no document, because it was retired or deleted.
    content_hash char(64),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    file text,
    process text,
    PRIMARY KEY (namespace, name, version, sequence)
);

-- Documents that were replaced. The current ones are in `named_tasks`.
CREATE TABLE tasker.template_history_documents (
    hash char(64) PRIMARY KEY,
    document jsonb NOT NULL
);

CREATE FUNCTION tasker.template_history_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_source jsonb := '{}';
BEGIN
    BEGIN
        v_source := coalesce(nullif(current_setting('tasker.template_source', true), ''), '{}')::jsonb;
    EXCEPTION WHEN others THEN
        -- A setting that is no JSON must not keep anybody from writing templates.
        NULL;
    END;
    INSERT INTO tasker.template_history
        (namespace, name, version, sequence, content_hash, file, process)
    SELECT r.namespace, r.name, r.version, r.sequence, r.content_hash,
           v_source -> 'files' ->> concat_ws('/', r.namespace, r.name, r.version),
           coalesce(v_source ->> 'process',
                    concat_ws(' ', current_setting('application_name'), 'as', session_user))
    FROM changed_rows r
    ON CONFLICT (namespace, name, version, sequence) DO UPDATE SET
        content_hash = excluded.content_hash, file = excluded.file, process = excluded.process;
    RETURN NULL;
END
$$;

CREATE TRIGGER template_history_inserted
    AFTER INSERT ON tasker.template_versions
    REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.template_history_note();
CREATE TRIGGER template_history_updated
    AFTER UPDATE ON tasker.template_versions
    REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.template_history_note();

CREATE FUNCTION tasker.template_history_keep() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker.template_history_documents (hash, document)
    SELECT DISTINCT ON (k.hash) k.hash, k.configuration
    FROM (
        SELECT tasker.template_hash(o.configuration) AS hash,
               coalesce(o.configuration, '{}') AS configuration
        FROM old_rows o
    ) k
    ON CONFLICT (hash) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER template_history_replaced
    AFTER UPDATE ON tasker.named_tasks
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.template_history_keep();
CREATE TRIGGER template_history_deleted
    AFTER DELETE ON tasker.named_tasks
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasker.template_history_keep();

ALTER TABLE tasker.template_versions ENABLE ALWAYS TRIGGER template_history_inserted;
ALTER TABLE tasker.template_versions ENABLE ALWAYS TRIGGER template_history_updated;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER template_history_replaced;
ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER template_history_deleted;

INSERT INTO tasker.template_history
    (namespace, name, version, sequence, content_hash, changed_at)
SELECT namespace, name, version, sequence, content_hash, registered_at
FROM tasker.template_versions;
