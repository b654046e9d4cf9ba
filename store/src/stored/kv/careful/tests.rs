use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::stored::kv::Rows;

/// A base that counts what it is asked, and can be changed.
#[derive(Default)]
struct Asked {
    rows: Mutex<Layer>,
    times: AtomicUsize,
}

impl Asked {
    fn of(numbers: impl IntoIterator<Item = u64>) -> Arc<Self> {
        let rows = numbers.into_iter().map(|number| (key(number), Some(number.to_string().into()))).collect();
        Arc::new(Self { rows: Mutex::new(rows), times: AtomicUsize::new(0) })
    }

    fn put(&self, number: u64, value: &'static str) {
        self.rows.lock().unwrap().insert(key(number), Some(value.into()));
    }

    fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }
}

impl Base for Asked {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
        self.times.fetch_add(1, Ordering::SeqCst);
        Ok(self.rows.lock().unwrap().get(key).cloned().flatten())
    }

    fn known(&self, asked: &Key) -> Found {
        (*asked == key(1_000)).then(|| Some("known".into()))
    }

    fn range(&self, from: Key, to: Key, descending: bool) -> BaseRows<'_> {
        self.times.fetch_add(1, Ordering::SeqCst);
        let rows = self.rows.lock().unwrap().clone();
        let rows: Vec<_> = rows.range(from..=to).filter_map(|(key, value)| Some(Ok((*key, value.clone()?)))).collect();
        if descending { Box::new(rows.into_iter().rev()) } else { Box::new(rows.into_iter()) }
    }
}

fn key(number: u64) -> Key {
    Key::new(1).and_u64(number)
}

fn layer(number: u64, value: &'static str) -> Arc<Layer> {
    Arc::new([(key(number), Some(Bytes::from(value)))].into_iter().collect())
}

/// Rows over a base, which are held while they are read.
fn held(base: &Arc<Asked>) -> (Arc<Careful>, Mutex<Rows>) {
    let careful = Careful::new(base.clone());
    let rows = Mutex::new(Rows::over(&careful));
    (careful, rows)
}

fn get(rows: &Rows, number: u64) -> Result<Option<Bytes>, Broken> {
    rows.get(&key(number))
}

#[test]
fn in_memory_nothing_is_asked() {
    let base = Asked::of([1, 2]);
    let (_, rows) = held(&base);
    rows.lock().unwrap().put(key(7), "seven");
    let read = |number| reach::in_memory(|| get(&rows.lock().unwrap(), number));
    assert_eq!((read(7), read(1_000)), (Some(Ok(Some("seven".into()))), Some(Ok(Some("known".into())))));
    assert_eq!((read(1), read(3)), (None, None), "whether it is there only the disk knows");
    assert!(reach::in_memory(|| rows.lock().unwrap().layers().last(Key::new(1)).is_ok()).is_none());
    let view = rows.lock().unwrap().view(key(1), key(1));
    assert!(reach::in_memory(|| view.layers().get(&key(1))).is_none(), "not even when nothing is held");
    assert_eq!(base.times(), 0);
    assert_eq!(get(&rows.lock().unwrap(), 1), Ok(Some("1".into())), "a thread that was not bounded goes to the disk");
}

#[test]
fn the_disk_is_asked_while_nothing_is_held() {
    let base = Asked::of(0..100);
    let (careful, rows) = held(&base);
    let times = Cell::new(0);
    let sum = careful.run(|| {
        times.set(times.get() + 1);
        let (held, before) = (rows.lock().unwrap(), base.times());
        let points = reach::all((3..50).map(|number| get(&held, number)))?;
        let last = held.layers().last(Key::new(1))?;
        let all = held.prefix(Key::new(1)).collect::<Result<Vec<_>, _>>()?.len();
        assert_eq!(base.times(), before, "it was asked while the rows were held");
        Ok::<_, Broken>((points[0].clone(), points.len(), last.map(|row| row.0), all))
    });
    assert_eq!(sum.unwrap(), Ok((Some("3".into()), 47, Some(key(99)), 100)));
    // All points at once; one range; another one of which first 4 rows are asked for, then 32, then 256; and once with all of that.
    assert_eq!((times.get(), base.times()), (6, 47 + 1 + 3));
    let free = rows.lock().unwrap().view(key(1), key(1));
    let read = careful.run(|| free.layers().get(&key(1)));
    assert_eq!(read.unwrap(), Ok(Some("1".into())), "who holds nothing may wait for the disk");
}

#[test]
fn what_ends_at_a_miss_does_nothing_behind_it() {
    let base = Asked::of([1]);
    let (careful, rows) = held(&base);
    let done = Cell::new(0);
    let work = || {
        let value = get(&rows.lock().unwrap(), 1)?;
        done.set(done.get() + 1);
        Ok::<_, Broken>(value)
    };
    assert!(reach::in_memory(work).is_none());
    assert_eq!(done.get(), 0);
    assert_eq!(careful.run(work).unwrap(), Ok(Some("1".into())));
    assert_eq!(done.get(), 1);
}

#[test]
fn what_was_committed_meanwhile_is_asked_for_again() {
    for touched in [false, true] {
        let base = Asked::of([1, 2, 3]);
        let (careful, rows) = held(&base);
        let times = Cell::new(0);
        let read = careful.run(|| {
            times.set(times.get() + 1);
            if times.get() == 2 {
                // Found was the old value; then the new one is committed.
                let number = if touched { 2 } else { 50 };
                base.put(number, "new");
                careful.committed(&[&layer(number, "new")]);
            }
            let held = rows.lock().unwrap();
            held.layers().range(key(2), key(2), false).next().transpose()?;
            get(&held, 2)
        });
        let wanted = if touched { "new" } else { "2" };
        assert_eq!(read.unwrap(), Ok(Some(wanted.into())));
        assert_eq!(times.get(), if touched { 4 } else { 3 });
    }
}

#[test]
fn commits_are_remembered_while_somebody_needs_them_and_bounded() {
    let base = Asked::of([]);
    let (careful, _) = held(&base);
    careful.committed(&[&layer(1, "a")]);
    assert!(careful.commits().layers.is_empty(), "nobody needs it");
    let call = UnderWay::begin(&careful);
    let large: Arc<Layer> = Arc::new((0..ROWS_MAX as u64).map(|number| (key(number), None)).collect());
    careful.committed(&[&layer(1, "b"), &large]);
    assert_eq!(careful.commits().layers.len(), 1);
    assert!(careful.commits().is_old(call.began, key(u64::MAX), key(u64::MAX)), "of what was forgotten anything may be new");
    drop(call);
    assert!(careful.commits().layers.is_empty() && careful.commits().rows == 0);
}

#[test]
fn a_panic_leaves_no_bounds_behind() {
    let base = Asked::of([1]);
    let (_, rows) = held(&base);
    let panics = std::panic::catch_unwind(|| reach::in_memory(|| -> () { panic!("a test wants it so") }));
    assert!(panics.is_err());
    assert_eq!(get(&rows.lock().unwrap(), 1), Ok(Some("1".into())));
}
