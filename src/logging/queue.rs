//! Lines on their way to the log: a queue of bounded bytes, and one thread that writes it.
//!
//! Whatever the log is written to may be full, gone or stuck for ever: only that thread notices. What finds
//! no room in the queue, or cannot be written, is counted and lost.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::broker::metrics::LOG_LINES_LOST;

/// Where lines wait. Cloned, it is the same one.
#[derive(Clone)]
pub(super) struct LineQueue(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer has taken bytes that it has not written yet.
    writing: bool,
    /// Lines that found no room, and that the log has not told of yet.
    lost: u64,
    /// The output is to be opened again.
    reopen: bool,
}

/// What lines are written to.
pub(super) trait Output: Send + 'static {
    /// Writes whole lines.
    ///
    /// # Errors
    ///
    /// How many bytes were written before it failed.
    fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)>;

    /// Opens it again, if that means anything: another program may have moved the file.
    fn reopen(&mut self);
}

/// Bytes that may wait; the thread has as many in hand at most.
const WAITING_MAX: usize = 1024 * 1024;
/// Memory that an idle queue keeps.
const KEPT: usize = 16 * 1024;
/// Pause before another attempt at an output that takes nothing for now.
const AGAIN: Duration = Duration::from_millis(20);

impl LineQueue {
    /// A queue, and the thread that writes it to `output`.
    pub fn start(output: impl Output) -> io::Result<LineQueue> {
        let queue = LineQueue(Arc::default());
        let writer = queue.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(output))?;
        Ok(queue)
    }

    /// Adds a line, with its end. Never waits for the output.
    pub fn push(&self, line: &str) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > WAITING_MAX {
            waiting.lost += 1;
            LOG_LINES_LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line.as_bytes());
        drop(waiting);
        if was_empty {
            self.0.1.notify_all();
        }
    }

    /// Has the output opened again, before the next line is written.
    pub fn reopen(&self) {
        self.lock().reopen = true;
        self.0.1.notify_all();
    }

    /// Waits until all is written, or lost, but no longer than `most`.
    pub fn flush(&self, most: Duration) {
        let unwritten = |waiting: &mut Waiting| !waiting.bytes.is_empty() || waiting.writing;
        let _ = self.0.1.wait_timeout_while(self.lock(), most, unwritten);
    }

    /// The thread's work, for ever.
    fn write_to(self, mut output: impl Output) {
        let mut batch = Vec::new();
        // What could not be written since it was last possible.
        let (mut unwritten, mut cause) = (0, None);
        loop {
            let (lost, reopen) = self.take(&mut batch);
            if reopen {
                output.reopen();
            }
            if lost > 0 {
                unwritten += lost;
                cause.get_or_insert_with(|| "it was not written fast enough".to_owned());
            }
            match output.write(&batch) {
                Ok(()) if unwritten > 0 && !batch.is_empty() => {
                    let cause = cause.take();
                    warn!(lines = unwritten, cause, "the log is written again; lines were lost");
                    unwritten = 0;
                }
                Ok(()) => {}
                Err((written, error)) => {
                    let lines = count_lines(&batch[written.min(batch.len())..]);
                    LOG_LINES_LOST.fetch_add(lines, Ordering::Relaxed);
                    unwritten += lines;
                    cause = Some(error.to_string());
                }
            }
            batch.clear();
            batch.shrink_to(KEPT);
        }
    }

    /// Waits for lines and takes them; returns how many were lost since, and whether to open the output
    /// again.
    fn take(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.bytes.is_empty() {
            self.0.1.notify_all();
        }
        let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.reopen;
        let waited = self.0.1.wait_while(waiting, idle);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.writing = true;
        std::mem::swap(&mut waiting.bytes, batch);
        (std::mem::take(&mut waiting.lost), std::mem::take(&mut waiting.reopen))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of `bytes`, however long it takes.
///
/// # Errors
///
/// How many were written before it failed.
pub(super) fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                // A pipe that another program has made non-blocking.
                io::ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
                _ => return Err((written, error)),
            },
        }
    }
    Ok(())
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Takes what it is told to, and nothing while it is stuck.
    #[derive(Clone, Default)]
    struct Sink {
        text: Arc<Mutex<String>>,
        fails: Arc<AtomicBool>,
        stuck: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Output for Sink {
        fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
            let stuck = self.stuck.0.lock().unwrap();
            drop(self.stuck.1.wait_while(stuck, |stuck| *stuck).unwrap());
            if self.fails.load(Ordering::Relaxed) {
                return Err((0, io::ErrorKind::StorageFull.into()));
            }
            self.text.lock().unwrap().push_str(std::str::from_utf8(lines).unwrap());
            Ok(())
        }

        fn reopen(&mut self) {
            self.text.lock().unwrap().push_str("reopened\n");
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_written_in_order_and_what_fails_is_lost_alone() {
        let sink = Sink::default();
        let queue = LineQueue::start(sink.clone()).unwrap();
        queue.push("one\n");
        queue.flush(LONG);
        sink.fails.store(true, Ordering::Relaxed);
        let before = LOG_LINES_LOST.load(Ordering::Relaxed);
        queue.push("two\n");
        queue.flush(LONG);
        assert!(LOG_LINES_LOST.load(Ordering::Relaxed) > before);
        sink.fails.store(false, Ordering::Relaxed);
        queue.push("three\n");
        queue.flush(LONG);
        queue.reopen();
        queue.push("four\n");
        queue.flush(LONG);
        assert_eq!(*sink.text.lock().unwrap(), "one\nthree\nreopened\nfour\n");
    }

    #[test]
    fn an_output_that_is_stuck_costs_a_bounded_queue_and_stops_nothing() {
        let sink = Sink::default();
        *sink.stuck.0.lock().unwrap() = true;
        let queue = LineQueue::start(sink.clone()).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..4096 {
            queue.push(&line);
        }
        assert!(queue.lock().bytes.len() <= WAITING_MAX && queue.lock().lost >= 2047);
        // Its end does not wait for it.
        queue.flush(Duration::from_millis(1));
        *sink.stuck.0.lock().unwrap() = false;
        sink.stuck.1.notify_all();
        queue.flush(LONG);
        let written = sink.text.lock().unwrap().lines().count();
        assert!((1024..=2049).contains(&written), "{written}");
        assert!(queue.lock().bytes.is_empty());
    }
}
