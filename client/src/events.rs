//! The application's end of what happens: a queue bounded in bytes, and the cursor that moves as it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc, watch};

use crate::client::Client;
use crate::event::{Event, Position};

/// What happens to a client, in order.
///
/// An event counts as processed when the next one is asked for: so the cursor never passes what the application has not
/// finished, and after a crash the event that it was working on comes again. With
/// [`Config::acks_by_hand`](crate::Config::acks_by_hand) that is left to [`Client::ack`].
pub struct Events {
    queue: mpsc::UnboundedReceiver<Event>,
    gauge: Arc<Gauge>,
    processed: watch::Sender<Option<Position>>,
    acks_itself: bool,
    given: Option<Position>,
    /// A client lives as long as somebody listens.
    _client: Client,
}

impl Events {
    /// The next thing that happens; `None` after the client was closed and all was given.
    ///
    /// Cancel safe: what was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(position) = self.given.take().filter(|_| self.acks_itself) {
            self.processed.send_replace(Some(position));
        }
        let event = self.queue.recv().await?;
        self.gauge.give_back(event.bytes());
        self.given = event.position();
        Some(event)
    }
}

/// The driver's end.
pub(crate) struct Teller {
    queue: mpsc::UnboundedSender<Event>,
    gauge: Arc<Gauge>,
    bytes_max: usize,
}

/// How much waits for the application.
pub(crate) struct Gauge {
    bytes: AtomicUsize,
    freed: Notify,
}

impl Gauge {
    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
    }
}

pub(crate) fn queue(
    bytes_max: usize,
    acks_itself: bool,
    processed: watch::Sender<Option<Position>>,
    client: Client,
) -> (Teller, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gauge = Arc::new(Gauge { bytes: AtomicUsize::new(0), freed: Notify::new() });
    let teller = Teller { queue: sender, gauge: Arc::clone(&gauge), bytes_max };
    (teller, Events { queue: receiver, gauge, processed, acks_itself, given: None, _client: client })
}

impl Teller {
    /// Gives an event to the application. Of what the client says by itself there is no end when nobody listens, so that is
    /// left out while too much waits, but for the last word.
    pub(crate) fn tell(&self, event: Event) {
        if self.is_full(false) && matches!(event, Event::Disconnected { .. } | Event::Online(_)) {
            return;
        }
        let bytes = event.bytes();
        self.gauge.bytes.fetch_add(bytes, Ordering::AcqRel);
        if self.queue.send(event).is_err() {
            // Nobody listens any more; then nothing waits.
            self.gauge.give_back(bytes);
        }
    }

    /// Whether too much waits; once it does, until only half of that is left.
    pub(crate) fn is_full(&self, was_full: bool) -> bool {
        let bytes_max = if was_full { self.bytes_max / 2 } else { self.bytes_max };
        self.gauge.bytes.load(Ordering::Acquire) > bytes_max
    }

    /// Waits until something was taken.
    pub(crate) async fn freed(&self) {
        self.gauge.freed.notified().await;
    }
}
