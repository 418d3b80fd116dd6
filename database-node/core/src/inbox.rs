//! The messages that wait for a subscriber, wherever they come from.

use std::collections::VecDeque;
use std::future::poll_fn;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::Condvar;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{Error, Message};

/// How many bytes wait at most, of messages that are more than one: subscribers that read slowly could hold all memory.
const MAX_BYTES: usize = 16 << 20;

/// The messages that wait for one subscriber: so many at most, and no more than 16 MiB of them. When one more comes, the
/// oldest are dropped and the subscriber is told how many were.
///
/// Tasks of any runtime and threads can wait for it, several at a time; each message goes to one of them.
///
/// ```
/// use pliantdb_core::{Body, Error, Inbox, Message};
///
/// let inbox = Inbox::with_capacity(2);
/// for number in 1..=3 {
///     let payload = Body::parse(number.to_string().into_bytes()).unwrap();
///     inbox.put(Message { topic: "numbers".parse().unwrap(), payload });
/// }
/// assert_eq!(inbox.receive(), Err(Error::Lagged(1)));
/// assert_eq!(inbox.receive().unwrap().payload.as_str(), "2");
/// inbox.close();
/// assert_eq!(inbox.receive().unwrap().payload.as_str(), "3");
/// assert_eq!(inbox.receive(), Err(Error::Closed));
/// ```
#[derive(Debug)]
pub struct Inbox {
    capacity: usize,
    waiting: Mutex<Waiting>,
    #[cfg(not(target_arch = "wasm32"))]
    came: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// What they hold, in bytes.
    bytes: usize,
    /// How many were dropped since the subscriber was told.
    dropped: u64,
    is_closed: bool,
    /// The tasks that wait. All are woken by every message: one that waits no more could keep it from the others.
    tasks: Vec<Waker>,
}

impl Default for Inbox {
    /// For 1,024 messages.
    fn default() -> Self {
        Self::with_capacity(1024)
    }
}

