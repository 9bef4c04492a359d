//! The PostgreSQL that a task needs.

use tasker_test_support::{SharedServer, postgres as shared};

use crate::error::XtaskError;

/// Returns a PostgreSQL that was found or started.
pub(crate) async fn postgres() -> Result<&'static SharedServer, XtaskError> {
    let postgres = shared().await?;
    println!("PostgreSQL  {postgres}");
    Ok(postgres)
}
