//! The same pure function on several threads.
//!
//! A thread is neither I/O nor a clock: as long as a function's result depends on its argument alone,
//! so does what comes out here, whatever the number of threads and whichever is faster.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// The results of `work` for 0, 1, … `count - 1`, in this order, each on a thread of its own; the
/// first one on the calling thread. Where the system has no thread to give, the caller does the work.
pub(crate) fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    scope(|scope| {
        let spawn = |place| Builder::new().spawn_scoped(scope, move || work(place)).map_err(|_| place);
        let others: Vec<_> = (1..count).map(spawn).collect();
        let first = (0 < count).then(|| work(0));
        let join = |other| match other {
            Ok(thread) => std::thread::ScopedJoinHandle::join(thread).unwrap_or_else(|panic| resume_unwind(panic)),
            Err(place) => work(place),
        };
        first.into_iter().chain(others.into_iter().map(join)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        for count in 0..5 {
            let squares: Vec<usize> = (0..count).map(|place| place * place).collect();
            assert_eq!(on_threads(count, |place| place * place), squares);
        }
    }

    #[test]
    #[should_panic(expected = "the third")]
    fn a_panic_on_one_thread_is_a_panic_of_the_caller() {
        on_threads(4, |place| assert_ne!(place, 2, "the third"));
    }
}
