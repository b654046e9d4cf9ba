//! The operations that a session accepts: the list in the bodies of SUB and UNSUB, and the set that it becomes.

/// Reads `1000,1001`; `None` when anything in it is no 32-bit integer (as in goim, the whole list then counts for nothing)
/// or when it has more than `count_max` entries.
pub fn parse_list(body: &[u8], count_max: usize) -> Option<Vec<i32>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut list = Vec::new();
    for part in text.split(',') {
        if list.len() >= count_max {
            return None;
        }
        list.push(part.parse().ok()?);
    }
    Some(list)
}

/// A sorted set of operations. Small in practice; shared between sessions that accept the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OperationSet(Vec<i32>);

impl OperationSet {
    /// The set of these operations, at most `count_max` of them; `None` if there are more.
    pub fn from_list(list: &[i32], count_max: usize) -> Option<Self> {
        let mut set = list.to_vec();
        set.sort_unstable();
        set.dedup();
        (set.len() <= count_max).then_some(Self(set))
    }

    /// Whether `operation` is accepted.
    pub fn contains(&self, operation: i32) -> bool {
        self.0.binary_search(&operation).is_ok()
    }

    /// This set and `list`; `None` if that is more than `count_max`.
    pub fn with(&self, list: &[i32], count_max: usize) -> Option<Self> {
        let mut all = self.0.clone();
        all.extend_from_slice(list);
        Self::from_list(&all, count_max)
    }

    /// This set without `list`.
    pub fn without(&self, list: &[i32]) -> Self {
        let mut gone = list.to_vec();
        gone.sort_unstable();
        Self(self.0.iter().copied().filter(|operation| gone.binary_search(operation).is_err()).collect())
    }

    /// In ascending order.
    pub fn as_slice(&self) -> &[i32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_goim_reads_them() {
        assert_eq!(parse_list(b"1000,1001", 9), Some(vec![1000, 1001]));
        assert_eq!(parse_list(b"-5", 9), Some(vec![-5]));
        for bad in ["", "1000, 1001", "1000,", "a", "2147483648", "1.0"] {
            assert_eq!(parse_list(bad.as_bytes(), 9), None, "{bad:?}");
        }
        assert_eq!(parse_list(b"1,2,3", 2), None);
    }

    #[test]
    fn set_algebra() {
        let set = OperationSet::from_list(&[3, 1, 3], 10).unwrap();
        assert_eq!(set.as_slice(), [1, 3]);
        assert!(set.contains(3) && !set.contains(2));
        assert_eq!(set.with(&[2], 3).unwrap().as_slice(), [1, 2, 3]);
        assert_eq!(set.with(&[2, 4], 3), None);
        assert_eq!(set.without(&[1, 9]).as_slice(), [3]);
    }
}
