//! Steps that run, on a database of each test's own.

mod api;
mod busy;
mod cost;
mod dlq;
mod dynamic;
pub(crate) mod engine;
mod failure;
mod flow;
mod hand;
mod http;
mod losses;
mod operations;
mod operators;
mod queue;
mod races;
mod reading;
mod recovery;
mod refused;
mod retention;
mod templates;
mod transactions;
mod upkeep;
mod waiting;
