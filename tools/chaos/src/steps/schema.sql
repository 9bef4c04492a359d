-- Tables of the handlers' own.

CREATE SCHEMA chaos;

-- A handler that began, with the sum of its inputs. Committed before it does anything else.
CREATE TABLE chaos.runs (
    task_uuid uuid NOT NULL,
    step_uuid uuid NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL,
    process integer NOT NULL,
    marker bigint NOT NULL,
    sum text NOT NULL,
    -- The attempt that saved the checkpoint which this one read.
    checkpoint integer,
    -- This attempt's own checkpoint was acknowledged.
    saved boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- An effect that a handler committed together with its result.
CREATE TABLE chaos.effects (
    step_uuid uuid NOT NULL,
    attempt integer NOT NULL
);
