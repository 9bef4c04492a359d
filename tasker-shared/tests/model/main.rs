//! The protocol that keeps templates current, as a model whose states are explored completely.
//!
//! Tests cannot cover all interleavings of the code. The model has the same steps, a few of everything,
//! and a checker that tries every order of them: writers, polls, loads, fills and deletes, time that
//! passes while a process does nothing, processes that die, commands that are lost, late and reordered,
//! notifications that arrive or do not (a poll may be sent at any time), backups that are restored.
//!
//! | in the model | in the code |
//! | --- | --- |
//! | `Begin`, `LockClock`, `Commit` | a statement; `template_clock_lock` and `template_clock_advance` in the deferred triggers; the commit |
//! | `SendPoll`, `AnswerPoll` | `Poller::poll`, `queries::poll` and `queries::load` |
//! | `ReceivePoll` | `Poller::publish`, then `Poller::report` |
//! | `Process::is_fresh`, `write_unread` | `Validity::holds_at`, `Validity::require` |
//! | `Wait` | `TemplateIndex::ensure_fresh` |
//! | `ReadRedis` | `RedisTier::get`, which compares the hash |
//! | `ReadDatabase` | `database_tier::load` |
//! | `ReceiveLoad` | the rest of `Loader::load_from_tiers`: hold the document, begin a fill |
//! | `SendFill`, `TimeOutFill` | `RedisTier::fill`, whose `SET` may be executed later |
//! | `Register`, `BeginDelete`, `Delete` | `TaskHandlerRegistry::register_all`: the statement, `TemplateIndex::wrote` with the delete's start, the delete |
//! | `Answer` | a resolve that finds its document in the local tier while `TemplateIndex::may_be_used` |
//!
//! A commit's stamp stands for the pointer that it gave a name, a small number for a document's hash.
//! Ages count up to one past the bound, where nothing changes any more, so the model is finite without
//! an end of time. Not in the model: names that are deleted, `serve_stale_seconds`, and the pause
//! between a look at the clock and the answer that follows it.
//!
//! [`mutants::Mutant`] lists the ways to break the protocol. Each must be detected.

mod answers;
mod database;
mod explore;
mod mutants;
mod process;
mod properties;
mod scope;
mod steps;
mod system;
mod witnesses;

use stateright::Checker;
use strum::VariantArray;

use mutants::Mutant;
use properties::{BOUND, FORWARD, INVALIDATED, LINEARIZABLE, OWN_WRITES, PREFIX};
use scope::Scope;
use system::Protocol;
use witnesses::Event;

/// Explores all states of `scope`. Expects no violation, at least so many states, and these events.
fn holds_everywhere(scope: Scope, at_least: usize, events: &[Event]) {
    let checker = explore::holds_everywhere(scope.name, Protocol::new(scope), at_least);
    for event in events {
        let count = checker.model().witnesses.count(*event);
        assert!(count > 0, "{}: {event:?} never happened", scope.name);
    }
}

#[test]
fn nothing_is_older_than_the_bound_while_processes_freeze_and_redis_answers_anything() {
    holds_everywhere(
        Scope::FREEZING,
        120_000,
        &[
            Event::Served,
            Event::NewVersionServed,
            Event::NotAllowed,
            Event::Waits,
            Event::WaitsAgain,
            Event::ReplyPastBound,
            Event::RedisHit,
            Event::OtherHashRefused,
            Event::OutdatedLoad,
            Event::LateLoad,
        ],
    );
}

#[test]
fn content_that_returns_is_served_within_the_bound() {
    holds_everywhere(
        Scope::RETURNING,
        60_000,
        &[Event::RedisHit, Event::LateLoad],
    );
}

#[test]
fn a_bound_of_zero_is_linearizable() {
    holds_everywhere(
        Scope::LINEARIZABLE,
        80_000,
        &[Event::NewVersionServed, Event::NotAllowed],
    );
}

#[test]
fn polls_see_commits_in_order_while_transactions_interleave() {
    holds_everywhere(Scope::COMMITS, 60_000, &[Event::NewVersionServed]);
}

#[test]
fn a_restored_backup_is_another_history() {
    holds_everywhere(
        Scope::RESTORES,
        100_000,
        &[Event::OtherHistory, Event::NewVersionServed],
    );
}

#[test]
fn a_process_sees_its_own_writes_while_processes_die() {
    holds_everywhere(
        Scope::OWN_WRITES,
        45_000,
        &[
            Event::Registered,
            Event::RetryFindsOwnWork,
            Event::PollOfBeforeWrite,
            Event::CrashBetweenCommitAndDelete,
        ],
    );
}

#[test]
fn registrations_delete_replaced_documents_while_commands_are_lost_and_late() {
    holds_everywhere(Scope::LOSSES, 7_000, &[Event::Registered, Event::LateFill]);
}

#[test]
fn a_registration_beside_another_process_leaves_no_replaced_document() {
    holds_everywhere(Scope::BESIDE, 60_000, &[Event::Registered, Event::LateFill]);
}

#[test]
fn each_mutant_is_detected() {
    let expected = [
        (Mutant::ReplyTimeValidity, Scope::FREEZING, BOUND),
        (Mutant::NoHashCheck, Scope::FREEZING, BOUND),
        (Mutant::NoHashCheck, Scope::FREEZING, FORWARD),
        (Mutant::PlainSequence, Scope::COMMITS, PREFIX),
        (Mutant::PlainSequence, Scope::COMMITS, BOUND),
        (Mutant::InvalidateBeforeCommit, Scope::BESIDE, INVALIDATED),
        (Mutant::NoReloadAfterRegression, Scope::RESTORES, PREFIX),
        (Mutant::NoReloadAfterRegression, Scope::RESTORES, BOUND),
        (Mutant::NoWriteFloor, Scope::OWN_WRITES, OWN_WRITES),
        (Mutant::TrustUnchanged, Scope::OWN_WRITES, OWN_WRITES),
        (Mutant::TrustUnchanged, Scope::BESIDE, INVALIDATED),
        (Mutant::SharedEarlierPoll, Scope::LINEARIZABLE, LINEARIZABLE),
        (Mutant::SharedEarlierPoll, Scope::FREEZING, LINEARIZABLE),
    ];
    let checked = expected.map(|(mutant, scope, property)| {
        let model = Protocol::new(scope.with(mutant));
        (
            mutant,
            scope.name,
            property,
            explore::violates(model, property),
        )
    });
    explore::all_are_caught(Mutant::VARIANTS, &checked);
}
