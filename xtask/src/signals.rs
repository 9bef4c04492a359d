//! Being told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Returns when somebody presses Ctrl-C or sends SIGTERM.
pub(crate) async fn interrupted() {
    let wait_for = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends this process by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait_for(SignalKind::interrupt()) => {}
        () = wait_for(SignalKind::terminate()) => {}
    }
}
