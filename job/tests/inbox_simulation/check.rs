//! What has to hold when everything has come to rest.

use std::collections::{BTreeSet, HashMap};

use perseid_protocol::frame::flag;
use perseid_rpc::LogRecord;
use perseid_store::stored::Store;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{Message, PageBound, Pull, PullFrom, Reserve, Reserved};

use super::model::{Model, ModelConv, Wanted};
use super::people::Frame;
use super::world::{MIDS, Mode, ROOM_KEEP, World};

const ALL: PageBound = PageBound { messages_max: 100_000, bytes_max: 1 << 30 };

/// Runs a seed for so many happenings; what is wrong, if something is.
pub(crate) fn run(world: &mut World, happenings: usize) -> Result<(), String> {
    for _ in 0..happenings {
        world.happen();
        if let Some(wrong) = world.people.wrong.take() {
            return Err(wrong);
        }
    }
    world.rest();
    if let Some(wrong) = world.people.wrong.take() {
        return Err(wrong);
    }
    before_hearts_beat(world)?;
    world.heal();
    match world.people.wrong.take() {
        Some(wrong) => Err(wrong),
        None => all(world),
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// What was told without heartbeats.
fn before_hearts_beat(world: &World) -> Result<(), String> {
    for session in world.people.sessions.iter().filter(|session| session.open) {
        let device = &world.people.devices[session.device];
        let (mid, cursor) = (device.mid, device.cursor);
        let view = world.store.inbox(mid).now().unwrap().unwrap();
        if world.mode == Mode::Told {
            ensure(cursor == view.head, || format!("{mid} was not told of {} and stays at {cursor}", view.head))?;
        }
        if world.mode == Mode::Calm {
            ensure(session.epoch == view.epoch, || format!("a session of {mid} lives on in a lost epoch"))?;
        }
    }
    Ok(())
}

fn all(world: &World) -> Result<(), String> {
    let models: Vec<Model> = world
        .logs
        .iter()
        .map(|log| {
            let mut model = Model::default();
            log.iter().for_each(|record| model.apply(&LogRecord::from_value(&record.value).unwrap()));
            model
        })
        .collect();
    for model in &models {
        for (conv, wanted) in &model.convs {
            timeline(world, *conv, wanted)?;
        }
    }
    let rows: HashMap<(Conv, u64), u64> = models
        .iter()
        .flat_map(|model| &model.convs)
        .flat_map(|(conv, known)| known.rows.iter().map(|row| ((*conv, row.conv_pos), row.id)))
        .collect();
    for (conv, pos, id) in &world.rooms_shown {
        ensure(rows.get(&(*conv, *pos)) == Some(id), || format!("{conv} was shown {id} at {pos}, where it never stood"))?;
    }
    for mid in MIDS {
        inbox(world, mid, &models)?;
    }
    // The store trusts what it knows again.
    for (one, other) in [(1, 2), (3, 4), (5, 5)] {
        let conv = Conv::direct(one, other);
        let reserve = Reserve { conv, from: one, idem: u64::MAX, hash: 1, id: u64::MAX, hold: true, now_ms: world.now_ms() };
        let reserved = world.store.reserve(reserve).now().unwrap().unwrap();
        ensure(reserved != Reserved::Rebuilding, || format!("{conv} is being filled again for ever"))?;
    }
    epochs(world)
}

fn timeline(world: &World, conv: Conv, wanted: &ModelConv) -> Result<(), String> {
    let pull = Pull { conv, reader: 0, from: PullFrom::After(0), since_joined: false, bound: ALL };
    let messages = match world.store.pull(pull).now().unwrap().unwrap() {
        Ok(page) => page.messages,
        Err(_) => Vec::new(),
    };
    let mut rows: &[Wanted] = &wanted.rows;
    if matches!(conv, Conv::Room(_)) {
        let kept = messages.len().max((ROOM_KEEP as usize).min(rows.len()));
        rows = &rows[rows.len() - kept.min(rows.len())..];
    } else if messages.is_empty() && wanted.group.is_none() && matches!(conv, Conv::Group(_)) {
        // A group that is gone is not read; its head stays.
        let head = world.store.head(conv).now().unwrap().unwrap();
        return ensure(head == rows.len() as u64, || format!("{conv} stands at {head} instead of {}", rows.len()));
    }
    let found: Vec<_> = messages.iter().map(|message| (message.conv_pos, message.id, message.body.clone())).collect();
    let wanted_rows: Vec<_> = rows.iter().map(|row| (row.conv_pos, row.id, row.body.clone())).collect();
    ensure(found == wanted_rows, || format!("the timeline of {conv} is {found:?} instead of {wanted_rows:?}"))?;
    if let (Conv::Group(group), Some(wanted)) = (conv, &wanted.group) {
        let view = world.store.group(group).now().unwrap().unwrap();
        let members = view.map(|view| view.members);
        let wanted: Vec<u64> = wanted.members.iter().copied().collect();
        ensure(members.as_ref() == Some(&wanted), || format!("{conv} has the members {members:?} instead of {wanted:?}"))?;
    }
    Ok(())
}

fn frame_of(wanted: &Wanted, mid: u64) -> Frame {
    let Wanted { id, from, cid, kind, op, flags, conv, conv_pos, body } = wanted.clone();
    Frame { id, from, cid, kind, op, flags, conv: conv.map_or(0, |conv| conv.seen_by(mid)), conv_pos, body }
}

fn inbox(world: &World, mid: u64, models: &[Model]) -> Result<(), String> {
    let page = world.store.sync(mid, 0, ALL).now().unwrap().unwrap().map_err(|error| format!("{mid} can't sync: {error}"))?;
    for (index, message) in page.messages.iter().enumerate() {
        ensure(message.pos == index as u64 + 1, || format!("the inbox of {mid} has {} at place {index}", message.pos))?;
    }
    let frames: Vec<Frame> = page.messages.iter().map(|message| Frame::of_message(message, mid)).collect();
    let mut count = 0;
    for model in models {
        let wanted: Vec<Frame> = model.inboxes.get(&mid).into_iter().flatten().map(|wanted| frame_of(wanted, mid)).collect();
        let ids: BTreeSet<u64> = wanted.iter().map(|frame| frame.id).collect();
        let found: Vec<&Frame> = frames.iter().filter(|frame| ids.contains(&frame.id)).collect();
        count += found.len();
        ensure(found.len() == wanted.len() && found.iter().zip(&wanted).all(|(found, wanted)| wanted.became(found)), || {
            format!("the inbox of {mid} has {found:#?} instead of {wanted:#?}")
        })?;
    }
    ensure(count == frames.len(), || format!("the inbox of {mid} has {} entries, and {count} belong there", frames.len()))?;
    for device in world.people.devices.iter().filter(|device| device.mid == mid) {
        let name = &device.name;
        let (head, epoch) = (page.inbox.head, page.inbox.epoch);
        ensure(device.epoch == epoch, || format!("{name} of {mid} is in the epoch {} instead of {epoch}", device.epoch))?;
        ensure(device.cursor == head, || format!("{name} of {mid} is at {} instead of {head}", device.cursor))?;
        ensure(device.items.len() as u64 == head, || format!("{name} of {mid} has {} of {head}", device.items.len()))?;
        for (pos, frame) in &device.items {
            let stored = &frames[*pos as usize - 1];
            // A store that does not know that a timeline is being filled again says GONE.
            let unknown = world.whole_unknown && frame.flags & flag::GONE != 0 && frame.id == stored.id;
            ensure(unknown || frame.became(stored), || {
                format!("{name} of {mid} has {frame:?} at {pos}, where {stored:?} stands")
            })?;
        }
    }
    shown(world, mid, page.inbox.epoch, &page.messages)
}

/// In the epoch that holds no position was ever shown with another message.
fn shown(world: &World, mid: u64, epoch: u64, messages: &[Message]) -> Result<(), String> {
    for ((of, at, pos), ids) in &world.people.shown {
        if (*of, *at) == (mid, epoch) {
            let stands = messages.get((*pos as usize).wrapping_sub(1)).map(|message| message.id);
            let same = ids.iter().all(|id| Some(*id) == stands);
            ensure(same, || format!("{mid} was shown {ids:?} at {pos} in the epoch {epoch}, and {stands:?} stands there"))?;
        }
    }
    Ok(())
}

/// Epochs change only when something was lost; and what a recall took is gone.
fn epochs(world: &World) -> Result<(), String> {
    for device in &world.people.devices {
        for frame in device.items.values().filter(|frame| frame.flags & flag::GONE != 0) {
            ensure(frame.body.is_empty(), || format!("{} has the body of what was taken back", device.name))?;
        }
    }
    let epochs: BTreeSet<u64> =
        world.people.shown.keys().filter(|(mid, ..)| *mid == MIDS[0]).map(|(_, epoch, _)| *epoch).collect();
    ensure(world.store_failed || epochs.len() <= 1, || format!("the epochs {epochs:?} of a store that lost nothing"))
}
