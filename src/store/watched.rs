//! A thread for calls that may never return: the caller waits for a limited time and goes on.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::sync::whole;

/// A thread that runs one job after the other. One that does not return keeps the thread for
/// ever; the process goes on without it.
pub struct Watched {
    jobs: Arc<Handover<Job>>,
    limit: Duration,
    stuck: AtomicBool,
}

type Job = Box<dyn FnOnce() + Send>;

/// A few things on their way from one thread to another.
pub struct Handover<T> {
    state: Mutex<HandoverState<T>>,
    changed: Condvar,
    max: usize,
}

struct HandoverState<T> {
    things: VecDeque<T>,
    closed: bool,
}

/// What came out of a handover.
#[derive(Debug, Eq, PartialEq)]
pub enum Handed<T> {
    /// This.
    Thing(T),
    /// Nothing, and nothing will come any more.
    Closed,
    /// Nothing in all that time.
    TooLate,
}

impl Watched {
    /// Starts the thread. A job that takes longer than `limit` is not waited for any more.
    pub fn start(name: &str, limit: Duration) -> std::io::Result<Watched> {
        let jobs = Arc::new(Handover::<Job>::new(1));
        let todo = jobs.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Handed::Thing(job) = todo.take(Duration::MAX) {
                job();
            }
        })?;
        Ok(Watched { jobs, limit, stuck: AtomicBool::new(false) })
    }

    /// Runs a job on the thread and waits for what it returns; an error in words if it panicked
    /// or did not return in time.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.check()?;
        let reply = Arc::new(Handover::new(1));
        let answer = reply.clone();
        self.begin(move || drop(answer.put(catch_unwind(AssertUnwindSafe(job)))));
        match reply.take(self.limit) {
            Handed::Thing(Ok(returned)) => Ok(returned),
            Handed::Thing(Err(panic)) => Err(words(&*panic)),
            Handed::Closed | Handed::TooLate => Err(self.too_late()),
        }
    }

    /// Runs a job on the thread that hands over things, and looks at each. When `look` returns false,
    /// the next `put` of the job fails, and the job is to end.
    pub fn stream<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Handover<T>) -> Result<(), String> + Send + 'static,
        mut look: impl FnMut(T) -> bool,
    ) -> Result<(), String> {
        self.check()?;
        let things = Arc::new(Handover::new(STREAM));
        let (put, reply) = (things.clone(), Arc::new(Handover::new(1)));
        let answer = reply.clone();
        self.begin(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| job(&put)));
            put.close();
            let _ = answer.put(ended.unwrap_or_else(|panic| Err(words(&*panic))));
        });
        loop {
            match things.take(self.limit) {
                Handed::Thing(thing) => {
                    if !look(thing) {
                        things.close();
                        break;
                    }
                }
                Handed::Closed => break,
                Handed::TooLate => return Err(self.too_late()),
            }
        }
        match reply.take(self.limit) {
            Handed::Thing(ended) => ended,
            Handed::Closed | Handed::TooLate => Err(self.too_late()),
        }
    }

    fn begin(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.put(Box::new(job));
    }

    /// Whether the thread was left behind. A job that comes later is dropped, with what it holds, by
    /// its caller.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<(), String> {
        if self.is_stuck() { Err("it did not answer before".to_owned()) } else { Ok(()) }
    }

    fn too_late(&self) -> String {
        self.stuck.store(true, Ordering::Release);
        format!("it has not answered for {} s", self.limit.as_secs_f32())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

impl<T> Handover<T> {
    /// Room for so many things.
    pub fn new(max: usize) -> Handover<T> {
        let state = HandoverState { things: VecDeque::new(), closed: false };
        Handover { state: Mutex::new(state), changed: Condvar::new(), max }
    }

    /// Hands something over, when there is room for it; gives it back if the handover is closed.
    pub fn put(&self, thing: T) -> Result<(), T> {
        let mut state = self.lock();
        while state.things.len() == self.max && !state.closed {
            state = self.changed.wait(state).expect(PANIC_FREE);
        }
        if state.closed {
            return Err(thing);
        }
        state.things.push_back(thing);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the first thing.
    pub fn take(&self, limit: Duration) -> Handed<T> {
        let nothing = |state: &mut HandoverState<T>| state.things.is_empty() && !state.closed;
        let state = self.lock();
        let mut state = if limit == Duration::MAX {
            self.changed.wait_while(state, nothing).expect(PANIC_FREE)
        } else {
            self.changed.wait_timeout_while(state, limit, nothing).expect(PANIC_FREE).0
        };
        match state.things.pop_front() {
            Some(thing) => {
                self.changed.notify_all();
                Handed::Thing(thing)
            }
            None if state.closed => Handed::Closed,
            None => Handed::TooLate,
        }
    }

    /// Nothing more is handed over; what is on its way still is.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HandoverState<T>> {
        whole(self.state.lock())
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", said.as_deref().unwrap_or("without a word"))
}

const PANIC_FREE: &str = "no code panics while it hands over";

/// Things of a stream on their way, so that both threads have something to do.
const STREAM: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(limit: Duration) -> Watched {
        Watched::start("test", limit).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_job_returns_comes_back() {
        let thread = watched(LONG);
        for number in 0..10 {
            assert_eq!(thread.call(move || number * 2), Ok(number * 2));
        }
    }

    #[test]
    fn a_job_that_never_returns_is_left_behind() {
        let never = Arc::new(Handover::<()>::new(1));
        let held = never.clone();
        let thread = watched(Duration::from_millis(1));
        let left = thread.call(move || held.take(Duration::MAX));
        assert!(left.unwrap_err().contains("has not answered"));
        assert!(thread.is_stuck() && thread.call(|| ()).is_err());
        never.close();
    }

    #[test]
    fn a_panic_is_said_and_the_thread_lives() {
        let thread = watched(LONG);
        let said = thread.call(|| std::panic::resume_unwind(Box::new("no way"))).map(|()| 0);
        assert_eq!(said, Err("it panicked: no way".to_owned()));
        let said = thread.stream::<()>(|_| panic_quietly(), |()| true);
        assert_eq!(said, Err("it panicked: no stream".to_owned()));
        assert_eq!(thread.call(|| 1), Ok(1));
    }

    fn panic_quietly() -> Result<(), String> {
        std::panic::resume_unwind(Box::new("no stream".to_owned()))
    }

    #[test]
    fn a_stream_is_looked_at_to_its_end_or_until_it_is_enough() {
        let thread = watched(LONG);
        for enough in [3, 1000] {
            let mut seen = Vec::new();
            let job = |things: &Handover<u32>| {
                (0..20).take_while(|&number| things.put(number).is_ok()).for_each(drop);
                Ok(())
            };
            let ended = thread.stream(job, |number| {
                seen.push(number);
                seen.len() < enough
            });
            assert_eq!(ended, Ok(()));
            assert!(seen.into_iter().eq(0..20.min(u32::try_from(enough).unwrap())));
        }
    }
}
