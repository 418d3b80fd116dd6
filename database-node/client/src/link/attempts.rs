//! Trying all addresses of a server.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// How long an attempt has before the next one begins beside it (RFC 8305, section 5). Whoever is not there need not say
/// so: by UDP, nobody does.
const HEAD_START: Duration = Duration::from_millis(250);

/// What the first attempt that succeeds comes to. Each begins when one before it has failed, or the head start is over.
///
/// # Errors
/// Why the last one failed.
pub(super) async fn first_of<T, F: Future<Output = Result<T, String>>>(
    attempts: impl IntoIterator<Item = F>,
) -> Result<T, String> {
    let mut later: VecDeque<F> = attempts.into_iter().collect();
    let mut running = FuturesUnordered::new();
    let mut last = "its name leads to no address".to_owned();
    loop {
        running.extend(later.pop_front());
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(first)) => return Ok(first),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = tokio::time::sleep(HEAD_START), if !later.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;

    use super::first_of;

    type Attempt = Pin<Box<dyn Future<Output = Result<u8, String>>>>;

    fn run(attempts: Vec<Attempt>) -> Result<u8, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(first_of(attempts))
    }

    fn fails(why: &str) -> Attempt {
        Box::pin(ready(Err(why.to_owned())))
    }

    #[test]
    fn an_address_that_says_nothing_does_not_hide_the_next() {
        assert_eq!(run(vec![Box::pin(pending()), Box::pin(ready(Ok(2)))]), Ok(2));
        assert_eq!(
            run(vec![
                fails("no"),
                Box::pin(pending()),
                fails("no"),
                Box::pin(ready(Ok(4)))
            ]),
            Ok(4)
        );
    }

    #[test]
    fn the_first_is_preferred_and_the_last_failure_told() {
        assert_eq!(run(vec![Box::pin(ready(Ok(1))), Box::pin(ready(Ok(2)))]), Ok(1));
        assert_eq!(run(vec![fails("one"), fails("two")]), Err("two".to_owned()));
        assert!(run(Vec::new()).unwrap_err().contains("no address"));
    }
}
