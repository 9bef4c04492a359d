-- A table of the handlers' own.

CREATE SCHEMA chaos;

-- An effect that a handler committed together with its result.
CREATE TABLE chaos.effects (
    step_uuid uuid NOT NULL,
    attempt integer NOT NULL
);
