//! Whatever is replaced and dropped: what is left comes whole, once, and in its order.

use proptest::prelude::*;

use super::*;

const WAYS: [Way; 4] = [Way::Direct, Way::Room, Way::All, Way::Reply];

#[derive(Clone, Debug)]
enum Step {
    /// A frame: its way, what it collapses by, its priority, its length.
    Push(usize, u64, usize, usize),
    /// The socket takes so many bytes.
    Take(usize),
    /// So many bytes are to be free, by pushes that matter no more than this.
    Drop(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..WAYS.len(), 0..4_u64, 0..3_usize, 4..9_usize).prop_map(|(way, collapse, priority, len)| {
            Step::Push(way, if WAYS[way] == Way::Reply { 0 } else { collapse }, if WAYS[way] == Way::Reply { 1 } else { priority }, len)
        }),
        2 => (0..30_usize).prop_map(Step::Take),
        1 => (0..40_usize, 0..3_usize).prop_map(|(bytes, most)| Step::Drop(bytes, most)),
    ]
}

/// A frame as the test knows it; its bytes are its length, then its number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    number: u16,
    way: Way,
    collapse: u64,
    priority: Priority,
    len: usize,
}

impl Known {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.len as u8];
        bytes.extend(self.number.to_be_bytes());
        bytes.resize(self.len, 0xff);
        bytes
    }
}

/// The numbers of whole frames.
fn numbers(mut bytes: &[u8]) -> Vec<u16> {
    let mut numbers = Vec::new();
    while let [len, high, low, ..] = *bytes {
        let (frame, rest) = bytes.split_at(usize::from(len));
        assert!(frame[3..].iter().all(|byte| *byte == 0xff), "torn: {frame:?}");
        numbers.push(u16::from_be_bytes([high, low]));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    numbers
}

/// The same queue, said as simply as it goes: frames in order, and how much of the first is written.
#[derive(Default)]
struct Model {
    waiting: Vec<Known>,
    written: usize,
}

impl Model {
    fn untouched(&self) -> usize {
        usize::from(self.written > 0)
    }

    fn push(&mut self, frame: Known) {
        let begun = self.untouched();
        let mut at = 0;
        self.waiting.retain(|old| {
            at += 1;
            at <= begun || frame.collapse == 0 || (old.way, old.collapse) != (frame.way, frame.collapse)
        });
        self.waiting.push(frame);
    }

    fn take(&mut self, count: usize) {
        self.written += count;
        while self.waiting.first().is_some_and(|frame| frame.len <= self.written) {
            self.written -= self.waiting.remove(0).len;
        }
    }

    fn drop(&mut self, bytes: usize, most: Priority) {
        let mut freed = 0;
        for priority in Priority::ALL.into_iter().filter(|priority| *priority <= most) {
            while freed < bytes {
                let goes = |frame: &Known| frame.way != Way::Reply && frame.priority == priority;
                let begun = self.untouched();
                let Some(at) = self.waiting.iter().skip(begun).position(goes) else { break };
                freed += self.waiting.remove(at + begun).len;
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_left_comes_whole_once_and_in_its_order(steps in proptest::collection::vec(step(), 0..80)) {
        let (mut outbox, mut model, mut taken) = (Outbox::new(0), Model::default(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(way, collapse, priority, len) => {
                    let (way, priority) = (WAYS[way], Priority::ALL[priority]);
                    let frame = Known { number: number as u16, way, collapse, priority, len };
                    if collapse != 0 {
                        outbox.replace(way, collapse);
                    }
                    let terms = Terms { collapse, priority, ..Terms::default() };
                    outbox.push(&frame.bytes(), QueuedFrame { len, way, terms, pos: 0 });
                    model.push(frame);
                }
                Step::Take(count) => {
                    let count = count.min(outbox.len());
                    taken.extend_from_slice(&outbox.unwritten()[..count]);
                    outbox.advance(count, 0);
                    model.take(count);
                }
                Step::Drop(bytes, most) => {
                    outbox.drop_pushes(bytes, Priority::ALL[most]);
                    model.drop(bytes, Priority::ALL[most]);
                }
            }
            let waiting: Vec<u8> = model.waiting.iter().flat_map(|frame| frame.bytes()).collect();
            prop_assert_eq!(outbox.unwritten(), &waiting[model.written..]);
        }
        taken.extend_from_slice(outbox.unwritten());
        let numbers = numbers(&taken);
        prop_assert!(numbers.is_sorted_by(|one, next| one < next), "{:?}", numbers);
        outbox.advance(outbox.len(), 0);
        prop_assert_eq!((outbox.is_empty(), outbox.reply_bytes(), outbox.pushes()), (true, 0, 0));
        prop_assert_eq!((outbox.push_bytes, outbox.collapsing), (Weights::default(), 0));
    }
}
