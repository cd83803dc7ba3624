//! Pending input of a connection: bytes arrived, and its task has not run since.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A flag that is true from the moment a task is woken until it runs, and initially.
#[derive(Clone, Debug)]
pub(super) struct Woken(Arc<AtomicBool>);

impl Woken {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A future that records when it is woken and when it runs.
pub(super) struct WakeTracked<F> {
    future: Pin<Box<F>>,
    woken: Woken,
    waker: Option<(Waker, Waker)>,
}

impl<F: Future> WakeTracked<F> {
    pub(super) fn new(future: F, woken: Woken) -> Self {
        Self { future: Box::pin(future), woken, waker: None }
    }
}

impl<F: Future> Future for WakeTracked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.woken.0.store(false, Ordering::Relaxed);
        let outer = context.waker();
        if this.waker.as_ref().is_none_or(|(known, _)| !known.will_wake(outer)) {
            let noting = Arc::new(Noting { woken: this.woken.clone(), task: outer.clone() });
            this.waker = Some((outer.clone(), noting.into()));
        }
        let noting = this.waker.as_ref().map_or(outer, |(_, noting)| noting);
        this.future.as_mut().poll(&mut Context::from_waker(noting))
    }
}

struct Noting {
    woken: Woken,
    task: Waker,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.0.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_task_is_woken_until_it_runs() {
        let woken = Woken::new();
        let notify = Arc::new(tokio::sync::Notify::new());
        let waiting = {
            let notify = Arc::clone(&notify);
            async move { notify.notified().await }
        };
        let mut attended = Box::pin(WakeTracked::new(waiting, woken.clone()));
        assert!(woken.is_set(), "it has not run yet");
        let mut poll = async || poll_fn(|context| Poll::Ready(attended.as_mut().poll(context).is_ready())).await;
        assert!(!poll().await);
        assert!(!woken.is_set(), "it waits for another");
        notify.notify_one();
        assert!(woken.is_set(), "it is to run");
        assert!(poll().await);
        assert!(!woken.is_set());
    }
}