impl Inbox {
    /// An empty one, in which at most `capacity` messages wait; at least one does.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            waiting: Mutex::default(),
            #[cfg(not(target_arch = "wasm32"))]
            came: Condvar::new(),
        }
    }

    /// Adds a message; gives whether it was taken, which none is after [`Inbox::close`].
    pub fn put(&self, message: Message) -> bool {
        self.change(|waiting| {
            if waiting.is_closed {
                return false;
            }
            waiting.bytes += message.payload.as_str().len();
            waiting.messages.push_back(message);
            while waiting.messages.len() > self.capacity
                || (waiting.bytes > MAX_BYTES && waiting.messages.len() > 1)
            {
                waiting.pop();
                waiting.dropped += 1;
            }
            true
        })
    }

    /// Takes note of messages that were lost before they came here, to be told with those that are dropped here.
    pub fn lose(&self, count: u64) {
        self.change(|waiting| waiting.dropped = waiting.dropped.saturating_add(count));
    }

    /// Ends it: what is there can still be received, then comes [`Error::Closed`], for all who wait.
    pub fn close(&self) {
        self.change(|waiting| waiting.is_closed = true);
    }

    /// The next message; `None` if there is none at the moment.
    ///
    /// # Errors
    /// [`Error::Lagged`], once, when messages were dropped, and [`Error::Closed`] when there will be no more.
    pub fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.waiting().take().transpose()
    }

    /// The next message, for which the thread waits. Not for the browser, where no thread can.
    ///
    /// # Errors
    /// As [`Inbox::try_receive`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn receive(&self) -> Result<Message, Error> {
        let mut waiting = self.waiting();
        loop {
            if let Some(taken) = waiting.take() {
                return taken;
            }
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next message, for which the task waits. Whoever stops waiting loses nothing.
    ///
    /// # Errors
    /// As [`Inbox::try_receive`].
    pub async fn receive_async(&self) -> Result<Message, Error> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// [`Inbox::receive_async`], for who is polled. The task is woken when it is to try again.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        let mut waiting = self.waiting();
        if let Some(taken) = waiting.take() {
            return Poll::Ready(taken);
        }
        if !waiting.tasks.iter().any(|task| task.will_wake(context.waker())) {
            waiting.tasks.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is there, and wakes all who wait for it.
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting();
        let changed = change(&mut waiting);
        let tasks = std::mem::take(&mut waiting.tasks);
        // Not while it is locked, for a task may be run at once.
        drop(waiting);
        #[cfg(not(target_arch = "wasm32"))]
        self.came.notify_all();
        tasks.into_iter().for_each(Waker::wake);
        changed
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.payload.as_str().len();
        Some(message)
    }

    /// What is there now.
    fn take(&mut self) -> Option<Result<Message, Error>> {
        if self.dropped > 0 {
            return Some(Err(Error::Lagged(std::mem::take(&mut self.dropped))));
        }
        match self.pop() {
            Some(message) => Some(Ok(message)),
            None if self.is_closed => Some(Err(Error::Closed)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    use super::*;
    use crate::Body;

    fn message(number: usize) -> Message {
        Message {
            topic: "t".parse().unwrap(),
            payload: Body::parse(number.to_string().into_bytes()).unwrap(),
        }
    }

    /// A task that only counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Task {
        fn poll(self: &Arc<Self>, inbox: &Inbox) -> Poll<Result<Message, Error>> {
            let waker = Waker::from(Arc::clone(self));
            inbox.poll_receive(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_waiting_task_is_woken() {
        let (inbox, task) = (Inbox::default(), Arc::<Task>::default());
        assert!(task.poll(&inbox).is_pending() && task.poll(&inbox).is_pending());
        assert_eq!(task.woken(), 0);
        inbox.put(message(1));
        assert_eq!(task.woken(), 1, "once, though it has asked twice");
        inbox.put(message(2));
        assert_eq!(task.woken(), 1, "it does not wait any more");
        assert_eq!(task.poll(&inbox), Poll::Ready(Ok(message(1))));
        assert_eq!(task.poll(&inbox), Poll::Ready(Ok(message(2))));
        assert!(task.poll(&inbox).is_pending());
        inbox.lose(3);
        assert_eq!(task.woken(), 2);
        assert_eq!(task.poll(&inbox), Poll::Ready(Err(Error::Lagged(3))));
    }

    #[test]
    fn a_task_that_went_away_keeps_nothing_from_the_others() {
        let (inbox, gone, other) = (Inbox::default(), Arc::<Task>::default(), Arc::<Task>::default());
        {
            let waker = Waker::from(Arc::clone(&gone));
            let receiving = pin!(inbox.receive_async());
            assert!(receiving.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(other.poll(&inbox).is_pending());
        inbox.put(message(1));
        assert_eq!(other.woken(), 1);
        assert_eq!(other.poll(&inbox), Poll::Ready(Ok(message(1))));
    }

    #[test]
    fn closing_wakes_all_and_keeps_what_is_there() {
        let inbox = Arc::new(Inbox::default());
        let tasks = [(); 3].map(|()| Arc::<Task>::default());
        assert!(tasks.iter().all(|task| task.poll(&inbox).is_pending()));
        let threads = [(); 3].map(|()| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.receive())
        });
        inbox.close();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(Error::Closed));
        }
        for task in tasks {
            assert_eq!(
                (task.woken(), task.poll(&inbox)),
                (1, Poll::Ready(Err(Error::Closed)))
            );
        }
        inbox.put(message(1));
        assert_eq!(inbox.try_receive(), Err(Error::Closed), "it takes no more");

        let inbox = Inbox::default();
        inbox.put(message(1));
        inbox.close();
        assert_eq!(inbox.receive(), Ok(message(1)));
        assert_eq!(inbox.receive(), Err(Error::Closed));
    }

    #[test]
    fn lag_is_told_once_and_the_newest_are_kept() {
        let inbox = Inbox::with_capacity(3);
        (0..10).for_each(|number| assert!(inbox.put(message(number))));
        assert_eq!(inbox.try_receive(), Err(Error::Lagged(7)));
        for number in 7..10 {
            assert_eq!(inbox.try_receive(), Ok(Some(message(number))));
        }
        assert_eq!(inbox.try_receive(), Ok(None));
        let smallest = Inbox::with_capacity(0);
        smallest.put(message(1));
        assert_eq!(smallest.receive(), Ok(message(1)));
    }

    #[test]
    fn large_ones_are_fewer() {
        let inbox = Inbox::default();
        let large = |megabytes: usize| Message {
            topic: "t".parse().unwrap(),
            payload: Body::from_checked(format!("\"{}\"", "x".repeat((megabytes << 20) - 2))),
        };
        (0..20).for_each(|_| assert!(inbox.put(large(1))));
        assert_eq!(inbox.try_receive(), Err(Error::Lagged(4)));
        assert!(inbox.try_receive().unwrap().is_some());
        inbox.put(large(1));
        assert!(inbox.try_receive().unwrap().is_some(), "there was room again");
        inbox.put(large(20));
        assert_eq!(inbox.try_receive(), Err(Error::Lagged(15)));
        assert_eq!(inbox.try_receive(), Ok(Some(large(20))), "the newest is kept");
    }

    #[test]
    fn each_message_goes_to_one_of_several_threads() {
        const MESSAGES: usize = 1000;
        let inbox = Arc::new(Inbox::with_capacity(MESSAGES));
        let threads = [(); 4].map(|()| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || std::iter::from_fn(|| inbox.receive().ok()).collect::<Vec<_>>())
        });
        (0..MESSAGES).for_each(|number| assert!(inbox.put(message(number))));
        inbox.close();
        let received = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let number = |message: Message| message.payload.as_str().parse::<usize>().unwrap();
        let mut numbers = received.map(number).collect::<Vec<_>>();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..MESSAGES));
    }
}
