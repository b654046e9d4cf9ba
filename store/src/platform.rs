//! Platform names, kept once.

use std::sync::OnceLock;

/// Names kept once. The first come stay for ever; there are a handful in practice, and a client that invents more of them
/// pays with the memory of its own session.
const NAMES_MAX: usize = 32;

/// The number of a name in [`Platforms`].
pub(crate) type PlatformId = u8;

/// A table of names that only grows, without locks.
#[derive(Default)]
pub(crate) struct Platforms {
    names: [OnceLock<Box<str>>; NAMES_MAX],
}

impl Platforms {
    /// The number of `name`; `None` when the table is full of others.
    pub(crate) fn intern(&self, name: &str) -> Option<PlatformId> {
        let at = self.names.iter().position(|slot| &**slot.get_or_init(|| name.into()) == name)?;
        PlatformId::try_from(at).ok()
    }

    /// The name of a number; empty for one that was never given.
    pub(crate) fn name(&self, id: PlatformId) -> &str {
        self.names.get(usize::from(id)).and_then(OnceLock::get).map_or("", |name| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_number_and_the_table_is_bounded() {
        let platforms = Platforms::default();
        let ids: Vec<_> = (0..NAMES_MAX).map(|n| platforms.intern(&format!("p{n}"))).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(platforms.intern(&format!("p{n}")), *id);
            assert_eq!(platforms.name(id.unwrap()), format!("p{n}"));
        }
        assert_eq!(platforms.intern("one more"), None);
        assert_eq!(platforms.name(250), "");
    }
}
