//! All metrics of the workspace: name, kind, unit and help.
//!
//! Code that counts uses a constant of this module: `metrics::counter!(TEMPLATE_RESOLVES.name,
//! "tier" => "local")`. [`describe_all`] describes all metrics to an installed recorder.

use metrics::Unit;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that only grows while the process lives.
    Counter,
    /// A current value.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name in Prometheus' text format.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The meaning of the metric and of its labels.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($constant:ident: $kind:ident, $unit:ident, $name:literal, $help:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help };
        )+

        /// Every metric, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics_table! {
    TEMPLATE_RESOLVES: Counter, Count, "tasker_template_resolves_total",
        "Template resolves, by `tier` (local, redis, database, none) and `result` (hit, miss, not_found, error).";
    TEMPLATE_RESOLVE_DURATION: Histogram, Seconds, "tasker_template_resolve_duration_seconds",
        "Duration of template resolves that the local tier could not answer, by `tier` that did.";
    TEMPLATE_STALE_SERVED: Counter, Count, "tasker_template_stale_served_total",
        "Resolves answered past `max_staleness_ms` because `serve_stale_seconds` allows it.";
    TEMPLATE_REGISTRATIONS: Counter, Count, "tasker_template_registrations_total",
        "Templates registered, by `status` (created, updated, unchanged, refused, failed).";
    TEMPLATE_FILES: Gauge, Count, "tasker_template_files",
        "Template files that this worker found at its start, by `result` (registered, refused).";
    TEMPLATE_VERSIONS_REPLACED: Counter, Count, "tasker_template_versions_replaced_total",
        "Registered versions whose content a boot of this process replaced.";
    TEMPLATE_LOCAL_BYTES: Gauge, Bytes, "tasker_template_local_bytes",
        "Bytes of template documents that the local tier holds.";
    TEMPLATE_LOCAL_ENTRIES: Gauge, Count, "tasker_template_local_entries",
        "Template documents that the local tier holds.";
    TEMPLATE_FILLS: Counter, Count, "tasker_template_fills_total",
        "Template documents of the distributed cache, by `result` (written, unconfirmed, unavailable, failed, useless). The answer to unconfirmed ones was not awaited; useless ones were read and have a hash that is not current.";
    TEMPLATE_CACHE_MISMATCH: Counter, Count, "tasker_template_cache_mismatch_total",
        "Cached documents that differed from PostgreSQL, found by the background comparison. Must stay 0.";
    TEMPLATE_CACHE_COMPARISONS: Counter, Count, "tasker_template_cache_comparisons_total",
        "Cached documents that the background comparison compared with PostgreSQL.";
    DIRECTORY_TEMPLATES: Gauge, Count, "tasker_template_directory_templates",
        "Registered templates in this process's template index.";
    DIRECTORY_AGE: Gauge, Seconds, "tasker_template_directory_age_seconds",
        "Time since the last successful poll of the template index was sent.";
    DIRECTORY_LAG: Gauge, Seconds, "tasker_template_directory_lag_seconds",
        "Age of the oldest commit in the last poll when it arrived; 0 if it returned none.";
    DIRECTORY_POLLS: Counter, Count, "tasker_template_directory_polls_total",
        "Polls of the template index, by `reason` (start, timer, notified, stale, unknown_name, written) and `result` (ok, error, timeout).";
    DIRECTORY_RELOADS: Counter, Count, "tasker_template_directory_reloads_total",
        "Full reloads of the template index, by `reason` (start, late, other_history).";
    DIRECTORY_LISTENER_UP: Gauge, Count, "tasker_template_listener_up",
        "1 while notifications of changed templates can arrive, else 0. Without them changes wait for the next poll.";
    DATABASE_CONNECTIONS: Gauge, Count, "tasker_database_connections",
        "Connections in this process's pool, by `state` (idle, used).";
    DATABASE_CONNECTIONS_MAX: Gauge, Count, "tasker_database_connections_max",
        "The most connections that this process's pool opens.";
    TEMPLATE_TRIGGERS_WRONG: Gauge, Count, "tasker_template_triggers_wrong",
        "Triggers of the templates' tables that do not fire as they have to. Must stay 0.";
    CACHE_OPERATIONS: Counter, Count, "tasker_cache_operations_total",
        "Operations on the distributed cache, by `operation` (get, set, delete, delete_pattern, ping) and `result` (ok, hit, miss, timeout, connection, backend, bad_answer, rejected).";
    CACHE_OPERATION_DURATION: Histogram, Seconds, "tasker_cache_operation_duration_seconds",
        "Duration of operations on the distributed cache, by `operation`.";
    CACHE_IN_USE: Gauge, Count, "tasker_cache_in_use",
        "1 once the configured distributed cache has been reached, 0 until then; absent if none is configured.";
    CACHE_BREAKER_OPEN: Gauge, Count, "tasker_cache_breaker_open",
        "1 while the breaker is open and no request uses the distributed cache, else 0; absent until it has been reached.";
    CACHE_BREAKER_TRANSITIONS: Counter, Count, "tasker_cache_breaker_transitions_total",
        "Changes of the breaker's state, by `to` (open, closed).";
    CACHE_BAD_ANSWERS: Counter, Count, "tasker_cache_bad_answers_total",
        "Entries of the distributed cache that could not be used, by `kind` (wrong_type, too_large, garbage, wrong_hash).";
    CACHE_REFUSALS: Counter, Count, "tasker_cache_refusals_total",
        "Errors that the distributed cache returned, by `code` (OOM, READONLY, MOVED and the like; other).";
    WORKER_TEMPLATE_REQUESTS: Counter, Count, "tasker_worker_template_requests_total",
        "Look-ups in the worker's cache of templates with overrides applied, by `result` (hit, miss).";
    TASKS_CREATED: Counter, Count, "tasker_tasks_total",
        "Task requests, by `result` (created, deduplicated, rejected, failed, cancelled). Cancelled ones had no answer: the client went away, or the time of the request or of the drain ended.";
    LOG_LINES_DROPPED: Counter, Count, "tasker_log_lines_dropped_total",
        "Log lines that were not written, because standard error was not read fast enough.";
    HTTP_REQUESTS: Counter, Count, "tasker_http_requests_total",
        "HTTP requests, by `method`, `route` (the pattern, not the path) and `status` (`cancelled` without an answer: the client went away, or the time of the drain ended).";
    HTTP_SERVER_ERRORS: Counter, Count, "tasker_http_server_errors_total",
        "HTTP requests answered with a server error, by `status` (500, 503, 504).";
    HTTP_ACCEPT_ERRORS: Counter, Count, "tasker_http_accept_errors_total",
        "Connections that could not be accepted, for example because too many files are open.";
    HTTP_CONNECTIONS_CLOSED: Counter, Count, "tasker_http_connections_closed_total",
        "Connections closed before they had sent a whole request, by `reason` (header_timeout, draining, limit).";
    HTTP_REQUEST_DURATION: Histogram, Seconds, "tasker_http_request_duration_seconds",
        "Duration of HTTP requests, by `method` and `route`.";
    STEP_CLAIMS: Counter, Count, "tasker_step_claims_total",
        "Steps that this worker has claimed.";
    STEP_ATTEMPTS: Counter, Count, "tasker_step_attempts_total",
        "Attempts of steps that this worker has ended, by `result` (complete, retry, error).";
    STEP_DURATION: Histogram, Seconds, "tasker_step_duration_seconds",
        "Duration of handlers, by `result` (complete, retry, error).";
    STEP_RESULTS_REFUSED: Counter, Count, "tasker_step_results_refused_total",
        "Late results that were not recorded, because the claim was lost or the task had ended.";
    STEPS_RUNNING: Gauge, Count, "tasker_steps_running",
        "Steps that this worker runs now.";
    WORKER_LEASES_LOST: Counter, Count, "tasker_worker_leases_lost_total",
        "Leases that this worker has lost, by `reason` (declared, expired).";
    STEPS_REQUEUED: Counter, Count, "tasker_steps_requeued_total",
        "Steps of lost workers that this process has returned to the queue.";
    STEPS_GIVEN_UP: Counter, Count, "tasker_steps_given_up_total",
        "Steps that this process has ended as failed, because they lost as many workers as allowed.";
    QUEUE_STEPS: Gauge, Count, "tasker_queue_steps",
        "Steps in the queue, by `state` (due, later, claimed).";
    QUEUE_OLDEST: Gauge, Seconds, "tasker_queue_oldest_seconds",
        "Age of the oldest step that can be claimed.";
    QUEUE_UNHANDLED_STEPS: Gauge, Count, "tasker_queue_unhandled_steps",
        "Steps that are due and that no live worker has a handler for.";
    QUEUE_UNHANDLED_OLDEST: Gauge, Seconds, "tasker_queue_unhandled_oldest_seconds",
        "Age of the oldest step that no live worker has a handler for.";
    QUEUE_LAST_SUCCESS: Gauge, Seconds, "tasker_queue_last_success_timestamp_seconds",
        "When the queue was last measured, or the process started, as a Unix time. The other metrics of the queue are as old.";
    TASKS_RETAINED_DELETED: Counter, Count, "tasker_retention_tasks_deleted_total",
        "Finished tasks that were deleted after `retention_days`.";
    RETENTION_LAST_SUCCESS: Gauge, Seconds, "tasker_retention_last_success_timestamp_seconds",
        "When finished tasks were last looked for, or the process started, as a Unix time.";
}

/// Passes unit and help of every metric to the installed recorder, and starts every counter at 0.
pub fn describe_all() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => {
                metrics::describe_counter!(metric.name, metric.unit, metric.help);
                series::start_at_zero(metric);
            }
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

mod series;

#[cfg(test)]
mod docs_tests;

#[cfg(test)]
mod tests {
    use super::{ALL, Kind};

    #[test]
    fn names_are_unique_and_follow_the_naming_rules() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("tasker_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
        }
    }
}
