//! A deadline that does not take our own lateness for the server's.
//!
//! A process that had no CPU for a while finds two things when it goes on: its deadline is over,
//! and the answer is in the socket. Which task it runs first is chance, and the answer has to go
//! through the task that reads the connection. So whoever finds its deadline over lets all others
//! have their turn, and looks again.

use std::future::Future;
use std::task::Poll;

use tokio::time::Instant;

/// How often it looks again. The socket is polled in the first of these turns, the task that reads
/// the connection runs in the second, and the third is for one that had no turn in those.
const LOOKS: usize = 3;

/// What `answer` comes to, if that is known when `deadline` is over. A server that does not answer
/// costs no more than the turns of the tasks that are ready to run.
pub(super) async fn within<F: Future>(deadline: Instant, answer: F) -> Option<F::Output> {
    tokio::pin!(answer);
    if let Ok(answered) = tokio::time::timeout_at(deadline, &mut answer).await {
        return Some(answered);
    }
    for _ in 0..LOOKS {
        tokio::task::yield_now().await;
        if let Poll::Ready(answered) = futures::poll!(&mut answer) {
            return Some(answered);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::within;

    const BUDGET: Duration = Duration::from_millis(25);

    /// A connection, and a task that reads it and has more to do before it passes on the answer.
    async fn connection() -> (TcpStream, oneshot::Receiver<u8>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("it is connected");
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let answer = client.read_u8().await.expect("an answer");
            tokio::task::yield_now().await;
            sender.send(answer)
        });
        tokio::task::yield_now().await;
        (server, receiver)
    }

    #[tokio::test]
    async fn an_answer_that_came_while_this_process_had_no_time_is_found() {
        let (mut server, answer) = connection().await;
        let deadline = Instant::now() + BUDGET;
        server.write_u8(7).await.expect("it is connected");
        // Nothing of this process runs until long after the deadline.
        tokio::spawn(async { std::thread::sleep(BUDGET * 4) });
        let found = within(deadline, answer).await;
        assert_eq!(found, Some(Ok(7)));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up_at_the_deadline() {
        let (_server, answer) = connection().await;
        assert_eq!(within(Instant::now() + BUDGET, answer).await, None);
        assert_eq!(within(Instant::now(), pending::<()>()).await, None);
    }
}
