//! Steps that run, on a database of each test's own.

mod cost;
mod dynamic;
mod engine;
mod failure;
mod flow;
mod http;
mod operators;
mod transactions;
