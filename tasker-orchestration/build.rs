//! Has the queries of this crate checked against the committed `.sqlx`.
//!
//! sqlx would check them against the database that `DATABASE_URL` names, which is set where this
//! crate is used and names a database without its tables. `cargo xtask generate` sets the variable
//! below to have them checked against a database again.

use std::env;

const ONLINE: &str = "TASKER_CHECK_QUERIES_ONLINE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={ONLINE}");
    if env::var_os(ONLINE).is_none() {
        println!("cargo::rustc-env=SQLX_OFFLINE=true");
    }
}
